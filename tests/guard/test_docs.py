"""The documents keep up with the code: every setting, error code and command is described, and every link leads somewhere."""

import re
from pathlib import Path

import pytest

from cli.main import COMMANDS, LazyGroup
from domain import errors
from domain.redemption.redemption import TRANSITIONS
from runtime.settings import PREFIX, SETTINGS

REPOSITORY = Path(__file__).parent.parent.parent
README = REPOSITORY / "README.md"
SOURCES = (
    "activities",
    "api",
    "benchmarks",
    "cli",
    "console",
    "demo",
    "domain",
    "loops",
    "migrations",
    "runtime",
    "stack",
    "storage",
    "tests",
    "workflows",
)
DOCUMENTS = [*sorted(REPOSITORY.glob("*.md")), *sorted((REPOSITORY / "docs").rglob("*.md"))]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def error_codes() -> set[str]:
    found = {errors.DomainError}
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


def test_every_contract_that_the_code_cites_is_in_the_repository() -> None:
    """`contract 4`, `contracts 3 and 4`: a pointer to a paper that nobody has explains nothing."""
    cited = re.compile(r"\bcontracts? (\d+)(?:(?:, | and )(\d+))*", re.IGNORECASE)
    sources = [path for folder in SOURCES for path in (REPOSITORY / folder).rglob("*.py")] + DOCUMENTS
    numbers = {number for path in sources for found in cited.finditer(path.read_text()) for number in re.findall(r"\d+", found.group())}
    present = {path.name.partition("-")[0] for path in (REPOSITORY / "docs/contract").glob("[0-9]*.md")}
    assert numbers, "the pattern finds none"
    assert numbers <= present


def test_decisions_are_numbered_once_and_listed() -> None:
    decisions = sorted((REPOSITORY / "docs/decisions").glob("*.md"))
    numbers = [int(path.name[:4]) for path in decisions]
    assert numbers == list(range(1, len(decisions) + 1)), "each number once, none left out"
    titles = [path.read_text().splitlines()[0].removeprefix("# ") for path in decisions]
    assert [int(title.partition(".")[0]) for title in titles] == numbers
    index = decisions[0].read_text()
    assert [path.name for path, title in zip(decisions[1:], titles[1:], strict=True) if f"- [{title}]({path.name})" not in index] == []
