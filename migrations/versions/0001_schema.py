"""The schema: every table, constraint and index.

Revision: 0001
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Float, Text
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "app_user",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("user_id", sa.UUID(), nullable=False),
        sa.Column("external_id", sa.Text(collation="C"), nullable=False),
        sa.Column("display_name", sa.Text(), nullable=True),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("avatar_url", sa.Text(), nullable=True),
        sa.Column("attributes", postgresql.JSONB(astext_type=Text()), server_default="{}", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "user_id", name=op.f("pk_app_user")),
    )
    op.create_index("uq_app_user_tenant_id_external_id", "app_user", ["tenant_id", "external_id"], unique=True)
    op.create_table(
        "audit_log",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("audit_id", sa.UUID(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(collation="C"), nullable=False),
        sa.Column("subject_id", sa.Text(collation="C"), nullable=False),
        sa.Column("before", postgresql.JSONB(astext_type=Text()), nullable=True),
        sa.Column("after", postgresql.JSONB(astext_type=Text()), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "audit_id", name=op.f("pk_audit_log")),
    )
    op.create_table(
        "dead_letter",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("event_id", sa.Text(collation="C"), nullable=False),
        sa.Column("scoring_partition", sa.SmallInteger(), nullable=False),
        sa.Column("accepted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("replayed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "position", name=op.f("pk_dead_letter")),
    )
    op.create_table(
        "definition_change",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("change", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_definition_change")),
    )
    op.create_index("ix_definition_change_change", "definition_change", ["change"], unique=False)
    op.create_table(
        "earning_usage",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("rule_id", sa.UUID(), nullable=False),
        sa.Column("user_id", sa.UUID(), nullable=False),
        sa.Column("period", sa.Text(collation="C"), nullable=False),
        sa.Column("given", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("given >= 0", name=op.f("ck_earning_usage_given_not_negative")),
        sa.PrimaryKeyConstraint("tenant_id", "rule_id", "user_id", "period", name=op.f("pk_earning_usage")),
        postgresql_with={"fillfactor": "70"},
    )
    op.create_table(
        "event_key",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("sender", sa.Text(collation="C"), nullable=False),
        sa.Column("event_id", sa.Text(collation="C"), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("accepted_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "event_id", "sender", name=op.f("pk_event_key")),
        postgresql_partition_by="HASH (event_id)",
    )
    op.create_table(
        "event_log",
        sa.Column("scoring_partition", sa.SmallInteger(), nullable=False),
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("accepted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("user_id", sa.UUID(), nullable=False),
        sa.Column("external_user_id", sa.Text(collation="C"), nullable=False),
        sa.Column("sender", sa.Text(collation="C"), nullable=False),
        sa.Column("event_id", sa.Text(collation="C"), nullable=False),
        sa.Column("type", sa.Text(collation="C"), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("scoring_partition", "position", "accepted_at", name=op.f("pk_event_log")),
        postgresql_partition_by="RANGE (accepted_at)",
    )
    op.create_table(
        "idempotency_record",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("scope", sa.Text(collation="C"), nullable=False),
        sa.Column("key", sa.Text(collation="C"), nullable=False),
        sa.Column("request_hash", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("status BETWEEN 200 AND 299", name=op.f("ck_idempotency_record_success_only")),
        sa.PrimaryKeyConstraint("tenant_id", "scope", "key", name=op.f("pk_idempotency_record")),
    )
    op.create_index("ix_idempotency_record_created_at", "idempotency_record", ["created_at"], unique=False)
    op.create_table(
        "live_position",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("window_id", sa.UUID(), nullable=False),
        sa.Column("scoring_partition", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "window_id", "scoring_partition", name=op.f("pk_live_position")),
        postgresql_with={"fillfactor": "70"},
    )
    op.create_index("ix_live_position_scoring_partition", "live_position", ["scoring_partition", "updated_at"], unique=False)
    op.create_table(
        "outbox",
        sa.Column("outbox_id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("workflow_id", sa.Text(collation="C"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("argument", postgresql.JSONB(astext_type=Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("leased_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.CheckConstraint("kind IN ('start', 'update')", name=op.f("ck_outbox_kind_known")),
        sa.PrimaryKeyConstraint("outbox_id", name=op.f("pk_outbox")),
    )
    op.create_index("ix_outbox_due_at", "outbox", ["due_at"], unique=False, postgresql_where=sa.text("sent_at IS NULL"))
    op.create_index("uq_outbox_workflow_id", "outbox", ["workflow_id", "kind", "name"], unique=True)
    op.create_table(
        "platform",
        sa.Column("singleton", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("scoring_partitions", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("singleton", name=op.f("ck_platform_one_row")),
        sa.PrimaryKeyConstraint("singleton", name=op.f("pk_platform")),
    )
    op.create_table(
        "scoring_cursor",
        sa.Column("scoring_partition", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("position", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("owner_epoch", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("events_scored", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("accepted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("scoring_partition", name=op.f("pk_scoring_cursor")),
    )
    op.create_table(
        "snapshot_entry",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("window_id", sa.UUID(), nullable=False),
        sa.Column("rank", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("user_id", sa.UUID(), nullable=False),
        sa.Column("external_user_id", sa.Text(collation="C"), nullable=False),
        sa.Column("score", sa.BigInteger(), nullable=False),
        sa.Column("reached_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "window_id", "rank", name=op.f("pk_snapshot_entry")),
    )
    op.create_index("uq_snapshot_entry_external_user_id", "snapshot_entry", ["tenant_id", "window_id", "external_user_id"], unique=True)
    op.create_table(
        "standing",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("window_id", sa.UUID(), nullable=False),
        sa.Column("user_id", sa.UUID(), nullable=False),
        sa.Column("external_user_id", sa.Text(collation="C"), nullable=False),
        sa.Column("score", sa.BigInteger(), nullable=False),
        sa.Column("reached_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("counted", sa.BigInteger(), nullable=False),
        sa.Column("best", sa.BigInteger(), nullable=True),
        sa.Column("best_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("scored_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("counted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("scoring_partition", sa.SmallInteger(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "window_id", "user_id", name=op.f("pk_standing")),
        postgresql_with={"fillfactor": "70"},
    )
    op.create_table(
        "tenant",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="active", nullable=False),
        sa.Column("org_id", sa.Text(collation="C"), nullable=True),
        sa.Column("timezone", sa.Text(), server_default="UTC", nullable=False),
        sa.Column("cors_origins", postgresql.ARRAY(Text()), server_default="{}", nullable=False),
        sa.Column("settings", postgresql.JSONB(astext_type=Text()), server_default="{}", nullable=False),
        sa.Column("is_demo", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("rate_limit_per_second", sa.Integer(), nullable=True),
        sa.Column("event_types_version", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("status IN ('active', 'suspended')", name=op.f("ck_tenant_status_known")),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_tenant")),
    )
    op.create_index("uq_tenant_org_id", "tenant", ["org_id"], unique=True, postgresql_where=sa.text("org_id IS NOT NULL"))
    op.create_table(
        "transfer",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("transfer_id", sa.UUID(), nullable=False),
        sa.Column("debit_account_id", sa.UUID(), nullable=False),
        sa.Column("credit_account_id", sa.UUID(), nullable=False),
        sa.Column("user_account_id", sa.UUID(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("currency_id", sa.Text(collation="C"), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("cause_type", sa.Text(), nullable=False),
        sa.Column("cause_id", sa.Text(collation="C"), nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("reverses_transfer_id", sa.UUID(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "kind IN ('earn', 'grant', 'redeem', 'refund', 'adjust', 'expire', 'reverse')", name=op.f("ck_transfer_kind_known")
        ),
        sa.CheckConstraint("amount > 0", name=op.f("ck_transfer_amount_positive")),
        sa.CheckConstraint("debit_account_id <> credit_account_id", name=op.f("ck_transfer_two_accounts")),
        sa.CheckConstraint("user_account_id IN (debit_account_id, credit_account_id)", name=op.f("ck_transfer_user_side")),
        sa.PrimaryKeyConstraint("tenant_id", "transfer_id", name=op.f("pk_transfer")),
    )
    op.create_index(
        "ix_transfer_tenant_id_user_account_id_transfer_id", "transfer", ["tenant_id", "user_account_id", "transfer_id"], unique=False
    )
    op.create_index("uq_transfer_cause", "transfer", ["tenant_id", "cause_type", "cause_id", "kind"], unique=True)
    op.create_table(
        "api_key",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("key_id", sa.UUID(), nullable=False),
        sa.Column("public_id", sa.Text(collation="C"), nullable=False),
        sa.Column("secret_hash", sa.LargeBinary(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("role IN ('admin', 'server', 'fulfilment', 'read')", name=op.f("ck_api_key_role_known")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"], name=op.f("fk_api_key_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "key_id", name=op.f("pk_api_key")),
        sa.UniqueConstraint("public_id", name=op.f("uq_api_key_public_id")),
    )
    op.create_table(
        "console_user",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("console_user_id", sa.UUID(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("role IN ('admin', 'viewer')", name=op.f("ck_console_user_role_known")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"], name=op.f("fk_console_user_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "console_user_id", name=op.f("pk_console_user")),
    )
    op.create_index("uq_console_user_email", "console_user", [sa.literal_column("lower(email)")], unique=True)
    op.create_table(
        "currency",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("currency_id", sa.Text(collation="C"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=True),
        sa.Column("decimal_places", sa.Integer(), server_default="0", nullable=False),
        sa.Column("is_spendable", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("expires_after_days", sa.Integer(), nullable=True),
        sa.Column("pending_seconds", sa.Integer(), server_default="0", nullable=False),
        sa.Column("issue_account_id", sa.UUID(), nullable=False),
        sa.Column("redemption_account_id", sa.UUID(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("decimal_places BETWEEN 0 AND 4", name=op.f("ck_currency_places")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"], name=op.f("fk_currency_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "currency_id", name=op.f("pk_currency")),
    )
    op.create_table(
        "earning_rule",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("rule_id", sa.UUID(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("definition", postgresql.JSONB(astext_type=Text()), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("archived_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"], name=op.f("fk_earning_rule_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "rule_id", name=op.f("pk_earning_rule")),
    )
    op.create_table(
        "event_type",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("name", sa.Text(collation="C"), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("schema", postgresql.JSONB(astext_type=Text()), nullable=True),
        sa.Column("server_only", sa.Boolean(), nullable=False),
        sa.Column("is_system", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"], name=op.f("fk_event_type_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "name", name=op.f("pk_event_type")),
    )
    op.create_table(
        "leaderboard",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("board_id", sa.UUID(), nullable=False),
        sa.Column("leaderboard_id", sa.Text(collation="C"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("config", postgresql.JSONB(astext_type=Text()), nullable=False),
        sa.Column("reward_config_id", sa.UUID(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("status IN ('active', 'inactive', 'archived')", name=op.f("ck_leaderboard_status_known")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"], name=op.f("fk_leaderboard_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "board_id", name=op.f("pk_leaderboard")),
    )
    op.create_index(
        "uq_leaderboard_tenant_id_leaderboard_id",
        "leaderboard",
        ["tenant_id", "leaderboard_id"],
        unique=True,
        postgresql_where=sa.text("status <> 'archived'"),
    )
    op.create_table(
        "redemption",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("redemption_id", sa.UUID(), nullable=False),
        sa.Column("user_id", sa.UUID(), nullable=False),
        sa.Column("external_user_id", sa.Text(collation="C"), nullable=False),
        sa.Column("reward_id", sa.UUID(), nullable=False),
        sa.Column("reward", postgresql.JSONB(astext_type=Text()), nullable=False),
        sa.Column("variant_id", sa.Text(), nullable=True),
        sa.Column("source_type", sa.Text(), server_default="purchase", nullable=False),
        sa.Column("source_id", sa.Text(collation="C"), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("flags", postgresql.ARRAY(Text()), server_default="{}", nullable=False),
        sa.Column("points_spent", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(collation="C"), nullable=True),
        sa.Column("decimal_places", sa.Integer(), server_default="0", nullable=False),
        sa.Column("takes_stock", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("stock_variant_id", sa.Text(collation="C"), nullable=True),
        sa.Column("fields", postgresql.JSONB(astext_type=Text()), nullable=False),
        sa.Column("fulfillment_data", postgresql.JSONB(astext_type=Text()), server_default="{}", nullable=False),
        sa.Column("failure_reason", sa.Text(), nullable=True),
        sa.Column("fulfilment", postgresql.JSONB(astext_type=Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("fulfilled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("deadline_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "status IN ('pending_claim', 'pending_approval', 'pending', 'processing', 'fulfilled', 'failed', 'cancelled', 'expired', 'reversed')",
            name=op.f("ck_redemption_status_known"),
        ),
        sa.CheckConstraint("points_spent >= 0", name=op.f("ck_redemption_points_not_negative")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "user_id"], ["app_user.tenant_id", "app_user.user_id"], name=op.f("fk_redemption_tenant_id_user_id")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "redemption_id", name=op.f("pk_redemption")),
    )
    op.create_index(
        "ix_redemption_open",
        "redemption",
        ["deadline_at"],
        unique=False,
        postgresql_where=sa.text("status IN ('pending_claim', 'pending_approval', 'pending', 'processing')"),
    )
    op.create_index("ix_redemption_tenant_id_user_id_redemption_id", "redemption", ["tenant_id", "user_id", "redemption_id"], unique=False)
    op.create_table(
        "reward",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("reward_id", sa.UUID(), nullable=False),
        sa.Column("slug", sa.Text(collation="C"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("image_url", sa.Text(), nullable=True),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("value", postgresql.JSONB(astext_type=Text()), nullable=True),
        sa.Column("prices", postgresql.JSONB(astext_type=Text()), nullable=False),
        sa.Column("fields", postgresql.JSONB(astext_type=Text()), nullable=False),
        sa.Column("fulfilment", postgresql.JSONB(astext_type=Text()), nullable=False),
        sa.Column("config", postgresql.JSONB(astext_type=Text()), nullable=False),
        sa.Column("variants", postgresql.JSONB(astext_type=Text()), server_default="[]", nullable=False),
        sa.Column("stock", sa.Integer(), nullable=True),
        sa.Column("max_per_user", sa.Integer(), nullable=True),
        sa.Column("per_user_period", sa.Text(), server_default="ever", nullable=False),
        sa.Column("visible_from", sa.DateTime(timezone=True), nullable=True),
        sa.Column("visible_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("available_from", sa.DateTime(timezone=True), nullable=True),
        sa.Column("available_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("eligibility", postgresql.JSONB(none_as_null=True, astext_type=Text()), nullable=True),
        sa.Column("requires_claim", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("requires_approval", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("archived_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("per_user_period IN ('day', 'week', 'month', 'ever')", name=op.f("ck_reward_per_user_period_known")),
        sa.CheckConstraint("max_per_user > 0", name=op.f("ck_reward_max_per_user_positive")),
        sa.CheckConstraint("stock >= 0", name=op.f("ck_reward_stock_not_negative")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"], name=op.f("fk_reward_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "reward_id", name=op.f("pk_reward")),
        postgresql_with={"fillfactor": "50"},
    )
    op.create_index(
        "uq_reward_tenant_id_slug", "reward", ["tenant_id", "slug"], unique=True, postgresql_where=sa.text("archived_at IS NULL")
    )
    op.create_table(
        "tier_change",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("change_id", sa.UUID(), nullable=False),
        sa.Column("user_id", sa.UUID(), nullable=False),
        sa.Column("previous_tier", sa.Text(collation="C"), nullable=True),
        sa.Column("new_tier", sa.Text(collation="C"), nullable=True),
        sa.Column("points", sa.BigInteger(), nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("(changed_by IS NULL) = (reason IS NULL)", name=op.f("ck_tier_change_by_hand_with_reason")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "user_id"], ["app_user.tenant_id", "app_user.user_id"], name=op.f("fk_tier_change_tenant_id_user_id")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "change_id", name=op.f("pk_tier_change")),
    )
    op.create_index("ix_tier_change_tenant_id_user_id_change_id", "tier_change", ["tenant_id", "user_id", "change_id"], unique=False)
    op.create_table(
        "tier_set",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("basis", sa.Text(), nullable=False),
        sa.Column("downgrade", sa.Text(), server_default="never", nullable=False),
        sa.Column("period_days", sa.Integer(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "(basis = 'earned_in_period' OR downgrade = 'at_period_end') = (period_days IS NOT NULL)",
            name=op.f("ck_tier_set_period_where_needed"),
        ),
        sa.CheckConstraint("basis IN ('lifetime_earned', 'earned_in_period', 'balance')", name=op.f("ck_tier_set_basis_known")),
        sa.CheckConstraint("downgrade IN ('never', 'at_period_end')", name=op.f("ck_tier_set_downgrade_known")),
        sa.CheckConstraint("period_days > 0", name=op.f("ck_tier_set_period_positive")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"], name=op.f("fk_tier_set_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_tier_set")),
    )
    op.create_table(
        "user_tier",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("user_id", sa.UUID(), nullable=False),
        sa.Column("tier", sa.Text(collation="C"), nullable=True),
        sa.Column("held_level", sa.Integer(), server_default="-1", nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reviewed_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "user_id"], ["app_user.tenant_id", "app_user.user_id"], name=op.f("fk_user_tier_tenant_id_user_id")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "user_id", name=op.f("pk_user_tier")),
    )
    op.create_index("ix_user_tier_tenant_id_reviewed_at", "user_tier", ["tenant_id", "reviewed_at"], unique=False)
    op.create_index("ix_user_tier_tenant_id_tier", "user_tier", ["tenant_id", "tier"], unique=False)
    op.create_table(
        "webhook_endpoint",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("endpoint_id", sa.UUID(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("events", postgresql.ARRAY(Text()), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("disabled_reason", sa.Text(), nullable=True),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("rate_per_second", sa.Float(), nullable=False),
        sa.Column("timeout_seconds", sa.Float(), nullable=False),
        sa.Column("retry_delays_seconds", postgresql.ARRAY(Float()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("archived_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("next_turn_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"], name=op.f("fk_webhook_endpoint_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "endpoint_id", name=op.f("pk_webhook_endpoint")),
    )
    op.create_table(
        "account",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("account_id", sa.UUID(), nullable=False),
        sa.Column("user_id", sa.UUID(), nullable=False),
        sa.Column("currency_id", sa.Text(collation="C"), nullable=False),
        sa.Column("posted", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("held", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("lifetime_earned", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("lifetime_spent", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("held >= 0 AND held <= posted", name=op.f("ck_account_held_within_posted")),
        sa.CheckConstraint("lifetime_earned >= 0 AND lifetime_spent >= 0", name=op.f("ck_account_lifetime_not_negative")),
        sa.CheckConstraint("posted >= 0", name=op.f("ck_account_posted_not_negative")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "currency_id"], ["currency.tenant_id", "currency.currency_id"], name=op.f("fk_account_tenant_id_currency_id")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "user_id"], ["app_user.tenant_id", "app_user.user_id"], name=op.f("fk_account_tenant_id_user_id")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "account_id", name=op.f("pk_account")),
        postgresql_with={"fillfactor": "70"},
    )
    op.create_index("uq_account_tenant_id_user_id_currency_id", "account", ["tenant_id", "user_id", "currency_id"], unique=True)
    op.create_table(
        "earning_budget",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("rule_id", sa.UUID(), nullable=False),
        sa.Column("spent", sa.BigInteger(), server_default="0", nullable=False),
        sa.CheckConstraint("spent >= 0", name=op.f("ck_earning_budget_spent_not_negative")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "rule_id"], ["earning_rule.tenant_id", "earning_rule.rule_id"], name=op.f("fk_earning_budget_tenant_id_rule_id")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "rule_id", name=op.f("pk_earning_budget")),
        postgresql_with={"fillfactor": "50"},
    )
    op.create_table(
        "earning_rule_version",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("rule_id", sa.UUID(), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("definition", postgresql.JSONB(astext_type=Text()), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("valid_from", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "rule_id"],
            ["earning_rule.tenant_id", "earning_rule.rule_id"],
            name=op.f("fk_earning_rule_version_tenant_id_rule_id"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "rule_id", "version", name=op.f("pk_earning_rule_version")),
    )
    op.create_table(
        "leaderboard_version",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("board_id", sa.UUID(), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("config", postgresql.JSONB(astext_type=Text()), nullable=False),
        sa.Column("valid_from", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "board_id"],
            ["leaderboard.tenant_id", "leaderboard.board_id"],
            name=op.f("fk_leaderboard_version_tenant_id_board_id"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "board_id", "version", name=op.f("pk_leaderboard_version")),
    )
    op.create_table(
        "leaderboard_window",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("window_id", sa.UUID(), nullable=False),
        sa.Column("board_id", sa.UUID(), nullable=False),
        sa.Column("window_key", sa.Text(collation="C"), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closes_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("late_events", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=True),
        sa.Column("snapshot_size", sa.Integer(), nullable=True),
        sa.Column("ranking_method", sa.Text(), nullable=True),
        sa.Column("ranking_min_score", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("status IN ('open', 'closing', 'closed', 'paid')", name=op.f("ck_leaderboard_window_status_known")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "board_id"],
            ["leaderboard.tenant_id", "leaderboard.board_id"],
            name=op.f("fk_leaderboard_window_tenant_id_board_id"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "window_id", name=op.f("pk_leaderboard_window")),
        sa.UniqueConstraint("tenant_id", "board_id", "window_key", name=op.f("uq_leaderboard_window_tenant_id_board_id_window_key")),
    )
    op.create_index("ix_leaderboard_window_starts_at", "leaderboard_window", ["tenant_id", "board_id", "starts_at"], unique=False)
    op.create_index(
        "ix_leaderboard_window_unclosed",
        "leaderboard_window",
        ["tenant_id", "window_id"],
        unique=False,
        postgresql_where=sa.text("status IN ('open', 'closing')"),
    )
    op.create_table(
        "redemption_move",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("redemption_id", sa.UUID(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("from_status", sa.Text(), nullable=True),
        sa.Column("to_status", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id", "redemption_id"],
            ["redemption.tenant_id", "redemption.redemption_id"],
            name=op.f("fk_redemption_move_tenant_id_redemption_id"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "redemption_id", "number", name=op.f("pk_redemption_move")),
    )
    op.create_table(
        "reward_code",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("reward_id", sa.UUID(), nullable=False),
        sa.Column("code", sa.Text(collation="C"), nullable=False),
        sa.Column("number", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("redemption_id", sa.UUID(), nullable=True),
        sa.Column("imported_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "reward_id"], ["reward.tenant_id", "reward.reward_id"], name=op.f("fk_reward_code_tenant_id_reward_id")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "reward_id", "code", name=op.f("pk_reward_code")),
        postgresql_with={"fillfactor": "80"},
    )
    op.create_index(
        "ix_reward_code_free",
        "reward_code",
        ["tenant_id", "reward_id", "number"],
        unique=False,
        postgresql_where=sa.text("redemption_id IS NULL"),
    )
    op.create_index(
        "uq_reward_code_tenant_id_redemption_id",
        "reward_code",
        ["tenant_id", "redemption_id"],
        unique=True,
        postgresql_where=sa.text("redemption_id IS NOT NULL"),
    )
    op.create_table(
        "reward_variant",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("reward_id", sa.UUID(), nullable=False),
        sa.Column("variant_id", sa.Text(collation="C"), nullable=False),
        sa.Column("stock", sa.Integer(), nullable=False),
        sa.CheckConstraint("stock >= 0", name=op.f("ck_reward_variant_stock_not_negative")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "reward_id"], ["reward.tenant_id", "reward.reward_id"], name=op.f("fk_reward_variant_tenant_id_reward_id")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "reward_id", "variant_id", name=op.f("pk_reward_variant")),
        postgresql_with={"fillfactor": "50"},
    )
    op.create_table(
        "tier",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("name", sa.Text(collation="C"), nullable=False),
        sa.Column("level", sa.Integer(), nullable=False),
        sa.Column("threshold", sa.BigInteger(), nullable=False),
        sa.Column("benefits", postgresql.JSONB(astext_type=Text()), nullable=False),
        sa.CheckConstraint("level >= 0 AND threshold >= 0", name=op.f("ck_tier_not_negative")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tier_set.tenant_id"], name=op.f("fk_tier_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "name", name=op.f("pk_tier")),
    )
    op.create_index("uq_tier_tenant_id_level", "tier", ["tenant_id", "level"], unique=True)
    op.create_table(
        "webhook_delivery",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("delivery_id", sa.UUID(), nullable=False),
        sa.Column("endpoint_id", sa.UUID(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("redemption_id", sa.UUID(), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("last_status", sa.Integer(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("due_trigger", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "state IN ('pending', 'delivered', 'exhausted', 'superseded', 'held', 'cancelled')",
            name=op.f("ck_webhook_delivery_state_known"),
        ),
        sa.CheckConstraint("(due_at IS NULL) = (due_trigger IS NULL)", name=op.f("ck_webhook_delivery_due_has_a_trigger")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "endpoint_id"],
            ["webhook_endpoint.tenant_id", "webhook_endpoint.endpoint_id"],
            name=op.f("fk_webhook_delivery_tenant_id_endpoint_id"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "delivery_id", name=op.f("pk_webhook_delivery")),
    )
    op.create_index("ix_webhook_delivery_created_at", "webhook_delivery", ["created_at"], unique=False)
    op.create_index(
        "ix_webhook_delivery_due",
        "webhook_delivery",
        ["tenant_id", "endpoint_id", "due_at"],
        unique=False,
        postgresql_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_index(
        "ix_webhook_delivery_tenant_id_endpoint_id", "webhook_delivery", ["tenant_id", "endpoint_id", "delivery_id"], unique=False
    )
    op.create_index("ix_webhook_delivery_tenant_id_redemption_id", "webhook_delivery", ["tenant_id", "redemption_id"], unique=False)
    op.create_table(
        "webhook_secret",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("secret_id", sa.UUID(), nullable=False),
        sa.Column("endpoint_id", sa.UUID(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id", "endpoint_id"],
            ["webhook_endpoint.tenant_id", "webhook_endpoint.endpoint_id"],
            name=op.f("fk_webhook_secret_tenant_id_endpoint_id"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "secret_id", name=op.f("pk_webhook_secret")),
    )
    op.create_index(
        "uq_webhook_secret_present",
        "webhook_secret",
        ["tenant_id", "endpoint_id"],
        unique=True,
        postgresql_where=sa.text("expires_at IS NULL"),
    )
    op.create_table(
        "hold",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("hold_id", sa.UUID(), nullable=False),
        sa.Column("account_id", sa.UUID(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("redemption_id", sa.UUID(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("(state = 'held') = (settled_at IS NULL)", name=op.f("ck_hold_settled_when_not_held")),
        sa.CheckConstraint("state IN ('held', 'captured', 'released', 'expired')", name=op.f("ck_hold_state_known")),
        sa.CheckConstraint("amount > 0", name=op.f("ck_hold_amount_positive")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "account_id"], ["account.tenant_id", "account.account_id"], name=op.f("fk_hold_tenant_id_account_id")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "hold_id", name=op.f("pk_hold")),
    )
    op.create_index("ix_hold_open", "hold", ["tenant_id", "account_id"], unique=False, postgresql_where=sa.text("state = 'held'"))
    op.create_index("uq_hold_tenant_id_redemption_id", "hold", ["tenant_id", "redemption_id"], unique=True)
    op.create_table(
        "webhook_attempt",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("delivery_id", sa.UUID(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("trigger", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("duration_ms", sa.Float(), nullable=True),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("error_class", sa.Text(), nullable=True),
        sa.Column("answer_head", sa.LargeBinary(), nullable=True),
        sa.Column("remote_address", sa.Text(), nullable=True),
        sa.CheckConstraint("trigger IN ('scheduled', 'manual', 'test')", name=op.f("ck_webhook_attempt_trigger_known")),
        sa.CheckConstraint("number >= 1", name=op.f("ck_webhook_attempt_number_from_one")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "delivery_id"],
            ["webhook_delivery.tenant_id", "webhook_delivery.delivery_id"],
            name=op.f("fk_webhook_attempt_tenant_id_delivery_id"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "delivery_id", "number", name=op.f("pk_webhook_attempt")),
    )


def downgrade() -> None:
    raise NotImplementedError("the first revision is not taken back: drop the database instead")
