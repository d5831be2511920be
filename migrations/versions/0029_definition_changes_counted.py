"""How many changes of its definitions a tenant has made since when, for it may make so many in an hour.

Revision: 0029
"""

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("definition_change", sa.Column("counted_from", sa.DateTime(timezone=True), nullable=True))
    op.add_column("definition_change", sa.Column("counted", sa.Integer(), nullable=False, server_default="0"))


def downgrade() -> None:
    op.drop_column("definition_change", "counted")
    op.drop_column("definition_change", "counted_from")
