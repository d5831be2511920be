"""What keeps the embedded parts running, with real processes: full disks, logs that grow."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stack import processes
from stack.data_directory import write_private
from stack.processes import Command
from stack.supervisor import StopRequested, Supervisor

ASLEEP = "import time; time.sleep(600)"
CHATTY = "import itertools, sys\nfor number in itertools.count():\n    print(number, flush=True)"


@pytest.fixture
def supervisor() -> Supervisor:
    return Supervisor(announce=lambda _line: None, changed=lambda: None)


def launch(command: Command) -> tuple[subprocess.Popen[bytes], Command]:
    return processes.start(command), command


def test_a_full_disk_at_the_wrong_moment_ends_nothing(supervisor: Supervisor) -> None:
    """The parts go on, and what could not be written is written as soon as it can be."""
    tries, lines = [], []

    def changed() -> None:
        tries.append(supervisor.pids("sleeper"))
        if len(tries) < 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        raise StopRequested

    supervisor.changed, supervisor.announce = changed, lines.append
    sleeper = supervisor.add("sleeper", lambda: launch(Command(name="sleeper", argv=(sys.executable, "-c", ASLEEP))))
    first = sleeper.pid
    os.kill(first, signal.SIGKILL)
    try:
        with pytest.raises(StopRequested):
            supervisor.watch()
        assert len(tries) == 3
        assert all(pids == [sleeper.pid] for pids in tries)
        assert sleeper.pid not in (0, first)
        assert sum("No space left" in line for line in lines) == 1, "said once, not at every try"
    finally:
        assert sleeper.process is not None
        assert sleeper.command is not None
        processes.stop(sleeper.process, sleeper.command)


def test_a_log_is_put_aside_while_its_writer_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "chatty.log"
    command = Command(name="chatty", argv=(sys.executable, "-c", CHATTY), log=log)
    process = processes.start(command)
    try:
        assert processes.wait_until(lambda: log.exists() and log.stat().st_size > 100_000, 60.0)
        assert not processes.set_log_aside(log, limit=1_000_000_000), "a small one stays"
        assert processes.set_log_aside(log, limit=100_000)
        kept = log.with_suffix(".log.1").read_text().split("\n")
        assert kept[:3] == ["0", "1", "2"]
        assert processes.wait_until(lambda: log.stat().st_size > 10_000, 60.0), "the writer goes on in the same file"
        assert b"\0" not in log.read_bytes(), "from its new beginning on"
    finally:
        processes.stop(process, command)


def test_a_private_file_that_cannot_be_written_leaves_no_half_behind(tmp_path: Path) -> None:
    """A limit on the size of files stands for a full disk; it needs no rights to set."""
    program = (
        "import resource, signal, sys\nfrom pathlib import Path\nfrom stack.data_directory import write_private\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nresource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "write_private(Path(sys.argv[1]), {'padding': 'x' * 100_000})"
    )
    target = tmp_path / "stack.json"
    write_private(target, {"old": True})
    done = subprocess.run([sys.executable, "-c", program, target], capture_output=True, text=True, check=False)
    assert "OSError" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["stack.json"], "neither a half file nor a lost one"
    assert "old" in target.read_text()
