"""docs/limits.md is the table of bounds that the code declares, and no bound is declared that nothing uses."""

import re
from pathlib import Path

from domain import limits
from loops.relay import DELIVERY_SECONDS, POLL_SECONDS
from runtime import http, http_server, jwks, postgres, redis, resolver, temporal_limits
from storage.limit import COUNTED
from workflows.scoring import HEARTBEAT_TIMEOUT

REPOSITORY = Path(__file__).parent.parent.parent
DOCUMENT = REPOSITORY / "docs/limits.md"
FOLDERS = ("activities", "api", "cli", "console", "demo", "domain", "loops", "runtime", "stack", "storage", "workflows")


def test_the_document_is_the_table_of_the_code() -> None:
    written = DOCUMENT.read_text()
    assert written[written.index("\n## ") + 1 :].strip() == table().strip()


def test_every_bound_is_used() -> None:
    sources = [path.read_text() for folder in FOLDERS for path in (REPOSITORY / folder).rglob("*.py")]
    sources += [*((REPOSITORY / name).read_text() for name in ("server.py", "worker.py")), Path(__file__).read_text()]
    names = [name for name, value in vars(limits).items() if isinstance(value, limits.Limit)]
    assert [name for name in names if not any(re.search(rf"limits\.{name}\b", source) for source in sources)] == []


def test_every_bound_has_a_name_of_its_own_and_a_sensible_value() -> None:
    assert len({(limit.section, limit.name, limit.scope) for limit in limits.LIMITS}) == len(limits.LIMITS)
    assert all(limit.value > 0 for limit in limits.LIMITS)


def test_every_definition_of_a_tenant_is_counted() -> None:
    assert set(COUNTED) == {limit for limit in limits.LIMITS if limit.beyond == limits.REFUSED and limit.section == limits.DEFINITIONS}


def test_what_knows_no_business_has_the_same_bounds() -> None:
    """`runtime/` imports nothing of the domain, so its constants are compared here."""
    assert limits.HEAD_BYTES.value == http_server.HEAD_BYTES
    assert limits.HEADERS.value == http_server.HEADERS
    assert limits.BESIDE_BODY_BYTES.value == http_server.BESIDE_BODY_BYTES
    assert limits.UNREAD_SECONDS.value == http_server.PatientProtocol.unread_seconds
    assert limits.JWKS_BYTES.value == jwks.DOCUMENT_BYTES
    assert limits.ANSWER_SECONDS.value == postgres.ANSWER_SECONDS
    assert limits.BRISK_SECONDS.value == postgres.BRISK_SECONDS
    assert f"{limits.LOCK_SECONDS.value}s" == postgres.SESSION["lock_timeout"]
    assert (
        f"{limits.IDLE_SECONDS.value}s" == postgres.SESSION["idle_in_transaction_session_timeout"] == postgres.SESSION["tcp_user_timeout"]
    )
    assert limits.REDIS_SECONDS.value == redis.TIMEOUT_SECONDS
    assert limits.WEBHOOK_READ_BYTES.value == http.READ_BYTES
    assert limits.LOOK_UPS.value == resolver.LOOK_UPS
    assert limits.TEMPORAL_SECONDS.value == temporal_limits.RPC_TIMEOUT.total_seconds()
    assert limits.TEMPORAL_CALL_SECONDS.value == temporal_limits.CALL_SECONDS
    assert limits.TEMPORAL_CONNECT_SECONDS.value == temporal_limits.CONNECT_SECONDS
    assert limits.TEMPORAL_POLL_SECONDS.value == temporal_limits.POLL_TIMEOUT.total_seconds()


def test_a_process_that_freezes_costs_nobody_else_more_than_twenty_seconds() -> None:
    """Its transactions, its pumps, and the commands that it took; these are not taken over while they may still be under way."""
    assert limits.IDLE_SECONDS.value < limits.LOCK_SECONDS.value < 20
    assert HEARTBEAT_TIMEOUT.total_seconds() + limits.IDLE_SECONDS.value <= 20
    assert limits.TAKEN_SECONDS.value > DELIVERY_SECONDS
    assert limits.TAKEN_SECONDS.value + POLL_SECONDS <= 20


def table() -> str:
    """All bounds as Markdown, a table for each section, in the order of declaration."""
    sections = dict.fromkeys(limit.section for limit in limits.LIMITS)
    return "\n\n".join(_section(section) for section in sections)


def _section(section: str) -> str:
    lines = [f"## {section}", "", "| What | At most | For each | Beyond |", "|---|---|---|---|"]
    for limit in (each for each in limits.LIMITS if each.section == section):
        settable = f" (`LAUREL_{limit.setting}`)" if limit.setting else ""
        most = f"{limit.value:,}".replace(",", " ")
        lines.append(f"| {limit.name} | {most} {limit.unit}{settable} | {limit.scope} | {limit.beyond} |")
    return "\n".join(lines)
