"""The walk-through of the readme works when pasted."""

from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, Stack
from tests.journey.documents import missing_programs, run_examples

README = REPOSITORY / "README.md"
pytestmark = [
    pytest.mark.xdist_group("stack"),
    pytest.mark.skipif("curl" in missing_programs(README), reason="there is no curl on this machine"),
]


def test_the_walk_through_works_when_pasted(stack: Stack, tmp_path: Path) -> None:
    printed = run_examples(README, stack, tmp_path)
    assert '"error"' not in printed
    assert '"duplicate":true' in printed
    assert '"user_id":"an","rank":1,"score":155' in printed.replace(" ", "")
    assert '"available":150,' in printed
    assert '"status":"fulfilled"' in printed
    assert '"available":50,' in printed.splitlines()[-1]
