"""What is given (items), to whom (configs), how it is paid (runs with their frozen audience), and what was given (grants)."""

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, ForeignKeyConstraint, Index, Integer, SmallInteger, Table, Text, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, UUID

from storage.tables.metadata import instant_column, key_column, metadata, one_of, uuid_column

reward_item = Table(
    "reward_item",
    metadata,
    uuid_column("tenant_id", primary_key=True),
    uuid_column("item_id", primary_key=True),
    Column("name", Text, nullable=False),
    Column("description", Text),
    Column("reward_type", Text, nullable=False),
    Column("reward_value", JSONB),
    Column("payload", JSONB, nullable=False, server_default="{}"),
    Column("fulfilment", JSONB, nullable=False),
    # What a wallet item credits, in the currency's smallest unit; null for all others.
    key_column("currency", nullable=True),
    Column("amount", BigInteger),
    Column("version", Integer, nullable=False, server_default="1"),
    instant_column("created_at"),
    instant_column("updated_at"),
    instant_column("archived_at", nullable=True),
    ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"]),
    ForeignKeyConstraint(["tenant_id", "currency"], ["currency.tenant_id", "currency.currency_id"]),
    CheckConstraint("amount > 0", name="amount_positive"),
    CheckConstraint("(currency IS NULL) = (amount IS NULL)", name="credit_is_whole"),
)

reward_config = Table(
    "reward_config",
    metadata,
    uuid_column("tenant_id", primary_key=True),
    uuid_column("reward_config_id", primary_key=True),
    Column("name", Text, nullable=False),
    # [{"name","min_rank","max_rank","min_score","top_percent","item_ids"}], scores in 1/10 000 point.
    Column("tiers", JSONB, nullable=False),
    # {"<currency>": smallest units, "<item_id>": count}
    Column("budget", JSONB, nullable=False),
    Column("version", Integer, nullable=False),
    instant_column("created_at"),
    instant_column("updated_at"),
    instant_column("archived_at", nullable=True),
    ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"]),
)

