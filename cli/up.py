"""`laurel up`: the whole platform on embedded parts, looked after until Ctrl-C (contract 6)."""

import asyncio
import contextlib
import os
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

import rich_click as click
from rich.console import Console

from runtime.settings import load_settings
from stack import data_directory as stack
from stack import demo_tenant, parts, postgres, processes, redis
from stack.migrate import bring_up_to_date
from stack.supervisor import Part, StopRequested, Supervisor, stop_on_signals


class Options(NamedTuple):
    """What was asked for on the command line."""

    data_dir: Path
    host: str
    port: int
    temporal_port: int
    temporal_ui_port: int
    demo: bool
    workers: int
    api_processes: int


@click.command()
@stack.data_dir_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Address that the API listens on.")
@click.option("--port", default=8080, show_default=True, help="Port of the API and console; 0 picks a free one.")
@click.option("--temporal-port", default=7233, show_default=True, help="Port of the Temporal server; 0 picks a free one.")
@click.option("--temporal-ui-port", default=8233, show_default=True, help="Port of the Temporal UI; 0 picks a free one.")
@click.option("--no-demo", is_flag=True, help="Make no demo tenant.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 64), help="Number of worker processes.")
@click.option("--api-processes", default=1, show_default=True, type=click.IntRange(1, 64), help="Number of API processes.")
def up(no_demo: bool, **given: object) -> None:
    """Start the whole platform on embedded parts, until Ctrl-C. Data stays in --data-dir."""
    options = Options(demo=not no_demo, **given)  # type: ignore[arg-type]
    os.umask(0o077)
    data_dir = options.data_dir.absolute()
    try:
        (data_dir / "logs").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise processes.StartError(f"cannot write to {data_dir} ({error.strerror}): choose another --data-dir") from None
    held = stack.lock(data_dir)
    (data_dir / "stack.json").unlink(missing_ok=True)
    try:
        Up(options._replace(data_dir=data_dir)).run()
    finally:
        os.close(held)


class Up:
    """One run of `laurel up`."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.console = Console(highlight=False)
        self.began = time.monotonic()
        self.keys = stack.load_keys(options.data_dir)
        self.supervisor = Supervisor(self.announce, self.write_stack)
        self.addresses = parts.Addresses.choose(options.host, options.port, options.temporal_port, options.temporal_ui_port)
        self.environment = parts.environment(self.addresses, self.keys)

    def announce(self, line: str) -> None:
        """One line of progress, with the seconds since the start."""
        with contextlib.suppress(OSError):  # standard output may be a file on a full disk, or a pipe that nobody reads any more
            self.console.print(f"[dim]{time.monotonic() - self.began:6.1f} s[/dim]  {line}", soft_wrap=True)

    def run(self) -> None:
        """Start, watch, stop. A signal at any moment leads to the orderly stop; so does a part that does not start."""
        stop_on_signals()
        try:
            self.start()
            self.supervisor.watch()
        except StopRequested:
            self.announce("stopping")
            self.stop()
            self.announce(f"stopped; the data stays in {self.options.data_dir}")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop every part. `stack.json` goes first: it promises a stack that runs."""
        (self.options.data_dir / "stack.json").unlink(missing_ok=True)
        self.supervisor.stop()

    def start(self) -> None:
        """Start every part, in the order that each needs."""
        self.start_servers()
        settings = load_settings(self.environment)
        bring_up_to_date(settings)
        self.announce("database migrated")
        api, worker = self.start_processes()
        if self.options.demo:
            demo_tenant.fill_in(self.keys)
            stack.save_keys(self.options.data_dir, self.keys)
            asyncio.run(demo_tenant.ensure_demo_tenant(settings, self.keys))
        for part in api:
            self.supervisor.wait_ready(part, lambda: parts.api_ready(self.addresses.api_url))
        for part, ready in worker:
            self.supervisor.wait_ready(part, ready.arrived)
            ready.close()
        self.announce("API and worker are ready")
        self.write_stack()
        self.show()

    def start_servers(self) -> None:
        """PostgreSQL, Valkey and Temporal, side by side."""
        addresses, keys, data_dir = self.addresses, self.keys, self.options.data_dir
        temporal = self.supervisor.add("temporal", lambda: parts.launch(parts.temporal(data_dir, addresses)))
        cache = self.supervisor.add("redis", lambda: parts.launch(parts.redis(data_dir, addresses, keys)))
        postgres.initialise(data_dir / "postgres", keys.postgres_password)
        database = self.supervisor.add("postgres", lambda: parts.launch_postgres(data_dir, addresses))
        self.supervisor.wait_ready(database, lambda: postgres.ready(addresses.postgres_port, keys.postgres_password))
        postgres.ensure_database(addresses.postgres_port, keys.postgres_password)
        postgres.ensure_application(addresses.postgres_port, keys.postgres_password)
        self.announce(f"PostgreSQL listens on port {addresses.postgres_port}")
        self.supervisor.wait_ready(cache, lambda: redis.ready(addresses.redis_url(keys)))
        self.announce(f"Valkey listens on port {addresses.redis_port}")
        self.supervisor.wait_ready(temporal, lambda: processes.port_answers(addresses.temporal_port))
        self.announce(f"Temporal listens on port {addresses.temporal_port}, its UI on {addresses.temporal_ui_port}")

    def start_processes(self) -> tuple[list[Part], list[tuple[Part, parts.Ready]]]:
        """The API processes, which share one listening socket that outlives each of them, and the workers."""
        data_dir, environment, listening = self.options.data_dir, self.environment, self.addresses.api_socket.fileno()
        api = [
            self.supervisor.add("api", lambda: parts.launch(parts.api(data_dir, environment, listening)))
            for _ in range(self.options.api_processes)
        ]
        reports = [parts.Ready() for _ in range(self.options.workers)]
        worker = [self.supervisor.add("worker", partial(parts.launch_worker, data_dir, environment, ready)) for ready in reports]
        return api, list(zip(worker, reports, strict=True))

    def write_stack(self) -> None:
        """Say in `stack.json` where everything is. Before the stack is ready there is none, so there is nothing to keep current."""
        addresses, keys = self.addresses, self.keys
        pids = stack.Pids(
            api=self.supervisor.pids("api"),
            worker=self.supervisor.pids("worker"),
            postgres=next(iter(self.supervisor.pids("postgres")), 0),
            redis=next(iter(self.supervisor.pids("redis")), 0),
            temporal=next(iter(self.supervisor.pids("temporal")), 0),
        )
        demo = {name: getattr(keys, name) for name in stack.DEMO_KEYS} if self.options.demo else {}
        described = stack.StackFile(
            env=self.environment,
            api_url=addresses.api_url,
            console_url=f"{addresses.api_url}/console",
            temporal_address=addresses.temporal_address,
            temporal_namespace=parts.NAMESPACE,
            temporal_ui_url=addresses.temporal_ui_url,
            database_url=addresses.database_url(keys),
            redis_url=addresses.redis_url(keys),
            operator_key=keys.operator_key,
            pids=pids,
            **demo,
        )
        stack.write_private(self.options.data_dir / "stack.json", described)

    def show(self) -> None:
        """Print the addresses and keys that people need."""
        addresses, keys = self.addresses, self.keys
        rows = [
            ("API", addresses.api_url),
            ("API document", f"{addresses.api_url}/docs"),
            ("Console", f"{addresses.api_url}/console"),
            ("Temporal UI", addresses.temporal_ui_url),
            ("Operator key", keys.operator_key),
        ]
        if self.options.demo:
            rows += [("Demo tenant", keys.tenant_id), ("API key (admin)", keys.api_key), ("API key (fulfilment)", keys.fulfilment_key)]
            rows += [("Console user", f"{keys.console_email}  {keys.console_password}")]
        rows += [("All of it", str(self.options.data_dir / "stack.json"))]
        self.console.print()
        for name, value in rows:
            self.console.print(f"  [bold]{name:<22}[/bold]{value}", soft_wrap=True)
        self.console.print()
        self.announce("[bold green]ready[/bold green]; try `./laurel demo` in another terminal; Ctrl-C stops everything")
