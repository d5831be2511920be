"""Temporal's statuses are known in one place: who knows one of them and not the others restarts what is paused, or fails at it."""

import ast
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
FOLDERS = ("activities", "api", "cli", "console", "loops", "runtime", "stack", "storage", "workflows")
STATES = "loops/workflow_state.py"
DESCRIBED_SAFELY = {"runtime/schedules.py": "a schedule has no status"}
"""Who lets the SDK describe something: of a workflow in a status that the SDK does not know, such as paused, it raises ValueError."""
NOT_FOUND = {
    "loops/one_by_one.py": "about one thing that was asked, and no absence of Temporal",
    "loops/relay.py": "an update of a workflow that is over: what it missed stands in PostgreSQL",
    "loops/stranded.py": "it has ended meanwhile",
    STATES: "Temporal does not know it",
    "runtime/schedules.py": "there is no such schedule: `None` and `False` say so",
}


def nodes() -> Iterator[tuple[str, ast.AST]]:
    for folder in FOLDERS:
        for path in sorted((REPOSITORY / folder).rglob("*.py")):
            yield from ((str(path.relative_to(REPOSITORY)), node) for node in ast.walk(ast.parse(path.read_text())))


def test_the_statuses_of_workflows_are_known_in_one_place() -> None:
    named = {
        path
        for path, node in nodes()
        if (isinstance(node, ast.Name) and node.id == "WorkflowExecutionStatus")
        or (isinstance(node, ast.alias) and node.name == "WorkflowExecutionStatus")
    }
    assert named == {STATES}


def test_workflows_are_described_by_the_raw_answer() -> None:
    called = {
        path
        for path, node in nodes()
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "describe" and not node.args
    }
    assert called == DESCRIBED_SAFELY.keys()


def test_whoever_knows_that_something_is_not_found_says_what_that_means() -> None:
    named = {
        path
        for path, node in nodes()
        if isinstance(node, ast.Attribute) and node.attr == "NOT_FOUND" and ast.unparse(node.value) == "RPCStatusCode"
    }
    assert named == NOT_FOUND.keys()
