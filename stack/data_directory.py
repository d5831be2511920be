"""The data directory of an embedded stack: its keys, its lock, and `stack.json` that tells other programs about it (contract 6)."""

import fcntl
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import rich_click as click

from runtime.settings import SettingError, Settings, load_settings, names_database, process_environment
from stack.processes import StartError

DEFAULT_DATA_DIR = Path(__file__).parent.parent / ".laurel"


class Keys(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What a stack must remember to read its own data again. Kept in `keys.json`, mode 600. The last five belong to the demo tenant."""

    secret_key: str
    operator_key: str
    postgres_password: str
    redis_password: str
    tenant_id: str = ""
    api_key: str = ""
    fulfilment_key: str = ""
    console_email: str = ""
    console_password: str = ""


DEMO_KEYS = ("tenant_id", "api_key", "fulfilment_key", "console_email", "console_password")


class Pids(msgspec.Struct, kw_only=True):
    """The processes of a running stack."""

    api: list[int]
    worker: list[int]
    postgres: int
    redis: int
    temporal: int


class StackFile(msgspec.Struct, kw_only=True, omit_defaults=True):
    """`stack.json`, to the letter of contract 6."""

    env: dict[str, str]
    api_url: str
    console_url: str
    temporal_address: str
    temporal_namespace: str
    temporal_ui_url: str
    database_url: str
    redis_url: str
    operator_key: str
    pids: Pids
    tenant_id: str = ""
    api_key: str = ""
    fulfilment_key: str = ""
    console_email: str = ""
    console_password: str = ""


def write_private(path: Path, content: Any) -> None:
    """Write JSON so that nobody else can read it and nobody ever reads half of it."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(content), indent=2))
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        beside.unlink(missing_ok=True)
        raise
    beside.replace(path)


def load_keys(data_dir: Path) -> Keys:
    """The stack's keys; made at the first start and the same ever after."""
    path = data_dir / "keys.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=Keys)
    except FileNotFoundError:
        pass
    except msgspec.DecodeError as error:
        raise StartError(f"{path} is damaged ({error}): without its keys the data in {data_dir} cannot be read") from None
    keys = Keys(
        secret_key=secrets.token_urlsafe(48),
        operator_key=f"lo_{secrets.token_urlsafe(32)}",
        postgres_password=secrets.token_hex(32),
        redis_password=secrets.token_hex(32),
    )
    save_keys(data_dir, keys)
    return keys


def save_keys(data_dir: Path, keys: Keys) -> None:
    """Replace `keys.json`."""
    write_private(data_dir / "keys.json", keys)


def lock(data_dir: Path) -> int:
    """Take the data directory for this process; answers the open lock file. Raises `StartError` when another `up` has it."""
    descriptor = os.open(data_dir / "up.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.read(descriptor, 32).decode().strip() or "?"
        os.close(descriptor)
        raise StartError(f"{data_dir} is in use by another `laurel up` (process {owner}): stop it, or choose another --data-dir") from None
    os.truncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    return descriptor


def read_stack(data_dir: Path) -> StackFile:
    """The running stack of this data directory; raises `SettingError` when there is none."""
    path = data_dir / "stack.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=StackFile)
    except FileNotFoundError:
        raise SettingError(
            f"no running stack in {data_dir}: start one with `./laurel up`, name its --data-dir, or set LAUREL_DATABASE_URL and the others"
        ) from None
    except (msgspec.DecodeError, PermissionError) as error:
        raise SettingError(f"{path} cannot be read: {error}") from None


def data_dir_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """The option `--data-dir`, the same on every command that works on a stack; its value arrives as `data_dir: Path`."""
    return click.option(
        "--data-dir",
        type=click.Path(file_okay=False, path_type=Path),
        default=DEFAULT_DATA_DIR,
        show_default=".laurel",
        help="Where the embedded stack keeps its data and its stack.json.",
    )(command)


def settings_for(data_dir: Path = DEFAULT_DATA_DIR) -> Settings:
    """The settings of a command: from the environment when it names a database, else those of the stack in `data_dir`."""
    environment = process_environment()
    if not names_database(environment):
        environment = {**read_stack(data_dir).env, **environment}
    return load_settings(environment)
