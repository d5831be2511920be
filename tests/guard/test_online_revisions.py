"""A revision runs while the platform serves: on a table that is in use no index is built under a lock, and no check reads all rows."""

import ast
import re
from pathlib import Path

import pytest

VERSIONS = Path(__file__).parent.parent.parent / "migrations" / "versions"
BEFORE_THIS_RULE = "0019"
LOCKING = {"create_index": 1, "create_check_constraint": 1, "create_foreign_key": 1, "create_unique_constraint": 1}
PLAIN = re.compile(r"CREATE\s+(?:UNIQUE\s+)?INDEX\s+(?!CONCURRENTLY)[^;]*?\bON\s+(?:ONLY\s+)?(\w+)", re.IGNORECASE)
VALIDATED = re.compile(r"ALTER\s+TABLE\s+(\w+)\s+ADD\s+CONSTRAINT(?![^;]*NOT\s+VALID)", re.IGNORECASE)
MADE = re.compile(r"CREATE\s+TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?(\w+)", re.IGNORECASE)


def offences(source: str) -> list[str]:
    """Tables that the revision in `source` did not make itself and does something to that locks writers out while it reads."""
    tree = ast.parse(source)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    made = {_text(call, 0) for call in calls if _name(call) == "create_table"} | {found for text in texts for found in MADE.findall(text)}
    touched = [_text(call, LOCKING[_name(call)]) for call in calls if _name(call) in LOCKING]
    touched += [found for text in texts for pattern in (PLAIN, VALIDATED) for found in pattern.findall(text)]
    return [table for table in touched if table not in made]


def _name(call: ast.Call) -> str:
    assert isinstance(call.func, ast.Attribute)
    return call.func.attr


def _text(call: ast.Call, place: int) -> str:
    given = call.args[place] if len(call.args) > place else None
    return str(given.value) if isinstance(given, ast.Constant) else "?"


@pytest.mark.parametrize("path", sorted(path for path in VERSIONS.glob("0*.py") if path.name[:4] > BEFORE_THIS_RULE) or [None])
def test_new_revisions_lock_no_table_that_is_in_use(path: Path | None) -> None:
    assert path is None or offences(path.read_text()) == [], "use runtime/online.py"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('op.create_index("i", "redemption", ["a"])', ["redemption"]),
        ('op.execute("CREATE INDEX i ON redemption (a)")', ["redemption"]),
        ('op.create_check_constraint("c", "redemption", "a > 0")', ["redemption"]),
        ('op.execute("ALTER TABLE redemption ADD CONSTRAINT c CHECK (a > 0)")', ["redemption"]),
        ('op.execute("ALTER TABLE redemption ADD CONSTRAINT c CHECK (a > 0) NOT VALID")', []),
        ('op.create_table("fresh")\nop.create_index("i", "fresh", ["a"])', []),
        ('op.execute("CREATE INDEX CONCURRENTLY i ON redemption (a)")', []),
        ('create_index("i", "redemption", ["a"])', []),
    ],
)
def test_the_rule_tells_them_apart(source: str, found: list[str]) -> None:
    assert offences(source) == found
