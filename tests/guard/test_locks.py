"""What is decided on is kept: whoever reads a row to decide by it, and then writes, reads it with its lock.

A function of storage that can keep what it finds has a parameter `lock`. Who calls it without, in a function that goes on to write, stands
in the table below with the reason why nothing can come between.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
FOLDERS = ("activities", "api", "cli", "console", "loops", "storage")
WRITERS = (
    *("archive_", "change_", "close_", "disable_", "enable_", "insert_", "move_", "replace_"),
    *("revoke_", "rotate_", "set_", "start_", "update_", "write_"),
)
EXCUSED = {
    "create_leaderboard": "the unique index decides whether the id is taken",
    "create_grants": "who archives the item at the same time comes after those who are given it",
}


def functions() -> Iterator[tuple[str, ast.AsyncFunctionDef]]:
    for folder in FOLDERS:
        for path in sorted((REPOSITORY / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.AsyncFunctionDef):
                    yield str(path.relative_to(REPOSITORY)), node


def lockable() -> set[str]:
    return {
        node.name
        for path, node in functions()
        if path.startswith("storage/") and any(each.arg == "lock" for each in (*node.args.args, *node.args.kwonlyargs))
    }


def unlocked(node: ast.AsyncFunctionDef, keepers: set[str]) -> set[str]:
    """What the function reads without its lock and then writes by."""
    calls = [(ast.unparse(call.func).rpartition(".")[2], call) for call in ast.walk(node) if isinstance(call, ast.Call)]
    if node.name in keepers or not any(name.startswith(WRITERS) for name, _ in calls):
        return set()
    kept = {id(call) for _, call in calls if any(each.arg == "lock" for each in call.keywords)}
    return {name for name, call in calls if name in keepers and id(call) not in kept}


def test_what_is_decided_on_is_locked() -> None:
    keepers = lockable()
    assert {"find_board", "find_schedule", "find_run"} <= keepers, "the search finds them"
    found = {node.name: (path, names) for path, node in functions() if (names := unlocked(node, keepers))}
    assert {name: where for name, where in found.items() if name not in EXCUSED} == {}, "read it with `lock=True`, or say why not"
    assert EXCUSED.keys() <= found.keys(), "these are no more"


def test_the_rule_tells_them_apart() -> None:
    def judged(body: str) -> set[str]:
        (node,) = ast.parse(f"async def act():\n    {body}").body
        assert isinstance(node, ast.AsyncFunctionDef)
        return unlocked(node, {"find_board"})

    assert judged("board = find_board(c, t); write_board(c, board)") == {"find_board"}
    assert judged("board = storage.find_board(c, t, lock=True); write_board(c, board)") == set()
    assert judged("board = find_board(c, t); return board") == set()
