"""Tasks that belong to the process, also when a request happened to be the one that began them."""

import asyncio
import contextlib
from collections.abc import Coroutine
from contextvars import Context
from typing import Any, TypeVar

Result = TypeVar("Result")


def begin_for_all(work: Coroutine[Any, Any, Result], name: str) -> asyncio.Task[Result]:
    """A task that others wait for too, or that goes on when the request is answered.

    It begins with an empty context: what it logs, traces or changes is not the doing of whoever came first.
    """
    return asyncio.create_task(work, name=name, context=Context())


async def pause(stop: asyncio.Event, seconds: float) -> None:
    """What a loop does between two rounds: wait so long, or until `stop` is set."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
