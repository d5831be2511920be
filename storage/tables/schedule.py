"""Payout schedules and every `when` that they ever had."""

from sqlalchemy import Boolean, CheckConstraint, Column, DateTime, ForeignKeyConstraint, Index, Integer, Table, Text, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, UUID

from storage.tables.metadata import instant_column, metadata, one_of, uuid_column

payout_schedule = Table(
    "payout_schedule",
    metadata,
    uuid_column("tenant_id", primary_key=True),
    uuid_column("schedule_id", primary_key=True),
    Column("name", Text, nullable=False),
    # The present `when`; those before it are in payout_schedule_when.
    Column("due", JSONB, nullable=False),
    Column("audience", JSONB, nullable=False),
    uuid_column("reward_config_id", nullable=True),
    Column("item_ids", ARRAY(UUID(as_uuid=True))),
    # {"<currency>": smallest units, "<item_id>": count}
    Column("budget", JSONB, nullable=False, server_default="{}"),
    Column("overlap", Text, nullable=False),
    Column("catchup_seconds", Integer, nullable=False),
    Column("paused", Boolean, nullable=False),
    Column("note", Text),
    Column("version", Integer, nullable=False, server_default="1"),
    # Every instant before this one has its run, was passed over for a reason, or does not exist: the sweep goes on from here.
    instant_column("settled_until"),
    instant_column("created_at"),
    instant_column("updated_at"),
    instant_column("archived_at", nullable=True),
    ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"]),
    ForeignKeyConstraint(["tenant_id", "reward_config_id"], ["reward_config.tenant_id", "reward_config.reward_config_id"]),
    one_of("overlap", ("skip", "buffer_one")),
    CheckConstraint("(reward_config_id IS NULL) <> (item_ids IS NULL)", name="one_kind_of_prize"),
    CheckConstraint("catchup_seconds >= 0", name="catchup_not_negative"),
    Index("ix_payout_schedule_settled_until", "settled_until", postgresql_where=text("archived_at IS NULL")),
)

# Instants in the past are by the `when` in force then, and those that came during a pause are owed to nobody.
payout_schedule_when = Table(
    "payout_schedule_when",
    metadata,
    uuid_column("tenant_id", primary_key=True),
    uuid_column("schedule_id", primary_key=True),
    Column("valid_from", DateTime(timezone=True), primary_key=True),
    Column("due", JSONB, nullable=False),
    Column("paused", Boolean, nullable=False),
    ForeignKeyConstraint(["tenant_id", "schedule_id"], ["payout_schedule.tenant_id", "payout_schedule.schedule_id"]),
)
