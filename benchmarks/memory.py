"""Memory of the API and of the scoring worker while millions of events are taken and scored: the last fifth beside the second one."""

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import psutil  # type: ignore[import-untyped]
import psycopg

from benchmarks import event
from benchmarks.bench import TOKEN_LENGTH, Bench
from benchmarks.ingestion import BULK, BULK_CONNECTIONS
from benchmarks.measure import BenchError, Comparison, Row, Sample
from benchmarks.scoring import api_and_pumps
from benchmarks.stack import Server

EVENTS, QUICK_EVENTS = 5_000_000, 100_000
READINGS = 10
"""At least so many: a fifth is two of them."""
SCORED_SECONDS = 300.0
GOAL = 1.05


@contextmanager
def memory(bench: Bench) -> Iterator[list[Comparison]]:
    """Bulk calls, and after every few seconds of them the wait until all is scored, so that both processes have seen as many events."""
    seconds: list[Sample] = []
    with api_and_pumps(bench) as api:
        rows = [row("API", "api", bench), row("scoring worker", "pumps", bench)]
        yield [Comparison(path=lambda: grow(bench, api, seconds), floor=seconds.pop, rows=rows, path_first=True, most_pairs=1)]


def row(spoken: str, party: str, bench: Bench) -> Row:
    """The line of one process."""
    return Row(
        path=f"memory of the {spoken} over {events_of(bench) / 1e6:g} M events, last fifth",
        beside="its second fifth",
        unit="MB",
        goal=GOAL,
        bound="at most",
        value=lambda pair: pair.path.megabytes[party],
        floor=lambda pair: pair.floor.megabytes[party],
    )


def events_of(bench: Bench) -> int:
    """How many events it is over."""
    return QUICK_EVENTS if bench.quick else EVENTS


def grow(bench: Bench, api: Server, seconds: list[Sample]) -> Sample:
    """Take and score all the events, reading what is resident: the mean of the last fifth; that of the second one goes to `seconds`."""
    requests = [event.bulk_request(bench.api_key, number, BULK, TOKEN_LENGTH) for number in range(20)]
    pids = {party: api.meter.pids[party] for party in ("api", "pumps")}
    readings: list[dict[str, float]] = []
    taken = 0.0
    began = time.monotonic()
    while taken < events_of(bench) or len(readings) < READINGS:
        sample = bench.drive(api, requests, status=202, connections=BULK_CONNECTIONS, units=BULK)
        taken += sample.per_second * bench.seconds
        wait_until_scored(bench)
        readings.append({party: psutil.Process(pid).memory_info().rss / 1e6 for party, pid in pids.items()})
    fifth, per_second = len(readings) // 5, taken / (time.monotonic() - began)
    seconds.append(average(readings[fifth : 2 * fifth], per_second))
    return average(readings[-fifth:], per_second)


def average(readings: Sequence[Mapping[str, float]], per_second: float) -> Sample:
    """The mean of some readings."""
    return Sample(per_second=per_second, megabytes={party: statistics.fmean(each[party] for each in readings) for party in readings[0]})


def wait_until_scored(bench: Bench) -> None:
    """Wait until every partition's cursor has come to the end of its log; raises `BenchError` when that takes too long."""
    partitions = bench.stack.settings.scoring_partitions
    with psycopg.connect(bench.stack.settings.database_url, autocommit=True) as connection:
        ends = connection.execute("SELECT scoring_partition, max(position) FROM event_log GROUP BY scoring_partition").fetchall()
        deadline = time.monotonic() + SCORED_SECONDS
        while True:
            cursors: dict[int, int] = dict(connection.execute("SELECT scoring_partition, position FROM scoring_cursor").fetchall())
            behind = [partition for partition, end in ends if cursors.get(partition, 0) < end]
            if not behind:
                return
            if time.monotonic() > deadline:
                raise BenchError(f"{len(behind)} of {partitions} partitions were not scored after {SCORED_SECONDS:.0f} s")
            time.sleep(0.1)
