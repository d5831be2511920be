"""The final standings of closed windows."""

from sqlalchemy import BigInteger, Column, Index, Integer, Table

from storage.tables.metadata import instant_column, key_column, metadata, uuid_column

# Written by one statement that may hold a million rows. No foreign key: it would be checked for each of them, and the window's row is
# never deleted while these exist.
snapshot_entry = Table(
    "snapshot_entry",
    metadata,
    uuid_column("tenant_id", primary_key=True),
    uuid_column("window_id", primary_key=True),
    Column("rank", Integer, primary_key=True, autoincrement=False),
    uuid_column("user_id"),
    key_column("external_user_id"),
    Column("score", BigInteger, nullable=False),
    instant_column("reached_at"),
    Index("uq_snapshot_entry_external_user_id", "tenant_id", "window_id", "external_user_id", unique=True),
)
