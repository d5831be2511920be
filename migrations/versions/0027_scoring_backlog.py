"""Tenants whose events a scoring partition's cursor has passed unscored, and how far each of them is.

A pump of an earlier release would pass them over: with `backlog_epoch` set it cannot take the partition.

Revision: 0027
"""

import sqlalchemy as sa
from alembic import op

from runtime import online

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "scoring_backlog",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("scoring_partition", sa.SmallInteger(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("accepted_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "scoring_partition", name="pk_scoring_backlog"),
    )
    op.add_column("scoring_cursor", sa.Column("backlog_epoch", sa.BigInteger(), nullable=True))
    online.add_check("ck_scoring_cursor_backlog_minded", "scoring_cursor", "backlog_epoch IS NULL OR backlog_epoch = owner_epoch")


def downgrade() -> None:
    op.drop_constraint("ck_scoring_cursor_backlog_minded", "scoring_cursor")
    op.drop_column("scoring_cursor", "backlog_epoch")
    op.drop_table("scoring_backlog")
