"""Every metric is documented, and named as Prometheus' own rules (`promtool check metrics`) ask."""

import re
from pathlib import Path

from prometheus_client import REGISTRY

import server  # noqa: F401 - whatever it imports registers its metrics
from runtime.metrics import PLATFORM, PROCESS
from storage.platform.gauges import GAUGES

REPOSITORY = Path(__file__).parent.parent.parent
UNITS = ("milliseconds", "minutes", "hours", "kilobytes", "percent")


def families() -> dict[str, tuple[str, str]]:
    """Type and help of each metric by the name under which Prometheus stores it."""
    found = {gauge.name: ("gauge", gauge.help) for gauge in GAUGES}
    for family in [*REGISTRY.collect(), *PROCESS.collect(), *PLATFORM.collect()]:
        if family.name.startswith("laurel_"):
            found[family.name + ("_total" if family.type == "counter" else "")] = (family.type, family.documentation)
    return found


def test_every_metric_is_documented_and_no_other() -> None:
    listed = (REPOSITORY / "docs/operations.md").read_text().split("## Metrics")[1].split("### What to alert on")[0]
    named = set(re.findall(r"`(laurel_[a-z_]+)`", listed))
    assert named == set(families())


def test_alerts_ask_for_metrics_that_exist() -> None:
    alerts = (REPOSITORY / "docs/operations.md").read_text().split("### What to alert on")[1].split("\n## ")[0]
    assert set(re.findall(r"laurel_[a-z_]+", alerts)) <= set(families())


def test_names_follow_the_rules() -> None:
    for name, (kind, help_text) in families().items():
        assert help_text, name
        assert (kind == "counter") is name.endswith("_total"), name
        assert not any(unit in name for unit in UNITS), name
        assert not name.endswith(("_count", "_sum", "_bucket")), name
