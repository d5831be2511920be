"""Python source compiled beside this process: the interpreter's compiler lets no other thread run, for seconds where the source is long."""

import marshal
import subprocess
import sys
from types import CodeType

SHORT_CHARACTERS = 20_000
"""Compiled here: it takes a few milliseconds, less than a process takes to start."""
PATIENCE_SECONDS = 120.0
_CHILD = (
    "import marshal, os, sys; os.nice(10); "
    "sys.stdout.buffer.write(marshal.dumps(compile(sys.stdin.buffer.read().decode(), '<rules>', 'exec')))"
)


def compile_beside(source: str) -> CodeType:
    """The code of a module. It blocks, so call it in a thread; others run meanwhile. Raises SubprocessError when the child fails."""
    if len(source) <= SHORT_CHARACTERS:
        return compile(source, "<rules>", "exec")
    command = [sys.executable, "-I", "-S", "-c", _CHILD]
    done = subprocess.run(command, input=source.encode(), stdout=subprocess.PIPE, check=True, timeout=PATIENCE_SECONDS)
    code: CodeType = marshal.loads(done.stdout)  # noqa: S302 - from a child of ours
    return code
