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


FREE_IDS = "/v1/admin/events/"
"""Behind this an event's id follows, which its sender chose, slashes and dots included (contract 1)."""


def is_plain(path: str, raw_path: bytes) -> bool:
    """Whether a path is written in the one way in which it is judged.

    The router folds `//` and takes `%2F` for a slash, so another way to write a path would reach a route past whoever judges paths by
    their beginning: a gateway's setting here, a proxy's rules in front of us. No other id holds a slash.
    """
    if raw_path.startswith(FREE_IDS.encode()):
        return True
    return "//" not in path and b"%2f" not in raw_path.lower() and not any(part in (".", "..") for part in path.split("/"))


def serves(gateways: Iterable[str], path: str) -> bool:
    """Whether a process with this setting answers the path."""
    gateway = gateway_of(path)
    return gateway is None or gateway in gateways or "all" in gateways
