"""Histories of workflows that were really run, kept to be replayed: a change that an old, running workflow could not follow is noticed.

`pytest --record-histories TESTS` writes them anew, with the tests that call `keep_history`. Do that only when the old ones need not be
followed any more; otherwise put the changed step behind `workflow.patched`.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import WorkflowHandle

HISTORIES = Path(__file__).parent / "histories"
PROCESS = re.compile(r"[0-9]+@[A-Za-z0-9.-]+")


async def keep_history(request: pytest.FixtureRequest, name: str, handle: WorkflowHandle[Any, Any]) -> None:
    """Write down the workflow's history so far as `histories/<name>.json`, when the run was asked to."""
    if request.config.getoption("--record-histories"):
        history = json.loads((await handle.fetch_history()).to_json())
        (HISTORIES / f"{name}.json").write_text(json.dumps(_nameless(history), indent=2) + "\n")


def _nameless(part: Any) -> Any:
    """The history without the name of the machine that it was recorded on."""
    if isinstance(part, dict):
        return {key: _nameless(value) for key, value in part.items()}
    if isinstance(part, str):
        return PROCESS.sub("worker", part)
    return [_nameless(each) for each in part] if isinstance(part, list) else part
