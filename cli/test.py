"""`laurel test`: the whole suite, with the checks of style, types and imports among its tests (`tests/guard/`)."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import rich_click as click

REPOSITORY = Path(__file__).parent.parent
# One stack and one PostgreSQL for each process: two processes keep two cores busy, more would only wait for each other.
PROCESSES = "2"


@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": ["--help"]})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def test(arguments: tuple[str, ...]) -> None:
    """Run the test suite on its own embedded parts. ARGUMENTS go to pytest: `laurel test tests/unit -k ledger`."""
    parallel = () if any(given in ("-n", "--pdb") or given.startswith("-n") for given in arguments) else ("-n", PROCESSES)
    distribution = ("--dist", "loadgroup") if parallel else ()
    command = [sys.executable, "-m", "pytest", *parallel, *distribution, *arguments]
    # A group of its own: whatever a test leaves behind is found there and ended with it.
    process = subprocess.Popen(command, cwd=REPOSITORY, process_group=0)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _frame: os.killpg(process.pid, received))
    raise SystemExit(0 if process.wait() == 0 else 1)
