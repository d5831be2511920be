"""Clients that others' generators make of the API document: each compiles under its strictest checks, and does the main job."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY, Stack
from tests.node_packages import with_packages

SOURCES = "tests/generated_clients"
DOCUMENT = REPOSITORY / "docs" / "openapi.json"
SECONDS = 180
QUIET = {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true", "HEY_API_TELEMETRY": "off"}

pytestmark = pytest.mark.xdist_group("stack")


def run(*command: str, cwd: Path, environ: Mapping[str, str] | None = None) -> str:
    """What a program says; fails the test with it when the program does."""
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=SECONDS, check=False, env=os.environ | QUIET | (environ or {})
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def settings_of(stack: Stack) -> dict[str, str]:
    return {
        "LAUREL_URL": stack.described["api_url"],
        "LAUREL_ADMIN_KEY": stack.described["api_key"],
        "LAUREL_FULFILMENT_KEY": stack.described["fulfilment_key"],
    }


def check_job(told: str) -> None:
    """What the main job tells at its end."""
    done: dict[str, Any] = json.loads(told.strip().splitlines()[-1])
    assert (done["score"], done["status"]) == (255, "fulfilled")
    assert done["moves"][-1] == "fulfilled"


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the TypeScript clients with its packages."""
    return with_packages(SOURCES, tmp_path_factory.mktemp("clients"))


def test_what_linters_say_of_the_document_is_answered_in_their_configuration(packages: Path) -> None:
    run("npx", "--no-install", "redocly", "lint", "--config", "redocly.yaml", "--max-problems", "1", str(DOCUMENT), cwd=packages)
    said = run("npx", "--no-install", "redocly", "lint", "--config", "redocly.yaml", "--format", "json", str(DOCUMENT), cwd=packages)
    assert json.loads(said)["problems"] == []
    run("npx", "--no-install", "spectral", "lint", "--ruleset", ".spectral.yaml", "--fail-severity", "hint", str(DOCUMENT), cwd=packages)


def test_the_clients_of_typescript_compile_strictly_and_do_the_main_job(packages: Path, stack: Stack) -> None:
    run("npx", "--no-install", "openapi-typescript", str(DOCUMENT), "-o", "schema.d.ts", cwd=packages)
    run("npx", "--no-install", "openapi-ts", "-i", str(DOCUMENT), "-o", "heyapi", cwd=packages)
    run("npx", "--no-install", "tsc", "-p", ".", cwd=packages)
    for job in ("main_job_fetch.js", "main_job_heyapi.js"):
        check_job(run("node", f"built/{job}", cwd=packages, environ=settings_of(stack)))


def test_the_client_of_python_is_typed_strictly_and_does_the_main_job(tmp_path: Path, stack: Stack) -> None:
    bin_directory = Path(sys.executable).parent
    said = run(str(bin_directory / "openapi-python-client"), "generate", "--path", str(DOCUMENT), "--output-path", "client", cwd=tmp_path)
    assert "WARNING" not in said, said
    assert "Unable" not in said, said
    shutil.copy(REPOSITORY / SOURCES / "main_job.py", tmp_path / "client")
    run(sys.executable, "-m", "mypy", "--strict", "laurel_client", "main_job.py", cwd=tmp_path / "client")
    check_job(run(sys.executable, "main_job.py", cwd=tmp_path / "client", environ=settings_of(stack)))
