"""What says that it is well has proved it: each loop of a worker is watched, and no probe asks for less than its name says."""

import ast
import importlib
import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
FOLDERS = ("activities", "api", "console", "loops", "runtime", "storage", "workflows")


def test_every_loop_that_a_worker_keeps_up_is_expected_and_beats() -> None:
    """A loop beside the list would fail again and again behind a health that says "ok"."""
    tree = ast.parse((REPOSITORY / "worker.py").read_text())
    begun = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "keep_up"]
    watched = [
        call
        for loop in ast.walk(tree)
        if isinstance(loop, ast.For) and any(ast.unparse(node) == "pulse.expect(name, within)" for node in ast.walk(loop))
        for call in ast.walk(loop)
        if call in begun
    ]
    assert begun == watched
    (loops,) = [
        node.value for node in ast.walk(tree) if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "loops" and node.value
    ]
    assert isinstance(loops, ast.Dict)
    names = {ast.literal_eval(key) for key in loops.keys if key is not None}
    beaten = set()
    for path in sorted((REPOSITORY / "loops").rglob("*.py")):
        for said in re.findall(r"\bpulse\.beat\((.+?)\)", path.read_text()):
            module = importlib.import_module(".".join(path.relative_to(REPOSITORY).with_suffix("").parts))
            beaten.add(said.strip('"') if said.startswith('"') else getattr(module, said, said))
    assert names <= beaten, names - beaten


def test_no_probe_is_content_with_an_answer() -> None:
    """`SELECT 1` succeeds on a server that takes no write, lacks the schema, or has no room left: see `storage/platform/readiness.py`."""
    guilty = [
        str(path.relative_to(REPOSITORY))
        for path in (
            REPOSITORY / "worker.py",
            REPOSITORY / "server.py",
            *(path for folder in FOLDERS for path in (REPOSITORY / folder).rglob("*.py")),
        )
        for line in path.read_text().splitlines()
        if re.search(r"[\"']SELECT 1;?[\"']", line) and "readiness" not in str(path) and "embedded" not in str(path)
    ]
    assert guilty == ["runtime/postgres.py"]  # `notices`: whether a connection that only listens still leads anywhere


def test_what_watches_asks_for_the_proof() -> None:
    """Compose's probes ask whether an event could be persisted, and whether the worker works; not only whether something listens."""
    compose = (REPOSITORY / "docker-compose.yml").read_text()
    assert "http://127.0.0.1:8080/ready" in compose
    assert "http://127.0.0.1:9091/health" in compose
    assert "8080/health" not in compose
