"""Work on rows of all tenants: what is wrong with one tenant's keeps nobody else's from its turn."""

import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from temporalio.service import RPCError, RPCStatusCode

from runtime.postgres import BAD_DATA, DATABASE_ERRORS

log = logging.getLogger(__name__)

AWAY = (RPCError, RuntimeError, OSError, *DATABASE_ERRORS)
"""What says that Temporal or PostgreSQL cannot serve now: whoever works for all leaves it to the next round."""

OF_ONE = frozenset(
    {
        RPCStatusCode.INVALID_ARGUMENT,
        RPCStatusCode.NOT_FOUND,
        RPCStatusCode.ALREADY_EXISTS,
        RPCStatusCode.FAILED_PRECONDITION,
        RPCStatusCode.OUT_OF_RANGE,
    }
)
"""What Temporal holds against one thing that it was asked, and not against all of them."""

Row = TypeVar("Row")


def is_away(error: Exception) -> bool:
    """Whether it is that, and nothing that PostgreSQL or Temporal hold against this row alone."""
    if isinstance(error, RPCError):
        return error.status not in OF_ONE
    return isinstance(error, AWAY) and not isinstance(error, BAD_DATA)


async def one_by_one(rows: Iterable[Row], act: Callable[[Row], Awaitable[int]]) -> int:
    """The sum of what `act` answers for each row. One that fails is told and passed over: the next round tries it again."""
    done = 0
    for row in rows:
        try:
            done += await act(row)
        except Exception as error:
            if is_away(error):
                raise
            log.exception("one row of all tenants' is passed over")
    return done
