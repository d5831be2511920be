"""What a request begins for all does not pass for its own doing."""

import logging

from runtime.logging import admitted, asked, begin, context_of
from runtime.postgres import acting
from runtime.tasks import begin_for_all


async def test_a_task_for_all_knows_of_no_request() -> None:
    begin(b"first")
    admitted(None, "api_key")
    acting.set(("ann", "because"))
    record = logging.LogRecord("laurel", logging.INFO, "", 0, "said", (), None)

    async def work() -> tuple[object, object, dict[str, object]]:
        return asked.get(), acting.get(), context_of(record)

    assert context_of(record) == {"request": "first"}
    assert await begin_for_all(work(), "work") == (None, None, {})
