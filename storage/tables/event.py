"""The event log, the keys that make an event unique, and the scoring partitions' cursors."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    text,
)

from storage.tables.metadata import instant_column, key_column, metadata, uuid_column

event_log = Table(
    "event_log",
    metadata,
    Column("scoring_partition", SmallInteger, nullable=False),
    Column("position", BigInteger, nullable=False, autoincrement=False),
    instant_column("accepted_at"),
    instant_column("occurred_at"),
    uuid_column("tenant_id"),
    uuid_column("user_id"),
    key_column("external_user_id"),
    key_column("sender"),
    key_column("event_id"),
    key_column("type"),
    Column("body", LargeBinary, nullable=False),
    PrimaryKeyConstraint("scoring_partition", "position", "accepted_at"),
    postgresql_partition_by="RANGE (accepted_at)",
)

event_key = Table(
    "event_key",
    metadata,
    uuid_column("tenant_id"),
    key_column("sender"),
    key_column("event_id"),
    Column("position", BigInteger, nullable=False),
    instant_column("accepted_at"),
    # In this order, so that an admin's question by event_id, whoever sent it, needs no second index.
    PrimaryKeyConstraint("tenant_id", "event_id", "sender"),
    postgresql_partition_by="HASH (event_id)",
)

scoring_cursor = Table(
    "scoring_cursor",
    metadata,
    Column("scoring_partition", SmallInteger, primary_key=True, autoincrement=False),
    Column("position", BigInteger, nullable=False, server_default="0"),
    Column("owner_epoch", BigInteger, nullable=False, server_default="0"),
    Column("events_scored", BigInteger, nullable=False, server_default="0"),
    # No event behind the cursor was accepted before this instant: it prunes the log's partitions.
    instant_column("accepted_at", nullable=True),
    instant_column("updated_at"),
    # The owner's epoch while tenants are behind the cursor: an owner that knows nothing of `scoring_backlog` cannot take the partition.
    Column("backlog_epoch", BigInteger),
    CheckConstraint("backlog_epoch IS NULL OR backlog_epoch = owner_epoch", name="backlog_minded"),
)

scoring_backlog = Table(
    "scoring_backlog",
    metadata,
    uuid_column("tenant_id", primary_key=True),
    Column("scoring_partition", SmallInteger, primary_key=True, autoincrement=False),
    # The cursor has passed this tenant's events after this position: they are scored in turns of their own (decision 26).
    Column("position", BigInteger, nullable=False),
    instant_column("accepted_at", nullable=True),
)

dead_letter = Table(
    "dead_letter",
    metadata,
    uuid_column("tenant_id", primary_key=True),
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    key_column("event_id"),
    Column("scoring_partition", SmallInteger, nullable=False),
    instant_column("accepted_at"),
    Column("reason", Text, nullable=False),
    instant_column("created_at"),
    instant_column("replayed_at", nullable=True),
    Index("ix_dead_letter_open", "tenant_id", "position", postgresql_where=text("replayed_at IS NULL")),
)

definition_change = Table(
    "definition_change",
    metadata,
    uuid_column("tenant_id", primary_key=True),
    Column("change", BigInteger, nullable=False),
    # How many of its changes the tenant made itself since then; with the hour the count begins anew.
    instant_column("counted_from", nullable=True),
    Column("counted", Integer, nullable=False, server_default="0"),
    Index("ix_definition_change_change", "change"),
)
