"""What a revision does to a table that is in use: never a lock that others would queue behind while rows are read."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op


def create_index(name: str, table: str, columns: Sequence[str], *, unique: bool = False, where: str | None = None) -> None:
    """An index, built while the table is written to. What an earlier try left unfinished is built anew.

    It commits what the revision did before: an index comes in a revision of its own, so that the revision can be tried again.
    """
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout TO 0")  # it blocks nobody while it waits for those who began before it
        unfinished = "SELECT FROM pg_index WHERE indexrelid = to_regclass(:name) AND NOT indisvalid"
        if op.get_bind().execute(sa.text(unfinished), {"name": name}).first() is not None:
            op.execute(f"DROP INDEX CONCURRENTLY {name}")
        condition: dict[str, Any] = {} if where is None else {"postgresql_where": sa.text(where)}
        op.create_index(name, table, list(columns), unique=unique, postgresql_concurrently=True, if_not_exists=True, **condition)
        op.execute("RESET lock_timeout")


def add_check(name: str, table: str, condition: str) -> None:
    """A check that holds for new rows at once, and for those that are there after they were read without a lock against writers."""
    with op.get_context().autocommit_block():
        found = "SELECT FROM pg_constraint WHERE conrelid = to_regclass(:table) AND conname = :name"
        if op.get_bind().execute(sa.text(found), {"table": table, "name": name}).first() is None:
            op.execute(f"ALTER TABLE {table} ADD CONSTRAINT {name} CHECK ({condition}) NOT VALID")
        op.execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT {name}")
