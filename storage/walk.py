"""Walks over the rows of all tenants, page by page in the order of their keys.

A page that begins anew each time shows the same rows for ever when they keep their place, and whatever stands behind them is never seen.
A row that cannot be read, of a newer release or changed by hand, is passed over: it fails no page of all tenants.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar
from uuid import UUID

from runtime.metrics import UNREADABLE_ROWS
from runtime.postgres import Connection, Pool, transaction

log = logging.getLogger(__name__)

Row = TypeVar("Row")
At = TypeVar("At")

Place = tuple[UUID, UUID]
"""(tenant, id) of the last row of a page."""

FIRST: Place = (UUID(int=0), UUID(int=0))
"""Before every row."""

UNREADABLE = (ValueError, TypeError, LookupError, ArithmeticError)
"""What reading a stored row raises when there is something in it that this release does not know. msgspec's errors are ValueErrors."""


class WalkPage(NamedTuple, Generic[Row, At]):
    """What could be read of a page, and where its last row stands, None when there was no row."""

    rows: list[Row]
    last: At | None


def readable(rows: Iterable[dict[str, Any]], decode: Callable[[dict[str, Any]], Row]) -> list[Row]:
    """The rows that can be decoded; the others are counted, and told with their ids alone."""
    found = []
    for row in rows:
        try:
            found.append(decode(row))
        except UNREADABLE:
            UNREADABLE_ROWS.inc()
            ids = ", ".join(f"{name} {value}" for name, value in row.items() if isinstance(value, UUID))
            log.exception("a row cannot be read and is passed over: %s", ids)
    return found


def walk_page(
    rows: Sequence[dict[str, Any]], decode: Callable[[dict[str, Any]], Row], place: Callable[[dict[str, Any]], At]
) -> WalkPage[Row, At]:
    """These rows as a page; `place` tells where a row stands, whether it can be read or not."""
    return WalkPage(readable(rows, decode), place(rows[-1]) if rows else None)


async def pages(pool: Pool, read: Callable[[Connection, At | None], Awaitable[WalkPage[Row, At]]]) -> AsyncIterator[Sequence[Row]]:
    """Every page of a walk over all tenants, each read in a transaction of its own."""
    after: At | None = None
    while True:
        async with transaction(pool) as connection:
            page = await read(connection, after)
        if page.last is None:
            return
        if page.rows:
            yield page.rows
        after = page.last
