"""Alembic's entry: one connection, a transaction for each revision, and a lock so that two starts migrate one after the other.

The lock is tried again and again and not waited for: whoever waits holds a snapshot, and CREATE INDEX CONCURRENTLY waits for those.
"""

import re
import time

import sqlalchemy as sa
from alembic import context

from storage.tables import metadata

MIGRATION_LOCK = 0x1A0E1
LOCK_LOOK_SECONDS = 0.2
PARTITION = re.compile(r"^event_(log|key)_(default|\d+)$")


def include_name(name: str | None, kind: str, _parents: object) -> bool:
    """Leave partitions out of a comparison: functions make them, and they follow their parent."""
    return kind != "table" or name is None or PARTITION.match(name) is None


def lock(connection: sa.Connection) -> None:
    """Become the only one who migrates, until the connection ends."""
    while not connection.scalar(sa.text("SELECT pg_try_advisory_lock(:key)"), {"key": MIGRATION_LOCK}):
        connection.rollback()
        time.sleep(LOCK_LOOK_SECONDS)
    connection.commit()


def run() -> None:
    """Run the requested revisions on the connection that `runtime/schema.py` put into the configuration."""
    connection = context.config.attributes["connection"]
    context.configure(
        connection=connection,
        target_metadata=metadata,
        include_name=include_name,
        compare_type=True,
        transaction_per_migration=True,
    )
    lock(connection)
    with context.begin_transaction():
        context.run_migrations()


run()