# A window is paid by the version in force at its closes_at, however late it is paid.
reward_config_version = Table(
    "reward_config_version",
    metadata,
    uuid_column("tenant_id", primary_key=True),
    uuid_column("reward_config_id", primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("tiers", JSONB, nullable=False),
    Column("budget", JSONB, nullable=False),
    instant_column("valid_from"),
    ForeignKeyConstraint(["tenant_id", "reward_config_id"], ["reward_config.tenant_id", "reward_config.reward_config_id"]),
)

payout_run = Table(
    "payout_run",
    metadata,
    uuid_column("tenant_id", primary_key=True),
    uuid_column("payout_run_id", primary_key=True),
    Column("source_type", Text, nullable=False),
    # The cause that its grants name: the window's uuid, or the run itself (contract 4).
    key_column("source_id"),
    uuid_column("schedule_id", nullable=True),
    instant_column("instant"),
    Column("trigger", Text, nullable=False),
    # Who is paid, as `storage/payout/audience.py` reads it, and what they get, copied so that later edits change nothing here.
    Column("audience", JSONB, nullable=False),
    Column("prizes", JSONB, nullable=False),
    Column("status", Text, nullable=False),
    Column("reason", Text),
    # How often a workflow was started for it: a retry is a workflow of its own.
    Column("attempt", Integer, nullable=False, server_default="1"),
    Column("cancel_requested", Boolean, nullable=False, server_default=text("false")),
    # The frozen audience, and how many who fit a tier the budget left out.
    Column("recipients", Integer, nullable=False, server_default="0"),
    Column("not_covered", Integer, nullable=False, server_default="0"),
    # The ordinal of the last recipient that was dealt with.
    Column("cursor", Integer, nullable=False, server_default="0"),
    Column("paid", Integer, nullable=False, server_default="0"),
    Column("skipped", Integer, nullable=False, server_default="0"),
    # {"<currency>": smallest units, "<item_id>": count}: what the audience should get, and what was given.
    Column("planned_total", JSONB, nullable=False, server_default="{}"),
    Column("total", JSONB, nullable=False, server_default="{}"),
    instant_column("created_at"),
    instant_column("updated_at"),
    instant_column("planned_at", nullable=True),
    instant_column("finished_at", nullable=True),
    ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"]),
    one_of("source_type", ("leaderboard", "schedule")),
    one_of("status", ("planning", "paying", "completed", "cancelled", "failed")),
    one_of("trigger", ("window", "schedule", "manual", "backfill")),
    CheckConstraint("paid + skipped = cursor AND cursor <= recipients", name="nobody_missed"),
    CheckConstraint("(status IN ('planning', 'paying')) = (finished_at IS NULL)", name="finished_when_over"),
    CheckConstraint("(source_type = 'schedule') = (schedule_id IS NOT NULL)", name="schedule_named"),
    Index("uq_payout_run_source", "tenant_id", "source_type", "source_id", unique=True),
    Index("uq_payout_run_instant", "tenant_id", "schedule_id", "instant", unique=True, postgresql_where=text("schedule_id IS NOT NULL")),
    Index("ix_payout_run_unfinished", "updated_at", postgresql_where=text("status IN ('planning', 'paying')")),
    postgresql_with={"fillfactor": "50"},
)

# Written by one statement that may hold a million rows: no foreign keys, they would be checked for each of them.
payout_recipient = Table(
    "payout_recipient",
    metadata,
    uuid_column("tenant_id", primary_key=True),
    uuid_column("payout_run_id", primary_key=True),
    Column("ordinal", Integer, primary_key=True, autoincrement=False),
    uuid_column("user_id"),
    key_column("external_user_id"),
    Column("rank", Integer),
    Column("score", BigInteger),
    # The place of the tier in the run's config.
    Column("tier_number", SmallInteger, nullable=False),
    Column("tier_name", Text),
    Column("state", Text, nullable=False, server_default="pending"),
    Column("reason", Text),
    # Items of the tier that could not be given to somebody who got the others.
    Column("missing", ARRAY(UUID(as_uuid=True))),
    one_of("state", ("pending", "paid", "skipped")),
    # Who erases or exports a user looks for the user's rows in all runs.
    Index("ix_payout_recipient_user", "tenant_id", "user_id"),
    # Each row is changed once, when it is paid: beside the old one, so that no index hears of it.
    postgresql_with={"fillfactor": "50"},
)

reward_grant = Table(
    "reward_grant",
    metadata,
    uuid_column("tenant_id", primary_key=True),
    uuid_column("grant_id", primary_key=True),
    Column("source_type", Text, nullable=False),
    key_column("source_id"),
    uuid_column("user_id"),
    uuid_column("item_id"),
    # The run that paid it; null when it was given in another way.
    uuid_column("payout_run_id", nullable=True),
    # What was given, as it was then.
    Column("item", JSONB, nullable=False),
    key_column("currency", nullable=True),
    Column("amount", BigInteger),
    uuid_column("redemption_id", nullable=True),
    Column("reason", Text),
    Column("granted_by", Text),
    instant_column("created_at"),
    ForeignKeyConstraint(["tenant_id", "user_id"], ["app_user.tenant_id", "app_user.user_id"]),
    one_of("source_type", ("leaderboard", "schedule", "manual", "purchase", "tier")),
    # One item to one user for one cause; leads with the cause, so a run's grants are found by it too.
    Index("uq_reward_grant_cause", "tenant_id", "source_type", "source_id", "user_id", "item_id", unique=True),
    Index("ix_reward_grant_tenant_id_user_id_grant_id", "tenant_id", "user_id", "grant_id"),
    CheckConstraint("(currency IS NULL) = (amount IS NULL)", name="credit_is_whole"),
)
