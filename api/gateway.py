"""The parts of the API that one process may serve alone (setting `GATEWAYS`, contract 6), told by a route's path."""

from collections.abc import Iterable
from typing import Literal

Gateway = Literal["ingestion", "admin", "query", "console"]

_PREFIXES: tuple[tuple[str, Gateway], ...] = (
    ("/v1/events", "ingestion"),
    ("/v1/admin", "admin"),
    ("/v1/operator", "admin"),
    ("/v1/auth", "admin"),
    ("/v1", "query"),
    ("/console", "console"),
)
"""The first that fits decides. Health, metrics and the API document belong to no gateway: every process has them."""


def gateway_of(path: str) -> Gateway | None:
    """The gateway that a path belongs to; None for what every process serves."""
    return next((gateway for prefix, gateway in _PREFIXES if path == prefix or path.startswith(prefix + "/")), None)


def serves(gateways: Iterable[str], path: str) -> bool:
    """Whether a process with this setting answers the path."""
    gateway = gateway_of(path)
    return gateway is None or gateway in gateways or "all" in gateways
