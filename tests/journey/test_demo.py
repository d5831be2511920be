"""`laurel demo` as a newcomer runs it: on generated play, on a file, again, and where it cannot work."""

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, Stack

pytestmark = pytest.mark.xdist_group("stack")

MATCHES = """date,home_team,away_team,home_score,away_score,tournament,city,country,neutral
1872-11-30,Scotland,England,0,0,Friendly,Glasgow,Scotland,FALSE
1873-03-08,England,Scotland,4,2,Friendly,London,England,FALSE
1901-02-18,São Tomé and Príncipe,Côte d'Ivoire,1,7,Cup,Göteborg,Sweden,TRUE
1901-02-18,"Saint-Pierre, Miquelon",Åland Islands,2,2,Cup,Göteborg,Sweden,TRUE
1969-12-31,Åland Islands,Scotland,3,3,Cup,Mariehamn,Finland,TRUE
1970-01-01,Scotland,Åland Islands,1,0,Friendly,Glasgow,Scotland,FALSE
2026-07-19,England,Côte d'Ivoire,5,1,FIFA World Cup,East Rutherford,United States,TRUE
"""


def run_demo(data_dir: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command: Sequence[str] = [sys.executable, "-m", "cli", "demo", "--data-dir", str(data_dir), *options]
    variables = {"PATH": os.environ["PATH"], **environment}
    return subprocess.run(command, cwd=REPOSITORY, env=variables, capture_output=True, text=True, check=False, timeout=400)


def test_generated_play_is_verified_step_by_step_and_again(stack: Stack) -> None:
    for _ in range(2):
        done = run_demo(stack.data_dir, "--events", "600")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "All " in done.stdout
        assert "✗" not in done.stdout
        assert "all 600 events were acknowledged" in done.stdout
        assert f"{stack.described['temporal_ui_url']}/namespaces/default/workflows/redemption" in done.stdout
        assert "\x1b[" not in done.stdout, "plain lines where nobody looks"
        assert "Traceback" not in done.stderr


def test_a_file_is_played_with_its_real_names_and_old_dates(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "matches.csv").write_text(MATCHES, encoding="utf-8")
    done = run_demo(stack.data_dir, "--file", str(tmp_path / "matches.csv"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all 14 events were acknowledged" in done.stdout
    assert "Åland Islands" in done.stdout


def test_it_runs_with_the_environment_alone_and_makes_a_tenant_for_itself(stack: Stack, tmp_path: Path) -> None:
    done = run_demo(tmp_path, "--events", "200", **stack.described["env"])
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_file_that_is_no_list_of_matches_is_refused_by_its_line(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "matches.csv").write_text(MATCHES.replace("4,2", "four,2"), encoding="utf-8")
    done = run_demo(stack.data_dir, "--file", str(tmp_path / "matches.csv"))
    assert done.returncode == 1
    assert "line 3" in done.stdout


def test_a_receiver_port_in_use_fails_with_a_clear_message(stack: Stack) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run_demo(stack.data_dir, "--events", "20", "--receiver-port", str(port))
    assert done.returncode == 1
    assert f"could not listen on port {port}" in done.stdout


def test_without_a_stack_it_says_how_to_start_one(tmp_path: Path) -> None:
    done = run_demo(tmp_path, "--events", "20")
    assert done.returncode == 1
    assert "./laurel up" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
