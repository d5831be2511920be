"""Pools of codes for variants, notices of low stock, and an index over what is flagged.

Revision: 0008
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("reward_code", sa.Column("variant_id", sa.Text(collation="C"), server_default="", nullable=False))
    op.drop_index("ix_reward_code_free", table_name="reward_code")
    op.create_index(
        "ix_reward_code_free",
        "reward_code",
        ["tenant_id", "reward_id", "variant_id", "number"],
        postgresql_where=sa.text("redemption_id IS NULL"),
    )
    op.create_table(
        "low_stock",
        sa.Column("tenant_id", postgresql.UUID(as_uuid=True), nullable=False),
        sa.Column("reward_id", postgresql.UUID(as_uuid=True), nullable=False),
        sa.Column("variant_id", sa.Text(collation="C"), nullable=False),
        sa.Column("told_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "reward_id"],
            ["reward.tenant_id", "reward.reward_id"],
            name=op.f("fk_low_stock_tenant_id_reward_id"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "reward_id", "variant_id", name=op.f("pk_low_stock")),
    )
    op.create_index(
        "ix_reward_low_stock",
        "reward",
        ["tenant_id", "reward_id"],
        postgresql_where=sa.text("archived_at IS NULL AND (config ? 'low_stock')"),
    )
    op.create_index("ix_redemption_flagged", "redemption", ["tenant_id", "redemption_id"], postgresql_where=sa.text("flags <> '{}'"))


def downgrade() -> None:
    raise NotImplementedError("revisions are not taken back: drop the database instead")
