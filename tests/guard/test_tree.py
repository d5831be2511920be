"""Where things are is written down in docs/architecture.md, and is so: a newcomer who looks there finds what the walks name."""

import ast
import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
ARCHITECTURE = (REPOSITORY / "docs/architecture.md").read_text()
TREE = ARCHITECTURE.split("## The tree")[1].split("\n## ")[0]
ROLES = ("domain", "storage", "api", "console", "loops")
"""Those that are cut into areas; the others are flat."""
NOT_AREAS = {"tables"}
STEP = re.compile(r"`([\w/]+\.py)`(?:\s+\((`\w+`(?:,\s+`\w+`)*)\))?")
"""`path` (`name`, `name`)"""
PATH = re.compile(r"`((?:\w+/)+[\w.]*)`")
DOCUMENTS = [*sorted((REPOSITORY / "docs").glob("*.md")), *sorted((REPOSITORY / "docs/decisions").glob("*.md"))]


def walks() -> list[tuple[str, tuple[str, ...]]]:
    return [(path, tuple(re.findall(r"\w+", names or ""))) for path, names in STEP.findall(TREE.split("### Where", 1)[1])]


@pytest.mark.parametrize(("path", "names"), walks())
def test_each_step_of_a_walk_is_where_the_walk_says(path: str, names: tuple[str, ...]) -> None:
    tree = ast.parse((REPOSITORY / path).read_text())
    present = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)}
    assert set(names) <= present, sorted(set(names) - present)


def test_the_walks_name_functions() -> None:
    steps = walks()
    assert len(steps) >= 20
    assert all(names for _, names in steps), "a step says what to look for in its file"


def test_the_table_of_areas_is_the_tree() -> None:
    written = {(area, role) for area, roles in re.findall(r"^\| `(\w+)` \|.*\| ([\w ]+) \|$", TREE, re.MULTILINE) for role in roles.split()}
    present = {(file.parent.name, role) for role in ROLES for file in (REPOSITORY / role).glob("*/*.py")}
    assert written == {(area, role) for area, role in present if area not in NOT_AREAS}


def test_the_drawn_tree_names_every_folder_of_code() -> None:
    drawn = set(re.findall(r"\b(\w+)/", TREE.split("```")[1]))
    present = {path.parent.name for path in REPOSITORY.glob("*/__init__.py")} | {"migrations", "deploy", "examples", "docs", "tests"}
    assert present <= drawn, present - drawn


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_paths_in_documents_lead_somewhere(document: Path) -> None:
    roots = {path.name for path in REPOSITORY.iterdir()}
    named = {path for path in PATH.findall(document.read_text()) if path.split("/")[0] in roots}
    assert not {path for path in named if not (REPOSITORY / path).exists()}
