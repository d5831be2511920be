"""A path is judged in the one way in which it is written: `api/gateway.py` says which that is, and the front refuses all others.

Behind the front, what somebody may do hangs on the route's template. Where a path itself is read, it stands below with the reason.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from api.gateway import is_plain

REPOSITORY = Path(__file__).parents[2]
READERS = {
    "api/middleware.py": {
        "_is_plain": "refuses every path that is not written in the one way, before anything else",
        "_refusal_at_sight": "which gateway it belongs to, behind that refusal",
        "_answer": "the front's own table of routes, behind both",
        "_take_events": "one of the two ingest paths, as the label of a metric",
    },
    "api/event/ingestion.py": {"answer": "which of the two ingest paths it is"},
    "api/leaderboard/fast_page.py": {"answer": "the board's name behind a prefix; whatever else it may be is Litestar's"},
    "api/leaderboard/socket.py": {"_board_of": "matched as a whole against the one route of WebSockets"},
    "api/credential_text.py": {
        "request_facts": "handed on to what is below",
        "bearer_of": "which 401 says that it is no credential",
    },
    "api/tenant/credential.py": {"__call__": "which 401 says that it is no credential"},
    "api/idempotency.py": {"_place": "the scope of a key where no route is known"},
    "console/request.py": {
        "path": "the address of the page, for its links; `present_path` marks one of the navigation",
        "provide_visit": "the page to come back to after the sign-in, which `safe_path` judges then",
    },
    "console/app.py": {"answer_error": "a line of the log, and the page to come back to"},
}
"""Functions of api/ and console/ that read a request's path, each with its reason. A new one wants `scope["path_template"]` instead."""


def functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for folder in ("api", "console"):
        for path in sorted((REPOSITORY / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    yield str(path.relative_to(REPOSITORY)), node


def reads_a_path(node: ast.AST) -> bool:
    """`scope["path"]`, `scope["raw_path"]`, `scope.get("path")`, `request.url.path`, `facts.path` and `error.path`."""
    match node:
        case ast.Subscript(value=of, slice=ast.Constant(value="path" | "raw_path"), ctx=ast.Load()):
            return ast.unparse(of).endswith("scope")
        case ast.Call(func=ast.Attribute(value=of, attr="get"), args=[ast.Constant(value="path" | "raw_path"), *_]):
            return ast.unparse(of).endswith("scope")
        case ast.Attribute(value=of, attr="path", ctx=ast.Load()):
            return ast.unparse(of).endswith(("url", "facts", "error"))
    return False


def test_a_requests_path_is_read_where_it_is_known_to_be_written_in_the_one_way() -> None:
    found: dict[str, set[str]] = {}
    for path, function in functions():
        if any(reads_a_path(node) for node in ast.walk(function)):
            found.setdefault(path, set()).add(function.name)
    assert found == {path: set(names) for path, names in READERS.items()}


def test_nothing_hangs_on_how_a_path_ends() -> None:
    """What a path ends in is chosen by whoever names the thing: `/v1/admin/leaderboards/preview` may be a board of that name."""
    guilty = [
        f"{path}:{node.lineno}"
        for path, function in functions()
        for node in ast.walk(function)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("endswith", "removesuffix")
        and any(word in ast.unparse(node.func.value) for word in ("path", "route", "template", "url"))
    ]
    assert not guilty


@pytest.mark.parametrize(
    "path", ["/v1//admin/x", "//v1/admin/x", "/v1/./admin", "/v1/../admin", "/v1/admin/..", "/v1%2fadmin", "/v1%2Fadmin", "/v1/a%2F..%2Fb"]
)
def test_every_other_way_to_write_a_path_is_refused(path: str) -> None:
    assert not is_plain(unquote(path), path.encode())
    assert not is_plain(unquote(path.replace("..", "%2e%2e")), path.replace("..", "%2e%2e").encode())
