"""Tasks that belong to the process, also when a request happened to be the one that began them."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Hashable, Sequence
from contextvars import Context
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
STEP = 50
"""So many are made before other tasks have their turn: a millisecond or two."""


def begin_for_all(work: Coroutine[Any, Any, Result], name: str) -> asyncio.Task[Result]:
    """A task that others wait for too, or that goes on when the request is answered.

    It begins with an empty context: what it logs, traces or changes is not the doing of whoever came first.
    """
    return asyncio.create_task(work, name=name, context=Context())


class SharedAnswers:
    """Makes all who ask the same question at the same time share one answer, in a task of its own: whoever goes away ends it for nobody."""

    def __init__(self, name: str) -> None:
        """No question is under way; `name` is that of the tasks."""
        self._name = name
        self._under_way: dict[Hashable, asyncio.Task[Any]] = {}

    async def ask(self, question: Hashable, find: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """The answer of `find()`, run once for all who ask while it runs; raises what it raises, for each of them."""
        task = self._under_way.get(question)
        if task is None:
            task = self._under_way[question] = begin_for_all(find(), self._name)
            task.add_done_callback(lambda ended: self._forget(question, ended))
        answer: Result = await asyncio.shield(task)
        return answer

    def _forget(self, question: Hashable, ended: asyncio.Task[Any]) -> None:
        del self._under_way[question]
        if not ended.cancelled():
            ended.exception()  # nobody may be waiting for it


async def pause(stop: asyncio.Event, seconds: float) -> None:
    """What a loop does between two rounds: wait so long, or until `stop` is set."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)


async def in_steps(items: Sequence[Item], make: Callable[[Item], Result]) -> list[Result]:
    """`make` of each, in their order. Other tasks have their turn every `STEP` of them, so that a long list holds up no short one."""
    made: list[Result] = []
    for start in range(0, len(items), STEP):
        if start:
            await asyncio.sleep(0)
        made += [make(each) for each in items[start : start + STEP]]
    return made


def retrieve(done: asyncio.Future[Any]) -> None:
    """A callback for work that nobody may be waiting for any more: its failure is no news."""
    if not done.cancelled():
        done.exception()
