"""The documents keep up with the code: every setting, error code and command is described, and every link leads somewhere."""

import re
from pathlib import Path

import pytest

from cli.main import COMMANDS, LazyGroup
from domain import error
from domain.redemption import TRANSITIONS
from runtime.settings import PREFIX, SETTINGS

REPOSITORY = Path(__file__).parent.parent.parent
README = REPOSITORY / "README.md"
DOCUMENTS = [README, *sorted((REPOSITORY / "docs").rglob("*.md"))]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def error_codes() -> set[str]:
    found = {error.DomainError}
    while more := {child for known in found for child in known.__subclasses__()} - found:
        found |= more
    return {each.code for each in found}


def anchor(heading: str) -> str:
    """The fragment under which a heading is found, as GitHub makes it."""
    plain = re.sub(r"[^\w\- ]", "", heading.strip("# ").lower())
    return plain.strip().replace(" ", "-")


def test_every_setting_stands_in_the_readme_as_the_code_has_it() -> None:
    rows = [f"| `{PREFIX}{s.name}` | {f'`{s.default}`' if s.default else '–'} | {s.description} |" for s in SETTINGS]
    listed = [line for line in README.read_text().splitlines() if line.startswith(f"| `{PREFIX}")]
    assert listed == rows


def test_every_error_code_is_explained_in_the_guide() -> None:
    guide = (REPOSITORY / "docs/guide/credentials-tenants-errors.md").read_text()
    explained = set(re.findall(r"^\| \d{3} \| `([A-Z_]+)` \|", guide, re.MULTILINE))
    assert explained == error_codes()


def test_every_command_stands_in_the_readme() -> None:
    table = README.read_text().split("## Command line")[1].split("## Settings")[0]
    present = LazyGroup().list_commands(None)  # type: ignore[arg-type]
    assert [name for name in present if f"`{name}" not in table] == []
    assert set(present) <= set(COMMANDS)


def test_the_state_diagram_is_the_table_of_moves() -> None:
    text = (REPOSITORY / "docs/architecture.md").read_text()
    drawn = {
        line.split(" ──▶ ")[0].strip(): set(line.split(" ──▶ ")[1].replace(" ", "").split("|"))
        for line in text.split("## The life of a redemption")[1].split("```")[1].splitlines()
        if " ──▶ " in line
    }
    assert drawn == {state.value: {new.value for new in moves} for state, moves in TRANSITIONS.items() if moves}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_every_link_leads_somewhere(document: Path) -> None:
    lost = []
    for target in LINK.findall(FENCE.sub("", document.read_text())):
        if target.startswith(("http://", "https://")):
            continue
        path, _, fragment = target.partition("#")
        file = (document.parent / path).resolve() if path else document
        headings = {anchor(line) for line in file.read_text().splitlines() if line.startswith("#")} if file.suffix == ".md" else set()
        if not file.exists() or (fragment and fragment not in headings):
            lost.append(target)
    assert not lost
