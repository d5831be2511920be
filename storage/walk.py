"""Walks over the rows of all tenants, page by page in the order of their keys.

A page that begins anew each time shows the same rows for ever when they keep their place, and whatever stands behind them is never seen.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeVar
from uuid import UUID

from runtime.postgres import Connection, Pool, transaction

Row = TypeVar("Row")
At = TypeVar("At")

Place = tuple[UUID, UUID]
"""(tenant, id) of the last row of a page."""

FIRST: Place = (UUID(int=0), UUID(int=0))
"""Before every row."""


async def pages(
    pool: Pool, read: Callable[[Connection, At | None], Awaitable[Sequence[Row]]], place: Callable[[Row], At]
) -> AsyncIterator[Sequence[Row]]:
    """Every page of a walk over all tenants, each read in a transaction of its own; `place` tells where a row stands."""
    after: At | None = None
    while True:
        async with transaction(pool) as connection:
            page = await read(connection, after)
        if not page:
            return
        yield page
        after = place(page[-1])
