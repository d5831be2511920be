"""Runs the examples of a document: every fenced block tagged `run`, in order, in one shell, as somebody who pastes them."""

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

from tests.conftest import REPOSITORY, Stack

BLOCK = re.compile(r"^```(bash|js) run ?(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TIMEOUT_SECONDS = 60.0


def missing_programs(document: Path) -> list[str]:
    """What the document's examples need and this machine lacks."""
    needed = {"curl", "python3"} | ({"node"} if "```js run" in document.read_text() or "node " in document.read_text() else set())
    return sorted(program for program in needed if shutil.which(program) is None)


def run_examples(document: Path, stack: Stack, workplace: Path, **environment: str) -> str:
    """What the examples print; fails with it when one of them fails. Background jobs end with the shell."""
    script = ["set -euo pipefail"]
    for language, name, body in BLOCK.findall(document.read_text()):
        if language == "bash":
            script.append(body)
        else:
            (workplace / name).write_text(body)
            script.append(f"node {workplace / name}")
    assert len(script) > 1, "the document has no example to run"
    shell = subprocess.Popen(
        ["bash", "-c", "\n".join(script)],
        cwd=REPOSITORY,
        env={"PATH": os.environ["PATH"], "HOME": str(workplace), "STACK": str(stack.data_dir / "stack.json"), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        process_group=0,
    )
    try:
        printed, _ = shell.communicate(timeout=TIMEOUT_SECONDS)
    finally:
        try:
            os.killpg(shell.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    assert shell.returncode == 0, printed
    return printed
