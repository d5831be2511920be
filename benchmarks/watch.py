"""Many clients on one board's WebSocket, in a process of their own: how soon a change that was published is with each of them.

Reads one `Watch` from standard input and answers with one `Watched`. The same process changes the board, as a pump does it. The clients
speak the protocol by hand, so that they cost little.
"""

import asyncio
import base64
import os
import re
import resource
import statistics
import struct
import sys
import time

import msgspec
import uvloop

from domain.leaderboard.standing import order_key
from runtime.ids import utc_now
from runtime.redis import make_redis
from runtime.settings import Settings
from storage.leaderboard.rankings import Publication, RankedBoard, Rankings

SEQUENCE = re.compile(rb'"sequence":(\d+)')
SETTLE_SECONDS = 1.0
CHANGED = 20


class Watch(msgspec.Struct, frozen=True, kw_only=True):
    """So many clients on a board, of which `rate` publications a second, from `position` on, change some of the `users`."""

    settings: Settings
    port: int
    key: str
    leaderboard_id: str
    board: RankedBoard
    users: list[str]
    position: int
    clients: int
    rate: float
    seconds: float


class Watched(msgspec.Struct, frozen=True, kw_only=True):
    """What arrived. Delays are from the end of a publication to the arrival of what it changed, for each client, in ms."""

    changes: int
    delivered: int
    missing: int
    megabytes: float
    p50_ms: float
    p99_ms: float


class Watcher(asyncio.Protocol):
    """One client: counts messages and notes when each came."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.sequence = 0
        self.missing = 0
        self.received = 0
        self.arrivals: list[float] = []
        self.opened = asyncio.get_running_loop().create_future()
        self._buffer = b""
        self._upgraded = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the upgrade."""
        assert hasattr(transport, "write")
        key = base64.b64encode(os.urandom(16)).decode()
        transport.write(
            f"GET /v1/leaderboards/{self.watch.leaderboard_id}/ws HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nAuthorization: Bearer {self.watch.key}\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        """Cut the frames out of what came."""
        now = time.perf_counter()
        self.received += len(data)
        self._buffer += data
        if not self._upgraded:
            head, found, rest = self._buffer.partition(b"\r\n\r\n")
            if not found:
                return
            if b" 101 " not in head.split(b"\r\n", 1)[0]:
                self.opened.set_exception(RuntimeError(head.decode()))
                return
            self._upgraded, self._buffer = True, rest
        while (frame := self._frame()) is not None:
            self._take(frame, now)

    def _frame(self) -> bytes | None:
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        size, start = buffer[1] & 127, 2
        if size == 126:
            if len(buffer) < 4:
                return None
            size, start = struct.unpack_from(">H", buffer, 2)[0], 4
        elif size == 127:
            if len(buffer) < 10:
                return None
            size, start = struct.unpack_from(">Q", buffer, 2)[0], 10
        if len(buffer) < start + size:
            return None
        self._buffer = buffer[start + size :]
        return buffer[start : start + size] if buffer[0] & 15 == 1 else b""

    def _take(self, frame: bytes, now: float) -> None:
        found = SEQUENCE.search(frame)
        if found is None:
            return
        sequence = int(found[1])
        self.missing += sequence - self.sequence - 1
        self.sequence = sequence
        self.arrivals.append(now)
        if not self.opened.done():
            self.opened.set_result(None)


async def change(rankings: Rankings, watch: Watch, number: int) -> float:
    """Give some of those on the first page another score, as a pump publishes it; when that was done."""
    position = watch.position + number
    now = utc_now()
    chosen = [(number * CHANGED + n) % len(watch.users) for n in range(CHANGED)]
    entries = [
        part
        for user in chosen
        for part in (watch.users[user].encode(), order_key(watch.board.method, (number * 7919 + user) % 10_000_000, now))
    ]
    publication = Publication(watch.board, 0, 1, position, position + 1, entries)
    if await rankings.publish([publication]) != ["done"]:
        raise RuntimeError("the rankings did not take a publication")
    return time.perf_counter()


async def watch_board(watch: Watch) -> Watched:
    """Connect, change the board for a while, and sum up."""
    loop = asyncio.get_running_loop()
    redis = make_redis(watch.settings)
    rankings = Rankings(redis)
    watchers = []
    for _ in range(watch.clients):
        _, watcher = await loop.create_connection(lambda: Watcher(watch), "127.0.0.1", watch.port)
        await asyncio.wait_for(watcher.opened, 10.0)
        watchers.append(watcher)
    await asyncio.sleep(SETTLE_SECONDS)
    for watcher in watchers:
        watcher.arrivals.clear()
        watcher.received = 0
    print("begin", flush=True)
    began = time.perf_counter()
    moments: list[float] = []
    while time.perf_counter() < began + watch.seconds:
        moments.append(await change(rankings, watch, len(moments)))
        await asyncio.sleep(max(0.0, began + len(moments) / watch.rate - time.perf_counter()))
    print("end", flush=True)
    await asyncio.sleep(SETTLE_SECONDS)
    await redis.aclose()
    return sum_up(watch, watchers, moments)


def sum_up(watch: Watch, watchers: list[Watcher], moments: list[float]) -> Watched:
    """For each change, how long each client waited for the first message that came after it."""
    delays = []
    for watcher in watchers:
        arrivals = iter(watcher.arrivals)
        arrival = next(arrivals, None)
        for moment in moments:
            while arrival is not None and arrival < moment:
                arrival = next(arrivals, None)
            if arrival is None:
                break
            delays.append((arrival - moment) * 1000)
    quantiles = statistics.quantiles(delays, n=100) if len(delays) > 1 else [0.0] * 99
    return Watched(
        changes=len(moments),
        delivered=sum(len(watcher.arrivals) for watcher in watchers),
        missing=sum(watcher.missing for watcher in watchers),
        megabytes=sum(watcher.received for watcher in watchers) / 1e6,
        p50_ms=quantiles[49],
        p99_ms=quantiles[98],
    )


if __name__ == "__main__":
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536), hard))
    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=Watch)
    print(msgspec.json.encode(uvloop.run(watch_board(plan))).decode(), flush=True)
