"""`./laurel` answers who only asks what it is without installing anything, and says what the installed command says."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


def said(*command: str, **environment: str) -> tuple[int, list[str], list[str]]:
    """Exit status, and the lines on standard output and standard error."""
    done = subprocess.run(command, cwd=REPOSITORY, env=os.environ | environment, capture_output=True, text=True, check=False)
    return done.returncode, *([line.rstrip() for line in text.splitlines()] for text in (done.stdout, done.stderr))


@pytest.mark.parametrize("arguments", [("--help",), ("-h",), ("--version",), ()], ids=" ".join)
def test_a_question_installs_nothing_and_has_the_same_answer(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    real = said(sys.executable, "-m", "cli", *arguments, COLUMNS="80")
    new = tmp_path / "new"
    assert said("./laurel", *arguments, LAUREL_VENV=str(new / "venv")) == real, "COLUMNS=80 ./laurel --help | sed 's/ *$//' > cli/help.txt"
    assert not new.exists()
