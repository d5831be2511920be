"""The parts of an embedded stack: where each listens, and the command that runs it."""

import os
import select
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import msgspec

from runtime.search_attributes import SEARCH_ATTRIBUTES
from runtime.settings import PREFIX, SETTINGS, process_environment
from stack import postgres, processes
from stack import redis as embedded_redis
from stack import temporal as embedded_temporal
from stack.data_directory import Keys
from stack.processes import Command, StartError

NAMESPACE = "default"
REPOSITORY = Path(__file__).parent.parent
BACKLOG = 2048
PORT_PATIENCE_SECONDS = 2.0
Launched = tuple[subprocess.Popen[bytes], Command]


class Addresses(msgspec.Struct, frozen=True, kw_only=True):
    """Where everything listens. The same until the stack stops, also when a part is started again."""

    host: str
    api_socket: socket.socket
    postgres_port: int
    redis_port: int
    temporal_port: int
    temporal_ui_port: int

    @classmethod
    def choose(cls, host: str, port: int, temporal_port: int, temporal_ui_port: int) -> "Addresses":
        """Take the API's port and find free ones for the rest; raises `StartError` that names a port in use and its option."""
        return cls(
            host=host,
            api_socket=_listen(host, port),
            postgres_port=processes.free_port(),
            redis_port=processes.free_port(),
            temporal_port=_fixed_port(temporal_port, "--temporal-port", "Temporal"),
            temporal_ui_port=_fixed_port(temporal_ui_port, "--temporal-ui-port", "the Temporal UI"),
        )

    @property
    def api_url(self) -> str:
        """The API's address for a client on this machine."""
        everywhere = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - read, not listened on
        host = everywhere.get(self.host, f"[{self.host}]" if ":" in self.host else self.host)
        return f"http://{host}:{self.api_socket.getsockname()[1]}"

    @property
    def temporal_address(self) -> str:
        """Temporal's gRPC address."""
        return f"127.0.0.1:{self.temporal_port}"

    @property
    def temporal_ui_url(self) -> str:
        """The Temporal UI's address."""
        return f"http://127.0.0.1:{self.temporal_ui_port}"

    def database_url(self, keys: Keys) -> str:
        """The database's address, with its password."""
        return postgres.application_url(self.postgres_port, keys.postgres_password)

    def redis_url(self, keys: Keys) -> str:
        """Valkey's address, with its password."""
        return embedded_redis.url(self.redis_port, keys.redis_password)


def _in_use(port: int, option: str, what: str) -> StartError:
    return StartError(f"port {port} for {what} is in use: stop what listens there, or choose another with {option} (0 picks a free one)")


def _fixed_port(port: int, option: str, what: str) -> int:
    if port == 0:
        return processes.free_port()
    # The parts of a stack that was killed a moment ago may still be on their way out.
    if not processes.wait_until(lambda: processes.port_is_free(port), PORT_PATIENCE_SECONDS):
        raise _in_use(port, option, what)
    return port


def _listen(host: str, port: int) -> socket.socket:
    try:
        listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=BACKLOG)
    except PermissionError:
        raise StartError(f"port {port} for the API needs more rights than this user has: choose one above 1023 with --port") from None
    except socket.gaierror:
        raise StartError(f"--host {host} is not an address of this machine") from None
    except OSError as error:
        if processes.port_answers(port, host):
            raise _in_use(port, "--port", "the API") from None
        raise StartError(f"cannot listen on {host}:{port} for the API: {error.strerror}") from None
    listening.setblocking(False)
    return listening


