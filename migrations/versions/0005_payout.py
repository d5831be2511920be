"""Reward items, reward configs, payout runs and grants; boards' versions name their config, and items may have pools of codes.

Revision: 0005
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

AUDITED = {
    "reward_item": ("item_id",),
    "reward_config": ("reward_config_id",),
    "payout_run": ("payout_run_id", "audience", "prizes"),
    "reward_grant": ("grant_id", "item"),
}


def upgrade() -> None:
    op.create_table(
        "payout_recipient",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("payout_run_id", sa.UUID(), nullable=False),
        sa.Column("ordinal", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("user_id", sa.UUID(), nullable=False),
        sa.Column("external_user_id", sa.Text(collation="C"), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=True),
        sa.Column("score", sa.BigInteger(), nullable=True),
        sa.Column("tier_number", sa.SmallInteger(), nullable=False),
        sa.Column("tier_name", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), server_default="pending", nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("missing", postgresql.ARRAY(sa.UUID()), nullable=True),
        sa.CheckConstraint("state IN ('pending', 'paid', 'skipped')", name=op.f("ck_payout_recipient_state_known")),
        sa.PrimaryKeyConstraint("tenant_id", "payout_run_id", "ordinal", name=op.f("pk_payout_recipient")),
        postgresql_with={"fillfactor": "80"},
    )
    op.create_table(
        "payout_run",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("payout_run_id", sa.UUID(), nullable=False),
        sa.Column("source_type", sa.Text(), nullable=False),
        sa.Column("source_id", sa.Text(collation="C"), nullable=False),
        sa.Column("schedule_id", sa.UUID(), nullable=True),
        sa.Column("instant", sa.DateTime(timezone=True), nullable=False),
        sa.Column("trigger", sa.Text(), nullable=False),
        sa.Column("audience", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("prizes", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("attempt", sa.Integer(), server_default="1", nullable=False),
        sa.Column("cancel_requested", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("recipients", sa.Integer(), server_default="0", nullable=False),
        sa.Column("not_covered", sa.Integer(), server_default="0", nullable=False),
        sa.Column("cursor", sa.Integer(), server_default="0", nullable=False),
        sa.Column("paid", sa.Integer(), server_default="0", nullable=False),
        sa.Column("skipped", sa.Integer(), server_default="0", nullable=False),
        sa.Column("planned_total", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("total", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("planned_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("(source_type = 'schedule') = (schedule_id IS NOT NULL)", name=op.f("ck_payout_run_schedule_named")),
        sa.CheckConstraint("(status IN ('planning', 'paying')) = (finished_at IS NULL)", name=op.f("ck_payout_run_finished_when_over")),
        sa.CheckConstraint("source_type IN ('leaderboard', 'schedule')", name=op.f("ck_payout_run_source_type_known")),
        sa.CheckConstraint("status IN ('planning', 'paying', 'completed', 'cancelled', 'failed')", name=op.f("ck_payout_run_status_known")),
        sa.CheckConstraint("trigger IN ('window', 'schedule', 'manual', 'backfill')", name=op.f("ck_payout_run_trigger_known")),
        sa.CheckConstraint("paid + skipped = cursor AND cursor <= recipients", name=op.f("ck_payout_run_nobody_missed")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"], name=op.f("fk_payout_run_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "payout_run_id", name=op.f("pk_payout_run")),
        postgresql_with={"fillfactor": "50"},
    )
    op.create_index(
        "ix_payout_run_unfinished", "payout_run", ["updated_at"], unique=False, postgresql_where=sa.text("status IN ('planning', 'paying')")
    )
    op.create_index(
        "uq_payout_run_instant",
        "payout_run",
        ["tenant_id", "schedule_id", "instant"],
        unique=True,
        postgresql_where=sa.text("schedule_id IS NOT NULL"),
    )
    op.create_index("uq_payout_run_source", "payout_run", ["tenant_id", "source_type", "source_id"], unique=True)
    op.create_table(
        "reward_config",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("reward_config_id", sa.UUID(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("tiers", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("budget", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("archived_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"], name=op.f("fk_reward_config_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "reward_config_id", name=op.f("pk_reward_config")),
    )
    op.create_table(
        "reward_grant",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("grant_id", sa.UUID(), nullable=False),
        sa.Column("source_type", sa.Text(), nullable=False),
        sa.Column("source_id", sa.Text(collation="C"), nullable=False),
        sa.Column("user_id", sa.UUID(), nullable=False),
        sa.Column("item_id", sa.UUID(), nullable=False),
        sa.Column("payout_run_id", sa.UUID(), nullable=True),
        sa.Column("item", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("currency", sa.Text(collation="C"), nullable=True),
        sa.Column("amount", sa.BigInteger(), nullable=True),
        sa.Column("redemption_id", sa.UUID(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("granted_by", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "source_type IN ('leaderboard', 'schedule', 'manual', 'purchase', 'tier')", name=op.f("ck_reward_grant_source_type_known")
        ),
        sa.CheckConstraint("(currency IS NULL) = (amount IS NULL)", name=op.f("ck_reward_grant_credit_is_whole")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "user_id"], ["app_user.tenant_id", "app_user.user_id"], name=op.f("fk_reward_grant_tenant_id_user_id")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "grant_id", name=op.f("pk_reward_grant")),
    )
    op.create_index("ix_reward_grant_tenant_id_user_id_grant_id", "reward_grant", ["tenant_id", "user_id", "grant_id"], unique=False)
    op.create_index("uq_reward_grant_cause", "reward_grant", ["tenant_id", "source_type", "source_id", "user_id", "item_id"], unique=True)
    op.create_table(
        "reward_config_version",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("reward_config_id", sa.UUID(), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("tiers", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("budget", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("valid_from", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "reward_config_id"],
            ["reward_config.tenant_id", "reward_config.reward_config_id"],
            name=op.f("fk_reward_config_version_tenant_id_reward_config_id"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "reward_config_id", "version", name=op.f("pk_reward_config_version")),
    )
    op.create_table(
        "reward_item",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("item_id", sa.UUID(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("reward_type", sa.Text(), nullable=False),
        sa.Column("reward_value", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("payload", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("fulfilment", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("currency", sa.Text(collation="C"), nullable=True),
        sa.Column("amount", sa.BigInteger(), nullable=True),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("archived_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("(currency IS NULL) = (amount IS NULL)", name=op.f("ck_reward_item_credit_is_whole")),
        sa.CheckConstraint("amount > 0", name=op.f("ck_reward_item_amount_positive")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "currency"], ["currency.tenant_id", "currency.currency_id"], name=op.f("fk_reward_item_tenant_id_currency")
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"], name=op.f("fk_reward_item_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "item_id", name=op.f("pk_reward_item")),
    )
    op.add_column("leaderboard_version", sa.Column("reward_config_id", sa.UUID(), nullable=True))
    op.drop_constraint(op.f("fk_reward_code_tenant_id_reward_id"), "reward_code", type_="foreignkey")
    for table, arguments in AUDITED.items():
        given = ", ".join(f"'{each}'" for each in arguments)
        op.execute(
            f"CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON {table} FOR EACH ROW "
            f"WHEN (coalesce(current_setting('laurel.actor', true), '') <> '') EXECUTE FUNCTION record_change({given})"
        )


def downgrade() -> None:
    raise NotImplementedError("revisions are not taken back: drop the database instead")
