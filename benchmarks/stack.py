"""The benchmark's own stack: PostgreSQL and Valkey as `laurel up` runs them, in a directory that goes away."""

import contextlib
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from benchmarks.measure import REPOSITORY, Meter
from runtime.settings import Settings, load_settings
from stack import postgres, processes, redis


class Stack(msgspec.Struct, frozen=True, kw_only=True):
    """The running parts. `environ` is what a process of ours needs to work on them."""

    directory: Path
    environ: dict[str, str]
    settings: Settings
    pids: dict[str, int]

    def meter(self, **pids: int) -> Meter:
        """A meter of the stack's parts and of these processes."""
        return Meter({**self.pids, **pids})

    @contextlib.contextmanager
    def server(self, variant: str, options: Mapping[str, str] | None = None) -> Iterator["Server"]:
        """An API process (see `benchmarks/serve.py` for the variants), running until the end of the block."""
        port = processes.free_port()
        environ = {**self.environ, **(options or {}), "LAUREL_API_PORT": str(port)}
        argv = (sys.executable, "-m", "benchmarks.serve", variant)
        command = processes.Command(
            name=variant, argv=argv, log=self.directory / f"{variant}.log", environment=environ, directory=REPOSITORY
        )
        process = processes.start(command)
        try:
            processes.wait_ready(process, command, lambda: processes.port_answers(port))
            yield Server(port=port, meter=self.meter(api=process.pid))
        finally:
            processes.stop(process, command)


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """A running API process."""

    port: int
    meter: Meter


@contextlib.contextmanager
def start_stack(inherited: Mapping[str, str]) -> Iterator[Stack]:
    """Start the parts in a temporary directory and stop them at the end of the block. `inherited` is the caller's environment."""
    directory = Path(tempfile.mkdtemp(prefix="laurel-bench-"))
    password = secrets.token_hex(16)
    with contextlib.ExitStack() as parts:
        parts.callback(shutil.rmtree, directory, ignore_errors=True)
        database_port = processes.free_port()
        postgres.initialise(directory / "postgres", password)
        command = postgres.command(directory / "postgres", database_port, directory / "postgres.log")
        database = run_part(parts, command, postgres.start(directory / "postgres", command))
        redis_port = processes.free_port()
        redis_command = redis.command(directory / "redis", redis_port, password, directory / "redis.log")
        cache = run_part(parts, redis_command, processes.start(redis_command))
        processes.wait_ready(database, command, lambda: postgres.ready(database_port, password))
        processes.wait_ready(cache, redis_command, lambda: redis.ready(redis.url(redis_port, password)))
        database_url = postgres.ensure_database(database_port, password)
        laurel = {
            "LAUREL_DATABASE_URL": database_url,
            "LAUREL_REDIS_URL": redis.url(redis_port, password),
            # Nobody listens there: the suite measures paths on which Temporal does not stand.
            "LAUREL_TEMPORAL_ADDRESS": "127.0.0.1:1",
            "LAUREL_SECRET_KEY": secrets.token_hex(32),
            "LAUREL_OPERATOR_KEY": secrets.token_hex(16),
            "LAUREL_RATE_LIMIT_PER_SECOND": "10000000",
            "LAUREL_LOG_LEVEL": "WARNING",
        }
        others = {name: value for name, value in inherited.items() if not name.startswith("LAUREL_")}
        yield Stack(
            directory=directory,
            environ={**others, **laurel},
            settings=load_settings(laurel),
            pids={"postgres": database.pid, "valkey": cache.pid},
        )


def run_part(parts: contextlib.ExitStack, command: processes.Command, process: "subprocess.Popen[bytes]") -> "subprocess.Popen[bytes]":
    """See to it that a started part is stopped at the end."""
    parts.callback(processes.stop, process, command)
    return process
