"""Keeps the parts of an embedded stack running: starts them in order, starts again what dies, stops all in the right order.

Everything happens in the main thread, because a part's death signal is tied to the thread that forked it. Signals are written to a
pipe that the loop waits on; beside them it wakes once a minute to look at the size of the logs.
"""

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from types import FrameType

import msgspec

from stack import processes
from stack.processes import Command

FIRST_RESTART_SECONDS = 0.2
LONGEST_RESTART_SECONDS = 10.0
STEADY_SECONDS = 30.0
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LOG_LOOK_SECONDS = 60.0
TELL_AGAIN_SECONDS = 1.0
# PostgreSQL is nearly always gone within a second. It is not killed for a slow disk: a cluster that was shut down needs no recovery
# and can be copied.
STOP_TIERS: tuple[tuple[tuple[str, ...], float], ...] = ((("api", "worker"), 4.5), (("temporal", "redis"), 2.0), (("postgres",), 60.0))


class StopRequested(BaseException):
    """Ctrl-C or SIGTERM, or the death of whoever started us. Not an Exception: nothing on the way may swallow it."""


class Part(msgspec.Struct, kw_only=True):
    """One process of the stack, and how often it died lately."""

    kind: str
    launch: Callable[[], tuple[subprocess.Popen[bytes], Command]]
    process: subprocess.Popen[bytes] | None = None
    command: Command | None = None
    started_at: float = 0.0
    failures: int = 0
    due_at: float | None = None

    @property
    def pid(self) -> int:
        """The process id, 0 while it is not running."""
        return self.process.pid if self.process is not None and self.process.poll() is None else 0


class Supervisor:
    """Owns the parts. `announce` prints a line for people, `changed` is called after each restart."""

    def __init__(self, announce: Callable[[str], None], changed: Callable[[], None]) -> None:
        self.announce = announce
        self.changed = changed
        self.parts: list[Part] = []
        self.untold = False

    def add(self, kind: str, launch: Callable[[], tuple[subprocess.Popen[bytes], Command]]) -> Part:
        """Start a part now and look after it from now on."""
        part = Part(kind=kind, launch=launch)
        self.parts.append(part)
        self._launch(part)
        return part

    def wait_ready(self, part: Part, ready: Callable[[], bool], timeout_seconds: float = processes.READY_SECONDS) -> None:
        """Wait for a part's first readiness; raises `StartError` with the end of its log."""
        if part.process is None or part.command is None:
            raise processes.StartError(f"{part.kind} was not started")
        processes.wait_ready(part.process, part.command, ready, timeout_seconds)

    def pids(self, kind: str) -> list[int]:
        """The process ids of the parts of this kind that run."""
        return [part.pid for part in self.parts if part.kind == kind and part.pid]

    def watch(self) -> None:
        """Start again whatever dies, until a signal raises `StopRequested`."""
        with _child_signals() as wake:
            while True:
                now = time.monotonic()
                restarted = [part for part in self.parts if self._look_after(part, now)]
                if restarted or self.untold:
                    self._tell()
                self._keep_logs_small()
                waiting = [part.due_at for part in self.parts if part.due_at is not None]
                look_again = now + (TELL_AGAIN_SECONDS if self.untold else LOG_LOOK_SECONDS)
                select.select([wake], [], [], max(0.0, min([*waiting, look_again]) - time.monotonic()))
                with contextlib.suppress(BlockingIOError):
                    os.read(wake, 4096)

    def _tell(self) -> None:
        """Say that processes have changed; a full disk ends nothing here, it is said as soon as there is room."""
        try:
            self.changed()
        except OSError as error:
            if not self.untold:
                self.announce(f"the new process ids could not be written ({error.strerror}); trying again")
            self.untold = True
        else:
            self.untold = False

    def _keep_logs_small(self) -> None:
        for log in {part.command.log for part in self.parts if part.command is not None and part.command.log is not None}:
            with contextlib.suppress(OSError):  # a full disk: the next look may find room
                processes.set_log_aside(log)

    def _look_after(self, part: Part, now: float) -> bool:
        if part.pid:
            return False
        if part.due_at is None:
            status = part.process.returncode if part.process else "?"
            part.failures = 0 if now - part.started_at > STEADY_SECONDS else part.failures
            delay = min(FIRST_RESTART_SECONDS * 2**part.failures, LONGEST_RESTART_SECONDS)
            part.failures += 1
            part.due_at = now + delay
            self.announce(f"{part.kind} ended ({_spoken(status)}); it is started again in {delay:.1f} s")
        if now < part.due_at:
            return False
        part.due_at = None
        try:
            self._launch(part)
        except OSError as error:
            self.announce(f"{part.kind} could not be started: {error}")
            return False
        self.announce(f"{part.kind} runs again, as process {part.pid}")
        return True

    def _launch(self, part: Part) -> None:
        part.process, part.command = part.launch()
        part.started_at = time.monotonic()

    def stop(self) -> None:
        """Stop everything: who uses a service ends before the service. Returns when all processes are gone."""
        for kinds, seconds in STOP_TIERS:
            tier = [part for part in self.parts if part.kind in kinds and part.process is not None and part.command is not None]
            for part in tier:
                processes.ask_to_stop(_process(part), _command(part))
            deadline = time.monotonic() + seconds
            for part in tier:
                processes.stop(_process(part), _command(part), max(0.0, deadline - time.monotonic()))


def _process(part: Part) -> subprocess.Popen[bytes]:
    assert part.process is not None
    return part.process


def _command(part: Part) -> Command:
    assert part.command is not None
    return part.command


def _spoken(status: int | str) -> str:
    if isinstance(status, int) and status < 0:
        return f"killed by {signal.Signals(-status).name}"
    return f"exit status {status}"


@contextlib.contextmanager
def _child_signals() -> Iterator[int]:
    """A file that becomes readable whenever a child process ends."""
    reading, writing = os.pipe()
    for descriptor in (reading, writing):
        os.set_blocking(descriptor, False)
    before = signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    try:
        yield reading
    finally:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, before)
        os.close(reading)
        os.close(writing)


def stop_on_signals() -> None:
    """From now on SIGINT, SIGTERM and SIGHUP raise `StopRequested`, once: further ones do not interrupt the stopping."""

    def request(_number: int, _frame: FrameType | None) -> None:
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        raise StopRequested

    for number in STOP_SIGNALS:
        signal.signal(number, request)
