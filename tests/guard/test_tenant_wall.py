"""The second wall between tenants (docs/decisions/0007): keys that lead with the tenant, and SQL that names it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from storage.tables import metadata

REPOSITORY = Path(__file__).parents[2]
PLATFORM_TABLES = {
    "platform": "what is fixed once for all tenants",
    "lease": "work for all tenants that one process does at a time",
    "scoring_cursor": "a partition scores users of every tenant",
    "activity_cursor": "the rollup counts for every tenant",
    "sign_in_attempt": "counted before anyone knows whose address it is",
}
OWN_ORDER = {
    "event_log": "read by partition and position, by pumps that work for every tenant (decision 0003)",
    "outbox": "delivered in the order of writing, by a relay that works for every tenant",
}
"""Tables of tenants whose primary key does not lead with the tenant."""
FOR_EVERY_TENANT = {
    "storage/programme/dashboard_rollup.py": {"count_rows": "when the first tenant began: where the rollup begins"},
    "storage/tenant/console_session.py": {"open_session": "sessions that ended, by age"},
    "storage/tenant/credential.py": {"origin_is_allowed_somewhere": "a preflight names no tenant; yes or no is all that is answered"},
    "storage/event/search.py": {"_top_position": "where to look next; the rows themselves are read by tenant"},
    "storage/platform/gauges.py": {"GAUGES": "numbers of the whole platform, for Prometheus"},
    "storage/outbox.py": {
        "mark_sent": "the relay's leased rows, by their own key",
        "put_back": "the same",
        "give_back": "the same",
        "oldest_unsent": "a metric of the platform",
        "forget_sent": "provisioning, by age",
    },
    "storage/scoring/backlog.py": {"end_backlog": "whether any tenant is left behind in the partition"},
    "storage/webhook/endpoint.py": {"count_secrets_to_seal_again": "the rotation of the platform's key, from the command line"},
}
"""Functions with statements that do not name the tenant, each with its reason. Nothing that a request reaches belongs here."""
STATEMENT = re.compile(r"\b(?:FROM|JOIN|INTO|UPDATE)\s+(?:ONLY\s+)?([a-z_]+)")
TENANT_TABLES = {name for name, table in metadata.tables.items() if "tenant_id" in table.columns}


@pytest.fixture(scope="module")
def catalog(postgres_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        yield connection


def test_every_table_is_a_tenants_or_known_to_be_the_platforms() -> None:
    assert set(metadata.tables) - TENANT_TABLES == set(PLATFORM_TABLES)


def test_every_tenants_table_has_a_key_that_leads_with_the_tenant(catalog: psycopg.Connection) -> None:
    found = catalog.execute(
        """
        SELECT c.relname, c.relname IN (SELECT table_name FROM information_schema.columns WHERE column_name = 'tenant_id'),
               (SELECT a.attname FROM pg_constraint k JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.conkey[1]
                WHERE k.conrelid = c.oid AND k.contype = 'p')
        FROM pg_class c WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relnamespace = 'public'::regnamespace
        """
    ).fetchall()
    leads = {name: first for name, of_tenant, first in found if of_tenant}
    assert leads.keys() == TENANT_TABLES, "a table that no declaration names"
    assert {name for name, first in leads.items() if first != "tenant_id"} == set(OWN_ORDER)
    assert all(not metadata.tables[name].columns["tenant_id"].nullable for name in leads)


def test_every_reference_between_tables_of_tenants_holds_the_tenant_on_both_sides(catalog: psycopg.Connection) -> None:
    """So Postgres itself refuses a row that refers to another tenant's row."""
    found = catalog.execute(
        """
        SELECT k.conname, k.conrelid::regclass::text,
               array(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY AS n (num, i)
                     JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = n.num ORDER BY i),
               array(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY AS n (num, i)
                     JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = n.num ORDER BY i), k.confmatchtype
        FROM pg_constraint k WHERE k.contype = 'f' AND k.conparentid = 0
        """
    ).fetchall()
    assert found
    wrong = [
        (name, table)
        for name, table, columns, referred, _ in found
        if table in TENANT_TABLES and ("tenant_id", "tenant_id") not in zip(columns, referred, strict=True)
    ]
    assert not wrong


def texts(node: ast.AST, constants: dict[str, str]) -> Iterator[tuple[int, str]]:
    """(line, text) of every string in there. What an f-string puts in is taken to be the module's constant, else all texts around it."""
    inside = {value for part in ast.walk(node) if isinstance(part, ast.JoinedStr) for value in part.values}
    plain = " ".join(part.value for part in ast.walk(node) if isinstance(part, ast.Constant) and isinstance(part.value, str))
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and isinstance(part.value, str) and part not in inside:
            yield part.lineno, part.value
        elif isinstance(part, ast.JoinedStr):
            pieces = [
                str(piece.value) if isinstance(piece, ast.Constant) else constants.get(getattr(piece.value, "id", ""), plain)
                for piece in part.values
                if isinstance(piece, ast.Constant | ast.FormattedValue)
            ]
            yield part.lineno, "".join(pieces)


def statements(path: Path) -> Iterator[tuple[str, int, str]]:
    """(function or constant, line, text) of each string in a module that reads like SQL."""
    body = ast.parse(path.read_text()).body
    constants: dict[str, str] = {}
    for node in body:
        name = getattr(node, "name", "") or ",".join(getattr(target, "id", "") for target in getattr(node, "targets", ()))
        found = list(texts(node, constants))
        if isinstance(node, ast.Assign):
            constants[name] = " ".join(text for _, text in found)
        yield from ((name, line, text) for line, text in found if re.search(r"\b(SELECT|INSERT|UPDATE|DELETE|MERGE)\b", text))


def test_every_statement_on_a_tenants_table_names_the_tenant() -> None:
    nameless: dict[str, dict[str, int]] = {}
    for path in sorted((REPOSITORY / "storage").rglob("*.py")):
        for name, line, text in statements(path):
            if set(STATEMENT.findall(text)) & TENANT_TABLES and "tenant_id" not in text:
                nameless.setdefault(str(path.relative_to(REPOSITORY)), {})[name] = line
    assert {path: set(names) for path, names in nameless.items()} == {path: set(names) for path, names in FOR_EVERY_TENANT.items()}


def test_sql_lives_in_storage_alone() -> None:
    guilty = {}
    for folder in ("api", "activities", "workflows", "console", "domain"):
        for path in sorted((REPOSITORY / folder).rglob("*.py")):
            for name, line, text in statements(path):
                if set(STATEMENT.findall(text)) & set(metadata.tables) and re.match(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b", text):
                    guilty[f"{path.relative_to(REPOSITORY)}:{line}"] = name
    assert not guilty
