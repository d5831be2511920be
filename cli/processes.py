"""`laurel api` and `laurel worker`: one process each, against the services that the settings name."""

import os
import socket
from pathlib import Path
from typing import Any

import rich_click as click

from runtime import logging, tracing
from runtime.drain import DrainingServer, draining_protocol
from runtime.pulse import Drain
from runtime.settings import Settings
from stack.data_directory import data_dir_option, settings_for

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


@click.command()
@click.option("--fd", type=int, help="Serve on this open, listening socket instead of LAUREL_API_HOST and LAUREL_API_PORT.")
@data_dir_option
def api(fd: int | None, data_dir: Path) -> None:
    """Run one API process against external services (LAUREL_* variables)."""
    settings = settings_for(data_dir)
    logging.set_up(settings)
    from server import create_app

    tracing.set_up(settings, "laurel-api")
    drain = Drain()
    application = tracing.traced(create_app(settings, drain), settings)
    server = DrainingServer(server_config(application, settings, drain), drain, settings.drain_seconds)
    server.run(sockets=None if fd is None else [socket.socket(fileno=fd)])
    if not server.started:
        raise SystemExit("the API did not start: its log says why")


@click.command()
@click.option("--ready-fd", type=int, help="Write a line to this open file once the worker takes tasks.")
@data_dir_option
def worker(ready_fd: int | None, data_dir: Path) -> None:
    """Run one worker process against external services (LAUREL_* variables)."""
    settings = settings_for(data_dir)
    logging.set_up(settings)
    tracing.set_up(settings, "laurel-worker")
    import worker as composition_root

    def announce() -> None:
        if ready_fd is not None:
            os.write(ready_fd, b"ready\n")
            os.close(ready_fd)

    composition_root.main(settings, announce)
