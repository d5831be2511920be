"""The examples of the integration guide run as they stand in it."""

import re
from pathlib import Path

import pytest

from stack.processes import free_port
from tests.conftest import REPOSITORY, Stack
from tests.journey.documents import BLOCK, missing_programs, run_examples

PAGES = [page for page in sorted((REPOSITORY / "docs/guide").glob("*.md")) if BLOCK.search(page.read_text())]
pytestmark = pytest.mark.xdist_group("stack")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_examples_of_a_page_run(stack: Stack, page: Path, tmp_path: Path) -> None:
    if missing := missing_programs(page):
        pytest.skip(f"this machine has no {', '.join(missing)}")
    printed = run_examples(page, stack, tmp_path, PARTNER_PORT=str(free_port()))
    assert '"error"' not in printed, printed
    if page.stem == "getting-started":
        assert '"status":"fulfilled"' in printed
        assert "callback" in printed
    if page.stem == "api-and-webhook":
        assert printed.count("verified") == 4
        assert "resent: delivered" in printed
    if page.stem == "events-and-integration":
        assert "[ '1. racer-1 100', '2. racer-2 60', '3. racer-3 40' ]" in printed
    if page.stem == "realtime-updates":
        assert "[(1, 'ann', 35), (2, 'bob', 30)]" in printed
    if page.stem == "leaderboard-overview":
        assert "1. peter 20, 2. heidi 12.5, 3. clara 12.5" in printed
        assert "paid 3 1" in printed
    if page.stem == "querying-results":
        assert "['cem', 'dan', 'eve']\n2 80 6 66.67\n304\n" in printed
        assert printed.endswith("1\n404\n404\n400\n")
    if page.stem == "creating-leaderboards":
        text = page.read_text()
        promised = text.split("prints\n\n```\n")[1].split("\n```")[0].splitlines()
        for line in re.findall(r"^prints (`.*)$", text, re.MULTILINE):
            promised += re.findall(r"`([^`]+)`", line.split("`: ")[0] + "`")
        assert len(promised) == 13
        assert [line for line in promised if line not in printed.splitlines()] == []
