"""The checks of style, types and imports, as tests: one red line among the others when one of them fails."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from temporalio.service import WorkflowService

from runtime.temporal_limits import LONG_POLLS

REPOSITORY = Path(__file__).parent.parent.parent
SOURCE_FOLDERS = ("domain", "storage", "activities", "loops", "workflows", "console", "api", "stack", "demo", "cli", "runtime")


def tool(*arguments: str) -> None:
    done = subprocess.run(arguments, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.fail(f"{' '.join(arguments[:4])}\n{done.stdout}{done.stderr}", pytrace=False)


def sources() -> list[Path]:
    return [
        REPOSITORY / "worker.py",
        REPOSITORY / "server.py",
        *(path for folder in SOURCE_FOLDERS for path in sorted((REPOSITORY / folder).rglob("*.py"))),
    ]


def test_ruff_finds_nothing() -> None:
    tool(sys.executable, "-m", "ruff", "check", ".")


@pytest.mark.xdist_group("mypy")
def test_mypy_finds_nothing() -> None:
    tool(sys.executable, "-m", "mypy")


def test_imports_point_inwards() -> None:
    tool(str(Path(sys.executable).parent / "lint-imports"), "--no-cache")


def test_the_composition_roots_know_what_they_put_together_and_nothing_of_what_starts_them() -> None:
    """import-linter looks at packages only; `server.py` and `worker.py` stand above these and below `stack`."""
    ours = {*SOURCE_FOLDERS, "benchmarks", "server", "worker"}
    known = {
        name: {
            module.partition(".")[0]
            for node in ast.walk(ast.parse((REPOSITORY / f"{name}.py").read_text()))
            if isinstance(node, ast.Import | ast.ImportFrom)
            for module in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [each.name for each in node.names])
        }
        & ours
        for name in ("server", "worker")
    }
    assert known == {
        "server": {"api", "console", "domain", "loops", "runtime", "storage"},
        "worker": {"activities", "domain", "loops", "runtime", "storage", "workflows"},
    }


def test_only_the_settings_read_the_environment() -> None:
    readers = {}
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv", "environb"):
                readers[str(path.relative_to(REPOSITORY))] = node.lineno
    # The launcher hands the environment on as it is; it does not read it.
    assert set(readers) <= {"runtime/settings.py", "stack/child.py"}, readers


def test_annotations_are_real_at_run_time() -> None:
    guilty = [
        str(path.relative_to(REPOSITORY))
        for path in sources()
        if any(words in path.read_text() for words in ("from __future__ import annotations", "if TYPE_CHECKING"))
    ]
    assert not guilty


def test_no_module_has_a_name_that_says_nothing() -> None:
    empty_names = {"utils", "helpers", "services", "managers", "base", "common", "misc"}
    assert not [path for path in sources() if path.stem in empty_names or path.parent.name in empty_names]


def test_a_public_class_has_a_name_of_its_own() -> None:
    """A `RankedEntry`, a `LedgerEntry` and a `NavLink`, not three of `Entry`: a name leads to one thing (docs/glossary.md)."""
    named: dict[str, list[str]] = {}
    for path in sources():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                named.setdefault(node.name, []).append(str(path.relative_to(REPOSITORY)))
    assert not {name: paths for name, paths in named.items() if len(paths) > 1}


def test_files_stay_short_enough_to_read() -> None:
    longest = {str(path.relative_to(REPOSITORY)): len(path.read_text().splitlines()) for path in sources()}
    assert not {path: lines for path, lines in longest.items() if lines > 400}


def functions() -> Iterator[tuple[Path, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield path, node


def test_functions_stay_short() -> None:
    guilty = []
    for path, node in functions():
        lines = (node.end_lineno or node.lineno) - node.lineno + 1
        if lines > 70:
            guilty.append(f"{path.relative_to(REPOSITORY)}:{node.lineno} {node.name} has {lines} lines")
    assert not guilty, "\n".join(guilty)


CALLED_BY_NAME = re.compile(r"(get|post|put|patch|delete|(click|codes)\.command)\(")
"""Litestar and click hand each parameter over by its name."""
NOT_OURS = {"connect_tcp": "httpcore's own method, which calls it by these"}


def test_what_comes_after_the_fourth_parameter_is_given_by_name() -> None:
    guilty = []
    for path, node in functions():
        given = [each.arg for each in (*node.args.posonlyargs, *node.args.args) if each.arg not in ("self", "cls")]
        by_name = any(CALLED_BY_NAME.match(ast.unparse(each)) for each in node.decorator_list) or node.name in NOT_OURS
        if len(given) > 4 and not by_name:
            guilty.append(f"{path.relative_to(REPOSITORY)}:{node.lineno} {node.name}({', '.join(given)})")
    assert not guilty, "\n".join(guilty)


def test_no_statement_takes_a_limited_number_of_rows_by_a_subquery() -> None:
    """`… IN (SELECT … LIMIT n FOR UPDATE SKIP LOCKED)` takes more than n when the planner runs the subquery again for each row.

    A `WITH … AS MATERIALIZED` runs once.
    """
    subquery = re.compile(r"\bIN\s*\(\s*SELECT(?:(?!RETURNING|\"\"\").)*?\bLIMIT\b[^\"]{0,40}?FOR (?:NO KEY )?UPDATE", re.DOTALL)
    assert not [path.name for path in sources() if subquery.search(path.read_text())]


def test_rows_that_a_statement_changed_are_counted_where_a_pipeline_is_thought_of() -> None:
    """A cursor's `rowcount` and `statusmessage` say -1 and nothing in a pipeline whose answers are not read: `count_changed` reads them."""
    readers = {
        str(path.relative_to(REPOSITORY))
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in ("rowcount", "statusmessage")
    }
    assert readers == {"runtime/postgres.py"}


def test_a_dead_worker_is_noticed_within_seconds() -> None:
    """A heartbeat timeout of minutes lets work lie for minutes each time that a worker dies."""
    found = {
        str(path.relative_to(REPOSITORY)): re.findall(r"^HEARTBEAT_TIMEOUT = timedelta\((.*)\)$", path.read_text(), re.MULTILINE)
        for path in sorted((REPOSITORY / "workflows").glob("*.py"))
    }
    stated = {path: text for path, texts in found.items() for text in texts}
    assert len(stated) >= 7
    assert {path: text for path, text in stated.items() if not re.fullmatch(r"seconds=([1-9]|[12][0-9]|30)", text)} == {}


def test_no_call_to_temporal_goes_without_a_time_limit() -> None:
    """Calls of the client get theirs in `runtime/temporal_limits.py`; raw calls and those that may wait name one."""
    waiting = {"execute_update", "start_update", "execute_update_with_start_workflow", "start_update_with_start_workflow", "fetch_history"}
    guilty = []
    for path in sources():
        for call in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)):
            if not isinstance(call.func, ast.Attribute):
                continue
            named, of = {each.arg for each in call.keywords}, ast.unparse(call.func.value)
            raw = of.endswith(("workflow_service", "operator_service")) and "timeout" not in named
            endless = call.func.attr in waiting and "rpc_timeout" not in named
            connects = call.func.attr == "connect" and of == "Client" and path.name != "temporal.py"
            if raw or endless or connects:
                guilty.append(f"{path.relative_to(REPOSITORY)}:{call.lineno}")
    assert not guilty


def test_the_exchanges_with_temporal_that_may_take_longer_are_ones_that_there_are() -> None:
    """All others have the limit of a call, also those that a later release of the SDK adds."""
    assert {name for name in LONG_POLLS if not hasattr(WorkflowService, name)} == set()
