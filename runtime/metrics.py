"""Counters and histograms of a process, and what it has read about the whole platform, as Prometheus text."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from prometheus_client import REGISTRY, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)

_REQUESTS = Histogram("laurel_request_seconds", "Time to answer a request", ("route", "status"), buckets=BUCKETS)
EVENTS_ACCEPTED = Counter("laurel_events_accepted_total", "Events committed to the log, repeats not counted")
EVENTS_REPEATED = Counter("laurel_events_repeated_total", "Events acknowledged as repeats")
EVENTS_REFUSED = Counter("laurel_events_refused_total", "Events refused by validation")
RATE_LIMIT_SKIPPED = Counter("laurel_rate_limit_skipped_total", "Rate limits not looked up because Redis was away: requests passed")
UNAVAILABLE = Counter("laurel_unavailable_total", "Events and requests answered 503 because PostgreSQL could not serve", ("cause",))
UNREADABLE_ROWS = Counter("laurel_unreadable_rows_total", "Rows that were passed over because this release cannot read them")
EVENT_BATCHES = Counter("laurel_event_batches_total", "Batches committed to the event log")
EVENTS_WAITING = Gauge("laurel_events_waiting", "Events that wait for a commit in this process")
SOCKETS_OPEN = Gauge("laurel_websocket_connections", "Open WebSockets of this process")
BOARD_FALLBACKS = Counter("laurel_board_fallback_reads_total", "Reads of live boards that PostgreSQL answered in Redis' place")
SOCKETS_CLOSED = Counter("laurel_websocket_closed_total", "WebSockets that this process has closed, by close code", ("code",))


class RequestSeconds:
    """The request histogram with its labels resolved once: looking them up on each request costs more than observing."""

    def __init__(self) -> None:
        """No route has been seen."""
        self._children: dict[tuple[str, int], Histogram] = {}

    def observe(self, route: str, status: int, seconds: float) -> None:
        """Count one answer of `route` that took `seconds`."""
        child = self._children.get((route, status))
        if child is None:
            child = self._children[(route, status)] = _REQUESTS.labels(route, str(status))
        child.observe(seconds)


REQUEST_SECONDS = RequestSeconds()


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What one gauge says now: a value for each combination of its labels."""

    name: str
    help: str
    labels: tuple[str, ...]
    rows: Sequence[tuple[tuple[str, ...], float]]


class Readings(Collector):
    """Gauges that somebody reads from time to time. What is too old is left out: no number is better than an old one."""

    def __init__(self) -> None:
        """Nothing has been read."""
        self._readings: Sequence[Reading] = ()
        self._good_until = 0.0

    def put(self, readings: Sequence[Reading], *, good_seconds: float) -> None:
        """Show these for so long, in place of the earlier ones."""
        self._readings, self._good_until = readings, time.monotonic() + good_seconds

    def describe(self) -> list[Any]:
        """Nothing is known beforehand."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The present readings."""
        return _families(self._readings if time.monotonic() < self._good_until else ())


class ProcessGauges(Collector):
    """The state of this process: its pools of connections, and its loops."""

    def __init__(self) -> None:
        """No pool and no loop is known."""
        self._pools: list[Any] = []
        self._loops: Any = None

    def watch(self, *pools: Any, loops: Any = None) -> None:
        """Show these psycopg pools and this pulse from now on, in place of others."""
        self._pools, self._loops = list(pools), loops

    def describe(self) -> list[Any]:
        """Nothing is known beforehand."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """As it is now. Pools of one process are taken together."""
        stats = [pool.get_stats() for pool in self._pools]
        size, idle = sum(each["pool_size"] for each in stats), sum(each["pool_available"] for each in stats)
        ages = {} if self._loops is None else self._loops.ages()
        return _families(
            [
                Reading(
                    name="laurel_database_connections",
                    help="Connections of this process's pools",
                    labels=("state",),
                    rows=[(("busy",), size - idle), (("idle",), idle)],
                ),
                Reading(
                    name="laurel_database_connections_maximum",
                    help="Connections that this process's pools may have",
                    labels=(),
                    rows=[((), sum(each["pool_max"] for each in stats))],
                ),
                Reading(
                    name="laurel_database_waiting",
                    help="Requests of this process that wait for a connection",
                    labels=(),
                    rows=[((), sum(each["requests_waiting"] for each in stats))],
                ),
                Reading(
                    name="laurel_loop_last_round_seconds",
                    help="Time since each of the worker's loops ended a round",
                    labels=("loop",),
                    rows=[((name,), age) for name, age in ages.items()],
                ),
            ]
        )


def _families(readings: Sequence[Reading]) -> Iterator[GaugeMetricFamily]:
    for reading in readings:
        family = GaugeMetricFamily(reading.name, reading.help, labels=reading.labels)
        for labels, value in reading.rows:
            family.add_metric(labels, value)
        yield family


PLATFORM = Readings()
PROCESS = ProcessGauges()
REGISTRY.register(PLATFORM)
REGISTRY.register(PROCESS)


def render_metrics() -> bytes:
    """Every metric of this process."""
    return generate_latest(REGISTRY)
