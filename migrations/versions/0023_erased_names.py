"""The external ids of users who were erased lately, hashed: tokens that were issued to them before are refused.

Revision: 0023
"""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "erased_name",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("name_hash", sa.LargeBinary(), nullable=False),
        sa.Column("erased_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"], name="fk_erased_name_tenant_id_tenant"),
        sa.PrimaryKeyConstraint("tenant_id", "name_hash", name="pk_erased_name"),
    )
    op.create_index("ix_erased_name_tenant_id_erased_at", "erased_name", ["tenant_id", "erased_at"])


def downgrade() -> None:
    op.drop_table("erased_name")
