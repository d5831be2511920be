"""Payout schedules, every `when` that they had, and the outbox's commands to Temporal's Schedules.

Revision: 0013
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "payout_schedule",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("schedule_id", sa.UUID(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("due", postgresql.JSONB(), nullable=False),
        sa.Column("audience", postgresql.JSONB(), nullable=False),
        sa.Column("reward_config_id", sa.UUID(), nullable=True),
        sa.Column("item_ids", postgresql.ARRAY(sa.UUID()), nullable=True),
        sa.Column("budget", postgresql.JSONB(), server_default="{}", nullable=False),
        sa.Column("overlap", sa.Text(), nullable=False),
        sa.Column("catchup_seconds", sa.Integer(), nullable=False),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("settled_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("archived_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("(reward_config_id IS NULL) <> (item_ids IS NULL)", name=op.f("ck_payout_schedule_one_kind_of_prize")),
        sa.CheckConstraint("catchup_seconds >= 0", name=op.f("ck_payout_schedule_catchup_not_negative")),
        sa.CheckConstraint("overlap IN ('skip', 'buffer_one')", name=op.f("ck_payout_schedule_overlap_known")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"], name=op.f("fk_payout_schedule_tenant_id")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "reward_config_id"],
            ["reward_config.tenant_id", "reward_config.reward_config_id"],
            name=op.f("fk_payout_schedule_tenant_id_reward_config_id"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "schedule_id", name=op.f("pk_payout_schedule")),
    )
    op.create_index(
        "ix_payout_schedule_settled_until", "payout_schedule", ["settled_until"], postgresql_where=sa.text("archived_at IS NULL")
    )
    op.create_table(
        "payout_schedule_when",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("schedule_id", sa.UUID(), nullable=False),
        sa.Column("valid_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due", postgresql.JSONB(), nullable=False),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "schedule_id"],
            ["payout_schedule.tenant_id", "payout_schedule.schedule_id"],
            name=op.f("fk_payout_schedule_when_tenant_id_schedule_id"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "schedule_id", "valid_from", name=op.f("pk_payout_schedule_when")),
    )
    op.drop_constraint(op.f("ck_outbox_kind_known"), "outbox")
    op.create_check_constraint(op.f("ck_outbox_kind_known"), "outbox", "kind IN ('start', 'update', 'schedule')")
    op.execute(
        "CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON payout_schedule FOR EACH ROW "
        "WHEN (coalesce(current_setting('laurel.actor', true), '') <> '') "
        "EXECUTE FUNCTION record_change('schedule_id', 'settled_until')"
    )


def downgrade() -> None:
    raise NotImplementedError("payout schedules are not taken back: drop the database instead")
