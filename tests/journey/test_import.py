"""`laurel import`: a file of events goes the way of all events, and a second run changes nothing."""

import json
from pathlib import Path

from click.testing import CliRunner

from cli.importer import import_
from runtime.postgres import Pool
from runtime.settings import Settings
from tests.builders.api import event, make_world, serving


async def test_a_history_is_imported_and_refused_lines_are_named(settings: Settings, pool: Pool, tmp_path: Path) -> None:
    lines = [json.dumps(event(f"e{number}", user=f"u{number % 9}")) for number in range(250)]
    lines[30], lines[120], lines[200] = "not json", json.dumps(event("bad", type="")), ""
    file = tmp_path / "history.ndjson"
    file.write_text("\n".join(lines))
    with serving(settings) as url:
        world = await make_world(settings, url)
        arguments = [str(file), "--tenant", str(world.tenant_id), "--api-key", world.keys["server"], "--url", url]
        first, again = (CliRunner().invoke(import_, arguments) for _ in range(2))
    assert (first.exit_code, first.stderr.splitlines()[-1:]) == (1, ["247 accepted, 0 repeated, 2 refused"])
    assert (again.exit_code, again.stderr.splitlines()[-1:]) == (1, ["0 accepted, 247 repeated, 2 refused"])
    refused = [json.loads(line) for line in (tmp_path / "history.ndjson.refused").read_text().splitlines()]
    assert [entry["line"] for entry in refused] == [31, 121]
    assert world.rows("SELECT count(*) FROM event_log") == [(247,)]
