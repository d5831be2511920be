"""What a request begins for all does not pass for its own doing."""

import asyncio
import logging

import pytest

from runtime.logging import admitted, asked, begin, context_of
from runtime.postgres import acting
from runtime.tasks import SharedAnswers, begin_for_all


async def test_a_task_for_all_knows_of_no_request() -> None:
    begin(b"first")
    admitted(None, "api_key")
    acting.set(("ann", "because"))
    record = logging.LogRecord("laurel", logging.INFO, "", 0, "said", (), None)

    async def work() -> tuple[object, object, dict[str, object]]:
        return asked.get(), acting.get(), context_of(record)

    assert context_of(record) == {"request": "first"}
    assert await begin_for_all(work(), "work") == (None, None, {})


async def test_the_same_question_is_asked_once_and_goes_on_when_the_first_asker_goes_away() -> None:
    answers, go, asked = SharedAnswers("question"), asyncio.Event(), list[str]()

    async def find(name: str) -> str:
        asked.append(name)
        await go.wait()
        return name.upper()

    askers = [asyncio.create_task(answers.ask(name, lambda name=name: find(name))) for name in "aab"]  # type: ignore[misc]
    while len(asked) < 2:
        await asyncio.sleep(0)
    askers[0].cancel()
    go.set()
    assert await asyncio.gather(*askers[1:]) == ["A", "B"]
    assert await answers.ask("a", lambda: find("a")) == "A"
    assert asked == ["a", "b", "a"]


async def test_an_error_is_each_askers_and_is_not_remembered() -> None:
    answers = SharedAnswers("question")

    async def divide(by: int) -> float:
        return 1 / by

    for outcome in await asyncio.gather(*(answers.ask("one", lambda: divide(0)) for _ in range(3)), return_exceptions=True):
        assert isinstance(outcome, ZeroDivisionError)
    assert await answers.ask("one", lambda: divide(1)) == 1
    with pytest.raises(ZeroDivisionError):
        await answers.ask("one", lambda: divide(0))
