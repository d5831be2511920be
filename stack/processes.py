"""Starting, watching and stopping the processes of an embedded stack. The parent's death ends them all (see `child.py`)."""

import contextlib
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

LAUNCHER = Path(__file__).with_name("child.py")
UNPRIVILEGED_USER = "nobody"
READY_POLL_SECONDS = 0.02
READY_SECONDS = 120.0
"""A part that dies is noticed at once; one that lives has this long on a slow machine."""
PORTS = (15_000, 32_000)
PORT_TRIES = 100
LOG_BYTES = 20 * 1024 * 1024
GROUP_SECONDS = 5.0


class StartError(RuntimeError):
    """A part did not start; the message says why and where its log is."""


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """How to run one part. `stop_signal` asks it to end; `death_signal` is sent by the kernel when our own process is gone."""

    name: str
    argv: tuple[str, ...]
    log: Path | None = None
    environment: Mapping[str, str] | None = None
    directory: Path | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals = signal.SIGKILL
    user_id: int | None = None
    keep_files: tuple[int, ...] = ()


def unprivileged_user() -> int | None:
    """The user id for programs that refuse to run as root; None when we are not root."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(UNPRIVILEGED_USER).pw_uid
    except KeyError:
        raise StartError(f"PostgreSQL cannot run as root, and this machine has no user `{UNPRIVILEGED_USER}` to run it as") from None


def launched(command: Command) -> list[str]:
    """The command line that starts `command` through the launcher."""
    run_as = "-" if command.user_id is None else str(command.user_id)
    launcher = [sys.executable, "-I", "-S", "-B", str(LAUNCHER)]
    return [*launcher, str(os.getpid()), str(int(command.death_signal)), run_as, "--", *command.argv]


def start(command: Command) -> subprocess.Popen[bytes]:
    """Start a part in a session of its own, its output appended to its log.

    Call it from the main thread: the death signal follows the thread that forked.
    """
    if command.log:
        set_log_aside(command.log)
    with contextlib.ExitStack() as files:
        output = files.enter_context(command.log.open("ab")) if command.log else None
        return subprocess.Popen(
            launched(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if output else None,
            cwd=command.directory,
            env=None if command.environment is None else dict(command.environment),
            pass_fds=command.keep_files,
            start_new_session=True,
        )


def set_log_aside(log: Path, limit: int = LOG_BYTES) -> bool:
    """Keep a copy of a log beyond `limit` bytes as `.log.1` and empty it; answers whether it did.

    Copied and emptied in place, because the running part holds the file open and appends: a renamed one would go on growing. What is
    written in between is lost, a few lines at most.
    """
    if not log.exists() or log.stat().st_size <= limit:
        return False
    shutil.copyfile(log, log.with_suffix(".log.1"))
    os.truncate(log, 0)
    return True


def run(command: Command, *, timeout_seconds: float = 60.0) -> None:
    """Run a helper program to its end; raises `StartError` with what it printed when it fails."""
    done = subprocess.run(
        launched(command),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd=command.directory,
        timeout=timeout_seconds,
        check=False,
    )
    if done.returncode != 0:
        printed = (done.stdout + done.stderr).decode(errors="replace").strip()
        raise StartError(f"{command.name} failed with status {done.returncode}: {printed}")


def wait_ready(
    process: subprocess.Popen[bytes], command: Command, ready: Callable[[], bool], timeout_seconds: float = READY_SECONDS
) -> None:
    """Wait until `ready()`; raises `StartError` with the end of the log when the part dies or the time is up."""
    deadline = time.monotonic() + timeout_seconds
    while not ready():
        if process.poll() is not None:
            raise StartError(f"{command.name} ended with status {process.returncode} while starting{log_tail(command)}")
        if time.monotonic() > deadline:
            raise StartError(f"{command.name} was not ready after {timeout_seconds:.0f} s{log_tail(command)}")
        time.sleep(READY_POLL_SECONDS)


def wait_until(settled: Callable[[], bool], timeout_seconds: float) -> bool:
    """Look again and again until `settled()` or the time is up; answers whether it settled."""
    deadline = time.monotonic() + timeout_seconds
    while not settled():
        if time.monotonic() > deadline:
            return False
        time.sleep(READY_POLL_SECONDS)
    return True


def log_tail(command: Command, lines: int = 8) -> str:
    """The last lines of a part's log, ready to be appended to a message."""
    if command.log is None or not command.log.exists():
        return ""
    tail = command.log.read_text(errors="replace").splitlines()[-lines:]
    return f" (log: {command.log})\n" + "\n".join(f"  {line}" for line in tail)


def ask_to_stop(process: subprocess.Popen[bytes], command: Command) -> None:
    """Send the part its stop signal, if it still runs."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(command.stop_signal)


def stop(process: subprocess.Popen[bytes], command: Command, timeout_seconds: float = 5.0) -> None:
    """Stop a part and everything in its process group; returns when all of it is gone."""
    ask_to_stop(process, command)
    try:
        process.wait(timeout_seconds)
    except subprocess.TimeoutExpired:
        pass
    _signal_group(process.pid, signal.SIGKILL)
    process.wait()
    wait_until(lambda: not _signal_group(process.pid, 0), GROUP_SECONDS)


def _signal_group(leader: int, number: int) -> bool:
    """Send a signal to a process group; answers whether anybody is in it."""
    try:
        os.killpg(leader, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def command_line(pid: int) -> str:
    """What the process runs, empty when there is none. Linux has it in /proc, where `ps` may be missing; macOS has `ps`."""
    if Path("/proc/self/cmdline").exists():
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            return ""
    return subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port that nobody listens on at this moment.

    It lies below the range from which systems take the near ends of outgoing connections (Linux: from 32768, macOS: from 49152):
    one of ours could take a port of that range between this look and the moment when the part listens.
    """
    for _ in range(PORT_TRIES):
        port = random.randrange(*PORTS)
        if port_is_free(port, host):
            return port
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def port_is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen on this port now."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def port_answers(port: int, host: str = "127.0.0.1") -> bool:
    """Whether something accepts connections on this port."""
    try:
        with socket.create_connection((host, port), timeout=1.0):
            return True
    except OSError:
        return False
