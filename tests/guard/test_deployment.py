"""What describes a deployment must be well formed and agree with the code."""

import re
import stat
import subprocess
from pathlib import Path

import yaml

from runtime.search_attributes import SEARCH_ATTRIBUTES
from runtime.settings import PREFIX, SETTINGS

REPOSITORY = Path(__file__).parent.parent.parent


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
    assert used <= known | {"LAUREL_POSTGRES_PASSWORD"}


def test_compose_passes_every_setting_on() -> None:
    """What names Compose's own parts is fixed there; all else can be set in `.env`, and is by default what the README says."""
    fixed = {"DATABASE_URL", "REDIS_URL", "TEMPORAL_ADDRESS", "TEMPORAL_NAMESPACE", "SECRET_KEY", "API_HOST", "API_PORT"}
    of_worker = {"WORKER_METRICS_HOST", "WORKER_METRICS_PORT", "WORKER_HEALTH_PORT"}
    of_servers = {"ENVIRONMENT": "production", "LOG_FORMAT": "json"}
    services = compose()["services"]
    for setting in SETTINGS:
        variable = PREFIX + setting.name
        if setting.name in fixed | of_worker:
            assert variable in services["worker"]["environment"]
        else:
            default = of_servers.get(setting.name, setting.default)
            assert services["api"]["environment"][variable] == f"${{{variable}:-{default}}}"
            assert services["worker"]["environment"][variable] == f"${{{variable}:-{default}}}"


def test_compose_runs_the_platform_with_no_rights_of_its_own() -> None:
    for name in ("api", "worker", "migrate"):
        service = compose()["services"][name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]


def test_compose_registers_every_search_attribute() -> None:
    setup = str(compose()["services"]["temporal-setup"])
    for name in SEARCH_ATTRIBUTES:
        assert f"{name}" in setup


def test_the_pins_carry_hashes_and_no_address() -> None:
    for name in ("requirements.txt", "requirements-dev.txt"):
        text = (REPOSITORY / name).read_text()
        assert "://" not in re.sub(r"^\s*#.*$", "", text, flags=re.MULTILINE)
        assert "--index-url" not in text
        assert "--extra-index-url" not in text
        pins = re.findall(r"^[A-Za-z0-9_.\[\]-]+==", text, flags=re.MULTILINE)
        blocks = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]
        assert len(pins) == len(blocks)
        assert all("--hash=sha256:" in block for block in blocks)


def test_the_development_pins_contain_the_others() -> None:
    def pins(name: str) -> set[str]:
        return set(re.findall(r"^[A-Za-z0-9_.\[\]-]+==\S+", (REPOSITORY / name).read_text(), flags=re.MULTILINE))

    assert pins("requirements.txt") <= pins("requirements-dev.txt")


def test_the_entry_scripts_are_executable_and_parse() -> None:
    for name, shell in (("laurel", "sh"), (".ci/run", "bash")):
        path = REPOSITORY / name
        assert path.stat().st_mode & stat.S_IXUSR
        subprocess.run([shell, "-n", str(path)], check=True)


def test_compose_waits_for_a_worker_that_lets_its_sends_end() -> None:
    drain = next(float(setting.default) for setting in SETTINGS if setting.name == "WORKER_DRAIN_SECONDS")
    assert drain > 30  # the longest timeout of an endpoint
    assert float(compose()["services"]["worker"]["stop_grace_period"].rstrip("s")) > drain + 5
