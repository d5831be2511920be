"""`laurel bench` measures a path beside its floor, on a stack of its own. Nothing is said here about speed."""

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

REPOSITORY = Path(__file__).parent.parent.parent


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-m", "cli", "bench", *arguments)
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=600, check=False)


@pytest.mark.slow
def test_one_part_is_measured_beside_its_floor_and_written_as_json(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    done = bench("ack", "--quick", "--pairs", "1", "--json", str(file))
    assert done.returncode == 0, done.stderr
    assert "ack at c=1, p50" in done.stdout
    results = msgspec.json.decode(file.read_bytes())["results"]
    assert [result["path"] for result in results] == ["ack at c=1, p50", "ack at c=1, p99"]
    for result in results:
        assert set(result) == {"path", "value", "unit", "floor", "ratio", "goal", "pass", "p50_ms", "p99_ms", "runs"}
        assert result["value"] > 0
        assert result["floor"] > 0
        assert result["ratio"] == pytest.approx(result["value"] / result["floor"])
        assert len(result["runs"]) == 1


@pytest.mark.slow
def test_parts_that_set_a_large_stage_are_measured(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    done = bench("callback", "import", "--quick", "--pairs", "1", "--json", str(file))
    assert done.returncode == 0, done.stderr
    results = msgspec.json.decode(file.read_bytes())["results"]
    assert [result["path"] for result in results] == ["callback PATCH, fulfilled", "import of 0.1 M events"]
    assert all(result["value"] > 0 and result["floor"] > 0 for result in results)
    assert "import took" in done.stderr


def test_an_unknown_part_is_refused() -> None:
    done = bench("everything")
    assert done.returncode == 2
    assert "unknown part everything" in done.stderr
