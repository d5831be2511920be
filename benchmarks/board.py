"""A board that is read: made over the public API, with the row of its window; its entries are the caller's."""

import psycopg

from benchmarks.bench import Bench
from benchmarks.measure import BenchError
from benchmarks.stack import Server
from domain.leaderboard.definition import Method
from runtime.ids import new_id
from storage.leaderboard.rankings import RankedBoard


def make_board(bench: Bench, api: Server, name: str) -> RankedBoard:
    """A board of all time by this name, whose rule is for an event type that nobody sends; raises `BenchError` when it is refused."""
    rules = [{"event_type": name, "points_expression": "attrs.score"}]
    config = {"timeframe": {"type": "all_time"}, "scoring": {"rules": rules}}
    with bench.admin(api) as client:
        answer = client.post("/v1/admin/leaderboards", json={"leaderboard_id": name, "name": name, "config": config})
    if answer.status_code != 201:
        raise BenchError(f"the board was not made: {answer.status_code} {answer.text[:400]}")
    window_id = new_id()
    with psycopg.connect(bench.stack.settings.database_url, autocommit=True) as connection:
        found = connection.execute(
            "INSERT INTO leaderboard_window (tenant_id, window_id, board_id, window_key, status, created_at)"
            " SELECT tenant_id, %s, board_id, 'all', 'open', now() FROM leaderboard WHERE tenant_id = %s AND leaderboard_id = %s"
            " RETURNING board_id",
            (window_id, bench.tenant_id, name),
        ).fetchone()
    assert found is not None
    return RankedBoard(bench.tenant_id, found[0], window_id, Method.SCORE_DESC, None)
