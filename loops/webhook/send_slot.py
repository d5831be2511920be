"""How many sends are under way to each endpoint, and how long they take: what decides when the next one has its turn."""

import contextlib
import time
from collections import Counter
from collections.abc import Iterator
from uuid import UUID

from domain import limits
from domain.webhook.webhook import Endpoint

CONCURRENCY = limits.ENDPOINT_SENDS.value
"""Sends under way to one endpoint from one process."""
TENANT_CONCURRENCY = limits.TENANT_SENDS.value
"""Sends under way for one tenant from one process. Beyond it each of the tenant's endpoints has one, so none of them waits for another."""
SMOOTHING = 0.3


class Throttle:
    """The sends of one process. A slow or hanging endpoint gets its turns further apart, so that it never fills the worker."""

    def __init__(self) -> None:
        self._of_tenant: Counter[UUID] = Counter()
        self._started: dict[UUID, list[float]] = {}
        self._recent: dict[UUID, float] = {}

    def room(self, tenant_id: UUID, endpoint_id: UUID) -> int:
        """How many sends more may be under way to the endpoint."""
        present = len(self._started.get(endpoint_id, ()))
        of_tenant = max(TENANT_CONCURRENCY - self._of_tenant[tenant_id], 0 if present else 1)
        return max(0, min(CONCURRENCY - present, of_tenant))

    def spacing_seconds(self, endpoint: Endpoint) -> float:
        """Between two turns: by the endpoint's rate, or by recent duration ÷ concurrency, whichever is more."""
        started = self._started.get(endpoint.endpoint_id)
        oldest = time.monotonic() - started[0] if started else 0.0
        duration = max(self._recent.get(endpoint.endpoint_id, 0.0), oldest)
        return max(1 / endpoint.rate_per_second, duration / CONCURRENCY)

    @contextlib.contextmanager
    def taken(self, tenant_id: UUID, endpoint_id: UUID) -> Iterator[None]:
        """One send, from its start to its end."""
        began = time.monotonic()
        self._of_tenant[tenant_id] += 1
        self._started.setdefault(endpoint_id, []).append(began)
        try:
            yield
        finally:
            self._of_tenant[tenant_id] -= 1
            if not self._of_tenant[tenant_id]:
                del self._of_tenant[tenant_id]
            under_way = self._started[endpoint_id]
            under_way.remove(began)
            if not under_way:
                del self._started[endpoint_id]
            took = time.monotonic() - began
            before = self._recent.get(endpoint_id, took)
            self._recent[endpoint_id] = before + SMOOTHING * (took - before)
