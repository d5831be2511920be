"""The load generator: closed-loop HTTP/1.1 or RESP clients with keep-alive, alone in its process.

Reads one `Load` as JSON from standard input. Prints `begin` when the warm-up is over, `end` when the time is up (so that the
harness can read the CPU counters at these moments), then one `Loaded` as JSON. A request is cut out of prepared bytes: only its
token (what makes the event ids in it new) is filled in. Bounded in time and in the number of requests.
"""

import array
import asyncio
import contextlib
import resource
import sys
import time
from typing import Literal, cast

import msgspec
import uvloop

MAX_REQUESTS = 5_000_000
DRAIN_SECONDS = 10.0


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What to send. Each of `requests` is a list of pieces, joined by the token; they are sent in turn, for ever."""

    port: int
    connections: int
    seconds: float
    requests: list[list[str]]
    protocol: Literal["http", "resp"] = "http"
    status: int = 200
    token_prefix: str = ""
    warmup_seconds: float = 0.5
    # RESP: every answer has so many bytes (members may hold line ends). Commands that are sent once on each connection come before.
    answer_bytes: int = 0
    hello: list[str] = []


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """What came back in the measured time. `failures` are answers with another status; `sample` is one of them, for the message."""

    requests: int
    failures: int
    seconds: float
    p50_ms: float
    p99_ms: float
    cpu_seconds: float
    sent_in_all: int
    sample: str = ""


class Run:
    """Shared by all connections: the requests still to send, the latencies, the errors."""

    def __init__(self, load: Load) -> None:
        self.pieces = [[piece.encode() for piece in request] for request in load.requests]
        self.prefix = load.token_prefix.encode()
        self.status = b"HTTP/1.1 %d" % load.status
        self.answer_bytes = load.answer_bytes
        self.hello = [command.encode() for command in load.hello]
        self.sent = 0
        self.active = True
        self.open = 0
        self.all_closed = asyncio.Event()
        self.latencies = array.array("d")
        self.failures = 0
        self.sample = b""

    def next_request(self) -> bytes | None:
        """The bytes of the next request; None once the time is up."""
        if not self.active or self.sent >= MAX_REQUESTS:
            return None
        number = self.sent
        self.sent = number + 1
        pieces = self.pieces[number % len(self.pieces)]
        return pieces[0] if len(pieces) == 1 else (self.prefix + b"%09d" % number).join(pieces)

    def fail(self, answer: bytes) -> None:
        """Count an answer that was not the expected one and keep the first."""
        self.failures += 1
        self.sample = self.sample or answer[:600]


class Client(asyncio.Protocol):
    """One connection: sends the next request as soon as the answer to the last one is complete."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.buffer = b""
        self.sent_at = 0.0
        self.greetings = list(run.hello)
        self.greeting = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self.transport = cast(asyncio.Transport, transport)
        self.run.open += 1
        self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that nobody will answer this connection's request any more."""
        self.run.open -= 1
        if not self.run.open:
            self.run.all_closed.set()

    def send(self) -> None:
        """Send the next greeting or request, or hang up when there is none."""
        self.greeting = bool(self.greetings)
        request = self.greetings.pop(0) if self.greetings else self.run.next_request()
        if request is None:
            self.transport.close()
            return
        self.sent_at = time.perf_counter()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Collect the answer; when it is complete, note its latency and go on."""
        answer = self.buffer + data if self.buffer else data
        if not self.complete(answer):
            self.buffer = answer
            return
        self.buffer = b""
        if not self.greeting:
            self.run.latencies.append(time.perf_counter() - self.sent_at)
        self.send()

    def complete(self, answer: bytes) -> bool:
        """Whether the HTTP answer has its whole body; counts it as a failure when its status is not the expected one."""
        head = answer.find(b"\r\n\r\n")
        if head < 0:
            return False
        at = answer.find(b"content-length: ", 0, head)
        if at < 0:
            self.run.fail(answer)
            return True
        end = answer.find(b"\r", at)
        if len(answer) < head + 4 + int(answer[at + 16 : end]):
            return False
        if not answer.startswith(self.run.status):
            self.run.fail(answer)
        return True


class RespClient(Client):
    """The same for Redis's protocol, for answers whose length is known."""

    def complete(self, answer: bytes) -> bool:
        """Whether all of it is there; an error, or more than was expected, counts as a failure."""
        if answer.startswith(b"-"):
            self.run.fail(answer)
            return True
        if self.greeting:
            return answer.endswith(b"\r\n")
        if len(answer) > self.run.answer_bytes:
            self.run.fail(answer)
        return len(answer) >= self.run.answer_bytes


async def drive(load: Load) -> Loaded:
    """Run the load to its end and say what came back."""
    loop = asyncio.get_running_loop()
    run = Run(load)
    kind = Client if load.protocol == "http" else RespClient
    await asyncio.gather(*(loop.create_connection(lambda: kind(run), "127.0.0.1", load.port) for _ in range(load.connections)))
    await asyncio.sleep(load.warmup_seconds)
    first, failed = len(run.latencies), run.failures
    began, cpu_began = time.perf_counter(), cpu_seconds()
    print("begin", flush=True)
    await asyncio.sleep(load.seconds)
    last, seconds, cpu = len(run.latencies), time.perf_counter() - began, cpu_seconds() - cpu_began
    failures = run.failures - failed
    print("end", flush=True)
    run.active = False
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(run.all_closed.wait(), DRAIN_SECONDS)
    latencies = sorted(run.latencies[first:last])
    return Loaded(
        requests=last - first - failures,
        failures=run.failures,
        seconds=seconds,
        p50_ms=quantile(latencies, 0.50) * 1000,
        p99_ms=quantile(latencies, 0.99) * 1000,
        cpu_seconds=cpu,
        sent_in_all=run.sent,
        sample=run.sample.decode(errors="replace"),
    )


def cpu_seconds() -> float:
    """User and system time of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def quantile(ordered: list[float], share: float) -> float:
    """The value below which `share` of the ordered values lie; 0 when there is none."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


if __name__ == "__main__":
    planned = msgspec.json.decode(sys.stdin.buffer.read(), type=Load)
    print(msgspec.json.encode(uvloop.run(drive(planned))).decode(), flush=True)
