"""`laurel api` and `laurel worker`: one process each, against the services that the settings name."""

import os
import socket
from pathlib import Path

import rich_click as click

from runtime import logging, tracing
from runtime.drain import DrainingServer
from runtime.pulse import Drain
from runtime.serving import server_config
from stack.data_directory import data_dir_option, settings_for


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
