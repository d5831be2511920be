"""Counters and histograms of a process, as Prometheus text."""

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)

_REQUESTS = Histogram("laurel_request_seconds", "Time to answer a request", ("route", "status"), buckets=BUCKETS)
EVENTS_ACCEPTED = Counter("laurel_events_accepted_total", "Events committed to the log, repeats not counted")
EVENTS_REPEATED = Counter("laurel_events_repeated_total", "Events acknowledged as repeats")
EVENTS_REFUSED = Counter("laurel_events_refused_total", "Events refused by validation")
RATE_LIMIT_SKIPPED = Counter("laurel_rate_limit_skipped_total", "Rate limits not looked up because Redis was away: requests passed")
UNAVAILABLE = Counter("laurel_unavailable_total", "Events and requests answered 503 because PostgreSQL could not serve", ("cause",))
EVENT_BATCHES = Counter("laurel_event_batches_total", "Batches committed to the event log")
EVENTS_WAITING = Gauge("laurel_events_waiting", "Events that wait for a commit in this process")
SOCKETS_OPEN = Gauge("laurel_websocket_connections", "Open WebSockets of this process")
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


def render_metrics() -> bytes:
    """Every metric of this process."""
    return generate_latest(REGISTRY)
