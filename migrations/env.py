"""Alembic's entry: one connection, one transaction for all revisions, and a lock so that two starts migrate one after the other."""

import re

import sqlalchemy as sa
from alembic import context

from storage.tables import metadata

MIGRATION_LOCK = 0x1A0E1
PARTITION = re.compile(r"^event_(log|key)_(default|\d+)$")


def include_name(name: str | None, kind: str, _parents: object) -> bool:
    """Leave partitions out of a comparison: functions make them, and they follow their parent."""
    return kind != "table" or name is None or PARTITION.match(name) is None


def run() -> None:
    """Run the requested revisions on the connection that `runtime/schema.py` put into the configuration."""
    connection = context.config.attributes["connection"]
    context.configure(connection=connection, target_metadata=metadata, include_name=include_name, compare_type=True)
    with context.begin_transaction():
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
        context.run_migrations()


run()