def environment(addresses: Addresses, keys: Keys) -> dict[str, str]:
    """Every `LAUREL_*` variable of the stack's processes: what the stack decides, and what the caller set beyond that."""
    given = process_environment()
    settings = {PREFIX + setting.name: given.get(PREFIX + setting.name, setting.default) for setting in SETTINGS}
    return settings | {
        "LAUREL_DATABASE_URL": addresses.database_url(keys),
        "LAUREL_REDIS_URL": addresses.redis_url(keys),
        "LAUREL_TEMPORAL_ADDRESS": addresses.temporal_address,
        "LAUREL_TEMPORAL_NAMESPACE": NAMESPACE,
        "LAUREL_TEMPORAL_UI_URL": addresses.temporal_ui_url,
        "LAUREL_TEMPORAL_TLS_CERT": "",
        "LAUREL_TEMPORAL_TLS_KEY": "",
        "LAUREL_TEMPORAL_TLS_CA": "",
        "LAUREL_TEMPORAL_API_KEY": "",
        "LAUREL_SECRET_KEY": keys.secret_key,
        "LAUREL_OPERATOR_KEY": keys.operator_key,
        "LAUREL_ENVIRONMENT": "development",
        "LAUREL_PUBLIC_URL": addresses.api_url,
        "LAUREL_WEBHOOK_ALLOW_CIDRS": given.get("LAUREL_WEBHOOK_ALLOW_CIDRS", "127.0.0.0/8"),
        "LAUREL_DRAIN_SECONDS": "0.5",  # nothing balances loads here, and the listening socket outlives the process
        "LAUREL_WORKER_DRAIN_SECONDS": "3",  # Ctrl-C is answered soon; what is cut off goes on at the next start
        "LAUREL_API_HOST": addresses.host,
        "LAUREL_API_PORT": addresses.api_url.rpartition(":")[2],
    }


def launch(command: Command) -> Launched:
    """Start a part now."""
    return processes.start(command), command


def launch_postgres(data_dir: Path, addresses: Addresses) -> Launched:
    """Start PostgreSQL once an earlier server on the same data is gone."""
    command = postgres.command(data_dir / "postgres", addresses.postgres_port, data_dir / "logs" / "postgres.log")
    return postgres.start(data_dir / "postgres", command), command


def redis(data_dir: Path, addresses: Addresses, keys: Keys) -> Command:
    """How to run Valkey."""
    return embedded_redis.command(data_dir / "redis", addresses.redis_port, keys.redis_password, data_dir / "logs" / "redis.log")


def temporal(data_dir: Path, addresses: Addresses) -> Command:
    """How to run Temporal."""
    database, log = data_dir / "temporal.db", data_dir / "logs" / "temporal.log"
    return embedded_temporal.command(database, addresses.temporal_port, addresses.temporal_ui_port, SEARCH_ATTRIBUTES, log=log)


def _laurel(name: str, data_dir: Path, settings: Mapping[str, str], arguments: tuple[str, ...], *, keep: tuple[int, ...]) -> Command:
    return Command(
        name=name,
        argv=(sys.executable, "-m", "cli", name, *arguments),
        log=data_dir / "logs" / f"{name}.log",
        environment={**process_environment(), **settings},
        directory=REPOSITORY,
        keep_files=keep,
    )


def api(data_dir: Path, settings: Mapping[str, str], listening: int) -> Command:
    """How to run an API process on the open socket `listening`."""
    return _laurel("api", data_dir, settings, ("--fd", str(listening)), keep=(listening,))


class Ready:
    """A pipe on which a worker says that it takes tasks. Only its first process is told of it; later ones need not report."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        self.closed = False

    def arrived(self) -> bool:
        """Whether the worker has reported."""
        return bool(select.select([self.reading], [], [], 0)[0]) and os.read(self.reading, 16) != b""

    def close(self) -> None:
        """Nobody reads any more."""
        if not self.closed:
            self.closed = True
            os.close(self.reading)
            os.close(self.writing)


def launch_worker(data_dir: Path, settings: Mapping[str, str], ready: Ready) -> Launched:
    """Start a worker, which reports on `ready` while somebody waits for that."""
    if ready.closed:
        return launch(_laurel("worker", data_dir, settings, (), keep=()))
    return launch(_laurel("worker", data_dir, settings, ("--ready-fd", str(ready.writing)), keep=(ready.writing,)))


def api_ready(api_url: str) -> bool:
    """Whether the API can take events now."""
    try:
        with urllib.request.urlopen(f"{api_url}/ready", timeout=2.0) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
