"""Runs the examples of a document: every fenced block tagged `run`, in order, in one shell, as somebody who pastes them."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, Stack

BLOCK = re.compile(r"^```(bash|js|python) run ?(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TIMEOUT_SECONDS = 300.0


def missing_programs(document: Path) -> list[str]:
    """What the document's examples need and this machine lacks."""
    needed = {"curl", "python3"} | ({"node"} if "```js run" in document.read_text() or "node " in document.read_text() else set())
    return sorted(program for program in needed if shutil.which(program) is None)


def launcher() -> dict[str, str]:
    """What makes `./laurel` run in the environment of this test run, when that is one of its own making."""
    return {"LAUREL_VENV": sys.prefix} if (Path(sys.prefix) / "laurel.installed").exists() else {}


def run_examples(document: Path, stack: Stack, workplace: Path, **environment: str) -> str:
    """What the examples print; fails with it when one of them fails. Background jobs end with the shell."""
    script = ["set -euo pipefail"]
    for language, name, body in BLOCK.findall(document.read_text()):
        if language == "bash":
            script.append(body)
        else:
            (workplace / name).write_text(body)
            script.append(f"{'node' if language == 'js' else sys.executable} {workplace / name}")
    assert len(script) > 1, "the document has no example to run"
    output, more = workplace / "printed", {**launcher(), **environment}
    with output.open("wb") as file:
        shell = subprocess.Popen(
            ["bash", "-c", "\n".join(script)],
            cwd=REPOSITORY,
            env={"PATH": os.environ["PATH"], "HOME": str(workplace), "STACK": str(stack.data_dir / "stack.json"), **more},
            stdout=file,
            stderr=subprocess.STDOUT,
            process_group=0,
        )
    try:
        shell.wait(TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        pytest.fail(f"took more than {TIMEOUT_SECONDS:.0f} s:\n{output.read_text()}")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGKILL)
        shell.wait()
    printed = output.read_text()
    assert shell.returncode == 0, printed
    return printed
