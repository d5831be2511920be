"""Launcher of one embedded part: makes sure that the part cannot outlive the process that started it, then becomes it.

Runs as `python -I -S -B child.py PARENT_PID DEATH_SIGNAL RUN_AS -- PROGRAM ARGUMENTS…` and imports the standard library only, because
it stands between fork and exec of every part. `RUN_AS` is a numeric user id, or `-` to stay who we are.
"""

import ctypes
import os
import select
import signal
import struct
import sys

PR_SET_PDEATHSIG = 1
PR_SET_KEEPCAPS = 8
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
CAPABILITY_VERSION_3 = 0x20080522
CAP_DAC_OVERRIDE = 1
WATCH_SECONDS = 0.5


def main(arguments: list[str]) -> None:
    """Tie the part's life to PARENT_PID's, change the user, and become the program."""
    parent, death_signal, run_as = int(arguments[0]), int(arguments[1]), arguments[2]
    program = arguments[4:]
    if run_as != "-":
        become_user(int(run_as))
    if sys.platform == "linux":
        # After the change of user: the kernel clears the death signal whenever credentials change.
        libc().prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)
        os.execv(program[0], program)
    watch(parent, death_signal, program)


def libc() -> ctypes.CDLL:
    """The C library, for the calls that `os` does not have."""
    return ctypes.CDLL(None, use_errno=True)


def become_user(uid: int) -> None:
    """Drop root, but keep the right to pass through directories: a clone under /root (mode 700) must work all the same."""
    if sys.platform == "linux":
        libc().prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
    if sys.platform == "linux":
        keep_path_access()


def keep_path_access() -> None:
    """Only CAP_DAC_OVERRIDE survives, and passes through exec as an ambient capability; a kernel that refuses leaves a plain user."""
    header = struct.pack("=Ii", CAPABILITY_VERSION_3, 0)
    mask = 1 << CAP_DAC_OVERRIDE
    data = struct.pack("=6I", mask, mask, mask, 0, 0, 0)
    if libc().capset(header, data) == 0:
        libc().prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_OVERRIDE, 0, 0)


def watch(parent: int, death_signal: int, program: list[str]) -> None:
    """Without a death signal in the kernel (macOS): stay in between, pass signals on, and end the part when the parent is gone."""
    child = os.posix_spawn(program[0], program, os.environ)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, lambda received, _frame: os.kill(child, received))
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
        if os.getppid() != parent:
            os.kill(child, death_signal)
        select.select([], [], [], WATCH_SECONDS)


if __name__ == "__main__":
    main(sys.argv[1:])
