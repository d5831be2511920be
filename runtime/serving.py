"""How an ASGI application is served: the limits and timeouts of connections, sockets and the end."""

from typing import Any

from runtime.drain import draining_protocol
from runtime.pulse import Drain
from runtime.settings import Settings

BACKLOG = 2048
GRACEFUL_SECONDS = 3
MESSAGE_BYTES = 65_536
PING_TIMEOUT_SECONDS = 120.0
"""Longer than a client may be stuck: one that does not read is closed by us, with its own code."""


def server_config(application: Any, settings: Settings, drain: Drain | None = None) -> Any:
    """How an ASGI application is served; the benchmark's floors are served in the same way."""
    import uvicorn

    return uvicorn.Config(
        application,
        host=settings.api_host,
        port=settings.api_port,
        loop="uvloop",
        http=draining_protocol(settings.max_connections, drain or Drain()),
        ws="websockets-sansio",
        ws_max_size=MESSAGE_BYTES,
        ws_per_message_deflate=False,  # it would compress for each client what was encoded once for all
        ws_ping_timeout=PING_TIMEOUT_SECONDS,
        lifespan="on",
        # Whoever else says so makes its address up: it would count as somebody else where attempts are counted.
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
        access_log=False,
        log_config=None,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=GRACEFUL_SECONDS,
    )
