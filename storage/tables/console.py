"""Who is signed in to the console, and how often signing in was tried."""

from sqlalchemy import BigInteger, Column, DateTime, ForeignKeyConstraint, Index, Integer, LargeBinary, Table, Text

from storage.tables.metadata import instant_column, key_column, metadata, uuid_column

console_session = Table(
    "console_session",
    metadata,
    uuid_column("tenant_id", primary_key=True),
    uuid_column("session_id", primary_key=True),
    uuid_column("console_user_id"),
    # SHA-256 of what the browser's cookie holds: who reads the table cannot sign in with it.
    Column("token_hash", LargeBinary, nullable=False),
    Column("address", Text, nullable=False),
    Column("user_agent", Text, nullable=False),
    instant_column("created_at"),
    instant_column("last_seen_at"),
    # The end that no use puts off.
    instant_column("expires_at"),
    ForeignKeyConstraint(["tenant_id", "console_user_id"], ["console_user.tenant_id", "console_user.console_user_id"], ondelete="CASCADE"),
    Index("uq_console_session_token_hash", "token_hash", unique=True),
    Index("ix_console_session_tenant_id_console_user_id", "tenant_id", "console_user_id"),
    Index("ix_console_session_expires_at", "expires_at"),
)

# Attempts since the present period began, for an email, an address, or both together. Nothing in it names a person: the key is a hash.
sign_in_attempt = Table(
    "sign_in_attempt",
    metadata,
    Column("key", LargeBinary, primary_key=True),
    Column("attempts", Integer, nullable=False),
    instant_column("began_at"),
    Index("ix_sign_in_attempt_began_at", "began_at"),
)

# What happened in a quarter of an hour (days of every time zone are made of them), for the dashboard's charts: counted behind the facts by
# `storage/programme/dashboard_rollup.py`, never asked for truth.
activity_slot = Table(
    "activity_slot",
    metadata,
    uuid_column("tenant_id", primary_key=True),
    Column("starts_at", DateTime(timezone=True), primary_key=True),
    Column("events", BigInteger, nullable=False, server_default="0"),
    Column("users", BigInteger, nullable=False, server_default="0"),
    # Of the currency `points`, in its smallest unit.
    Column("issued", BigInteger, nullable=False, server_default="0"),
    Column("spent", BigInteger, nullable=False, server_default="0"),
    Column("redemptions", BigInteger, nullable=False, server_default="0"),
    # What corrections and reversals took back of what was issued, and what was refunded of what was spent.
    Column("taken_back", BigInteger, nullable=False, server_default="0"),
    Column("refunded", BigInteger, nullable=False, server_default="0"),
)

# How far the counting has come: a position for each scoring partition (`events:<n>`), an instant for what is found by its UUIDv7 (`rows`).
activity_cursor = Table(
    "activity_cursor",
    metadata,
    key_column("name", primary_key=True),
    Column("position", BigInteger, nullable=False, server_default="0"),
    instant_column("until", nullable=True),
)
