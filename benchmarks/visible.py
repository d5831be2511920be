"""From the acknowledgement of an event to its score, on GET and on the WebSocket, while 2 000 events a second are taken and scored."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple

from benchmarks.bench import Bench
from benchmarks.measure import Comparison, Row, Sample, in_process, latency, rate
from benchmarks.probe import Probe, Seen
from benchmarks.scoring import api_and_pumps
from benchmarks.stack import Server

GOAL_MS = 250.0
EVENTS_PER_SECOND = 2000
BOARD = "bench-0"
SHORTEST_SECONDS = 3.0
Where = Literal["GET", "WebSocket"]


class Run(NamedTuple):
    """What was seen, and the cores that each party used."""

    seen: Seen
    cores: dict[str, float]


@contextmanager
def visible(bench: Bench) -> Iterator[list[Comparison]]:
    """The API, and the pumps of all partitions in a process beside it; five boards that every event concerns."""
    with api_and_pumps(bench) as api:
        sent = rate(f"{EVENTS_PER_SECOND} events/s meanwhile", "as planned", 0.95)
        runs: list[Run] = []  # each run tells both: what the first comparison has measured is the second one's, too
        yield [
            comparison("GET", lambda: sample(look(bench, api, runs), "GET"), sent),
            comparison("WebSocket", lambda: sample(runs.pop(0), "WebSocket")),
        ]


def comparison(where: Where, path: Callable[[], Sample], *more: Row) -> Comparison:
    """The line of one way to look; its floor is the goal itself."""
    row = latency(f"acknowledged → visible on {where}, p99", f"{GOAL_MS:.0f} ms, at {EVENTS_PER_SECOND} events/s", 1.0, "p99")

    def goal() -> Sample:
        return Sample(per_second=EVENTS_PER_SECOND, p99_ms=GOAL_MS)

    return Comparison(path=path, floor=goal, rows=[row, *more])


def look(bench: Bench, api: Server, runs: list[Run]) -> Run:
    """One run, noted in `runs`."""
    plan = Probe(
        settings=bench.stack.settings,
        port=api.port,
        key=bench.api_key,
        leaderboard_id=BOARD,
        prefix=bench.token_prefix(),
        events_per_second=EVENTS_PER_SECOND,
        seconds=max(SHORTEST_SECONDS, bench.seconds),
    )
    seen, cpu = in_process("benchmarks.probe", plan, Seen, api.meter)
    runs.append(Run(seen, {name: seconds / plan.seconds for name, seconds in cpu.items()}))
    return runs[-1]


def sample(run: Run, where: Where) -> Sample:
    """What a run says of one way to look."""
    seen = run.seen
    p50, p99 = (seen.get_p50_ms, seen.get_p99_ms) if where == "GET" else (seen.socket_p50_ms, seen.socket_p99_ms)
    return Sample(per_second=seen.events_per_second, p50_ms=p50, p99_ms=p99, cores=run.cores)
