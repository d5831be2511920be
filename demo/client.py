"""The demo's way to the outside: the public API over HTTP, and the partner's process."""

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from demo.stage import StoryError

RECEIVER = Path(__file__).with_name("receiver.py")
PAGE = 1000
TRIES = 6
FINE = (200, 201, 202, 204)
RETRY_STATUS = (429, 503)
LOOK_AGAIN_SECONDS = 0.2


class DemoApi:
    """The API with one key. Numbers in answers are exact: integers or Decimals."""

    def __init__(self, api_url: str, key: str, connections: int) -> None:
        """`connections` bounds how many requests are on their way at once."""
        limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
        headers = {"Authorization": f"Bearer {key}"}
        self.http = httpx.AsyncClient(base_url=api_url, headers=headers, timeout=30.0, limits=limits, trust_env=False)

    async def call(self, method: str, path: str, body: Any = None, *, expect: tuple[int, ...] = FINE, key: str | None = None) -> Any:
        """The answer's JSON (None when empty); raises `StoryError` for a status other than expected. `key` makes it idempotent."""
        answer = await self.send(method, path, body, {"Idempotency-Key": key} if key else {})
        if answer.status_code not in expect:
            raise StoryError(f"{method} {path} answered {answer.status_code}: {answer.text[:400]}")
        return json.loads(answer.content, parse_float=Decimal) if answer.content else None

    async def send(self, method: str, path: str, body: Any, headers: dict[str, str]) -> httpx.Response:
        """The answer as it came, after up to `TRIES` tries when the API says that nothing was accepted, or events may be sent again."""
        repeatable = method == "GET" or path.startswith("/v1/events")
        for attempt in range(1, TRIES + 1):
            try:
                answer = await self.http.request(method, path, json=body, headers=headers)
            except httpx.TransportError as error:
                if not repeatable or attempt == TRIES:
                    reason = f"{type(error).__name__} {error}".strip()
                    raise StoryError(f"{method} {path}: {reason}; is the stack at {self.http.base_url} still running?") from None
            else:
                if answer.status_code not in RETRY_STATUS or attempt == TRIES:
                    return answer
            await asyncio.sleep(0.2 * 2**attempt)
        raise AssertionError("unreachable: the last try returns or raises")

    async def whole_board(self, leaderboard_id: str) -> list[dict[str, Any]]:
        """Every entry of a board, page by page."""
        entries: list[dict[str, Any]] = []
        while True:
            page = await self.call("GET", f"/v1/leaderboards/{leaderboard_id}?limit={PAGE}&offset={len(entries)}&window_key=current")
            entries += page["entries"]
            if len(page["entries"]) < PAGE:
                return entries

    async def balance(self, user_id: str) -> dict[str, int]:
        """The user's `points`: available, held, lifetime_earned, lifetime_spent; zeros for a user that is not known yet."""
        answer = await self.call("GET", f"/v1/users/{quote(user_id, safe='')}/points", expect=(200, 404))
        found = [each for each in answer.get("balances", []) if each["currency"] == "points"]
        names = ("available", "held", "lifetime_earned", "lifetime_spent")
        return {name: int(found[0][name]) if found else 0 for name in names}

    async def earned(self, user_id: str, rule_id: str) -> int:
        """What the user earned by this rule: the sum of its transfers in the user's transactions. 0 for a user that is not known."""
        total, cursor = 0, ""
        while True:
            path = f"/v1/users/{quote(user_id, safe='')}/transactions?limit=500{cursor}"
            page = await self.call("GET", path, expect=(200, 404))
            ours = (each for each in page.get("transactions", []) if each["kind"] == "earn" and each["cause"]["id"].endswith(f":{rule_id}"))
            total += sum(int(each["amount"]) for each in ours)
            if not page.get("next_cursor"):
                return total
            cursor = f"&cursor={quote(page['next_cursor'], safe='')}"


async def until(question: Callable[[], Awaitable[Any]], seconds: float) -> Any:
    """The first truthy answer, or the last one when the time is up."""
    deadline = time.monotonic() + seconds
    while True:
        answer = await question()
        if answer or time.monotonic() > deadline:
            return answer
        await asyncio.sleep(LOOK_AGAIN_SECONDS)


class Partner:
    """The receiver's process: its address, and everything that it reported."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        """Use `partner` to make one."""
        self.process, self.url = process, f"http://127.0.0.1:{port}/webhooks/laurel"
        self.reports: list[dict[str, Any]] = []
        self.arrived = asyncio.Condition()

    async def introduce(self, secret: str, api_url: str, api_key: str) -> None:
        """Hand over what an operator gives a partner; returns once it serves."""
        if self.process.stdin is None:
            raise StoryError("the receiver has no input")
        self.process.stdin.write(json.dumps({"secret": secret, "api_url": api_url, "api_key": api_key}).encode() + b"\n")
        await self.process.stdin.drain()
        if await self.wait_for(lambda report: report["kind"] == "ready", 10.0) is None:
            raise StoryError("the receiver did not start")

    async def listen(self) -> None:
        """Keep what the receiver reports until it ends."""
        while self.process.stdout is not None and (line := await self.process.stdout.readline()):
            async with self.arrived:
                self.reports.append(json.loads(line))
                self.arrived.notify_all()

    async def wait_for(self, wanted: Callable[[dict[str, Any]], bool], seconds: float) -> dict[str, Any] | None:
        """The first report that is wanted, or None when none comes in time."""

        def found() -> dict[str, Any] | None:
            return next((report for report in self.reports if wanted(report)), None)

        async with self.arrived:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.arrived.wait_for(lambda: found() is not None), seconds)
            return found()


@contextlib.asynccontextmanager
async def partner(port: int) -> AsyncIterator[Partner]:
    """A running receiver on this port (0 picks a free one); raises `StoryError` when it cannot listen there."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", str(RECEIVER), str(port), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    listener: asyncio.Task[None] | None = None
    try:
        first = await process.stdout.readline() if process.stdout else b""
        if not first:
            complaint = (await process.stderr.read()).decode() if process.stderr else ""
            raise StoryError(f"the receiver could not listen on port {port}: {complaint.strip().splitlines()[-1:] or 'it said nothing'}")
        running = Partner(process, json.loads(first)["port"])
        listener = asyncio.create_task(running.listen())
        yield running
    finally:
        if process.stdin is not None:
            process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), 3.0)
        except TimeoutError:
            process.kill()
            await process.wait()
        if listener is not None:
            await listener
