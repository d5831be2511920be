"""Events, boards and sockets: a hostile tenant or a stranger beside a good tenant slows it within bounds."""

import itertools
from functools import partial

import httpx
import psycopg

from domain import limits
from tests.board_socket import watching
from tests.fairness import Action, Pair, asks, bulk, hold_fair, sends, until
from tests.journey.programme import add_board, event, eventually, post

COSTLY = {
    "type": "object",
    "properties": {f"p{n}": {"type": "string", "pattern": "^([a-z]{1,8}[0-9]{0,8}){1,3}$"} for n in range(20)},
}


def test_strangers_slow_no_sender_of_events(pair: Pair) -> None:
    stranger = pair.foe(None)
    unknown = [{"Authorization": f"Bearer lk_{n:032x}_{'0' * 43}"} for n in range(1000)]
    numbers = itertools.count()
    hold_fair(
        sends(pair.good, "/v1/events", lambda: event("goal", "ann"), {202}),
        asks(stranger, "/v1/leaderboards/best", {401}),
        lambda: _guess(stranger, unknown[next(numbers) % 1000]),
        asks(pair.foe(None), "/console/dashboard", {200, 303}),
        asks(pair.foe(None), "/no/such/path", {404}),
    )


def _guess(client: httpx.Client, headers: dict[str, str]) -> None:
    assert client.get("/v1/admin/settings", headers=headers).status_code in (401, 429, 503)


def test_costly_bulk_events_slow_no_event(pair: Pair) -> None:
    foe = pair.foe()
    post(foe, "/v1/admin/event-types", {"name": "costly", "schema": COSTLY})
    attrs = {f"p{n}": "abcdefgh12345678" * 3 for n in range(20)}
    hold_fair(
        sends(pair.good, "/v1/events", lambda: event("goal", "ann"), {202}),
        sends(foe, "/v1/events/bulk", bulk("costly", **attrs), {202}),
        sends(pair.foe(), "/v1/events/bulk", bulk("costly", p0="z" * 5000), {202}),
    )


def test_deep_pages_and_many_windows_slow_no_board(pair: Pair) -> None:
    foe, other = pair.foe(), pair.foe()
    board, own = add_board(foe, "flood"), add_board(pair.good, "goal")
    for n in range(20):
        post(foe, "/v1/events/bulk", {"events": [event("flood", f"u{n * 100 + m}", points=m) for m in range(100)]}, 202)
    post(pair.good, "/v1/events/bulk", bulk("goal", 50, points=1)(), 202)
    eventually(lambda: foe.get(f"/v1/leaderboards/{board}").json()["total"] == 2000)
    offsets = itertools.count()
    hold_fair(
        asks(pair.good, f"/v1/leaderboards/{own}", {200}, params={"limit": 20}),
        lambda: asks(foe, f"/v1/leaderboards/{board}", {200}, params={"limit": 1000, "offset": next(offsets) % 1000})(),
        lambda: asks(other, f"/v1/leaderboards/{board}", {200, 400, 404}, params={"window": f"2025-01-{next(offsets) % 28 + 1:02}"})(),
        asks(pair.foe(), f"/v1/leaderboards/{board}/user/u77", {200}, params={"limit": 100}),
    )


def test_a_socket_for_each_view_slows_no_socket(pair: Pair) -> None:
    foe, url = pair.foe(), pair.good_world.url
    board, own = add_board(foe, "flood"), add_board(pair.good, "goal")
    post(foe, "/v1/events/bulk", bulk("flood", points=1)(), 202)
    for n in range(40):
        pair.clients.enter_context(watching(url, board, pair.hostile_world.keys["read"], close_timeout=0.1)).ask(
            type="configure", filter={"type": "around_user", "user_id": f"u{n}", "range": 50}
        )
    mine = pair.clients.enter_context(watching(url, own, pair.good_world.keys["read"]))

    def told() -> None:
        post(pair.good, "/v1/events", event("goal", "ann", points=1), 202)
        mine.change()

    hold_fair(told, sends(pair.foe(), "/v1/events/bulk", bulk("flood", points=1), {202}), samples=6)


def _scored(client: httpx.Client, board: str, event_type: str, others: int = 0) -> Action:
    """Sends an event of a user that has none, behind so many others, and waits until the board shows it."""
    numbers = itertools.count()

    def action() -> None:
        last = event(event_type, f"last-{next(numbers)}", points=1, a=1, b=2)
        events = [event(event_type, f"u{n}", points=1, a=1, b=2) for n in range(others)]
        post(client, "/v1/events/bulk", {"events": [*events, last]}, 202)
        until(lambda: client.get(f"/v1/leaderboards/{board}/score/{last['actor']['user_id']}").status_code == 200)

    return action


def test_as_many_boards_as_there_may_be_slow_no_score_of_another(pair: Pair) -> None:
    foe = pair.foe()
    boards = [add_board(foe, "flood", expression="attrs.a + attrs.b * 2") for _ in range(limits.LEADERBOARDS.value)]
    floods = [_scored(pair.foe(), boards[place], "flood", 24) for place in (0, -1)]
    hold_fair(_scored(pair.good, add_board(pair.good, "goal"), "goal"), *floods, rounds=3, samples=8)


def test_a_board_that_changes_all_the_time_slows_no_score_of_another(pair: Pair) -> None:
    foe = pair.foe()
    boards = [add_board(foe, "flood", expression=f"attrs.a + attrs.b * {n}") for n in range(100)]
    change_often(pair, boards[0])
    numbers = itertools.count()

    def change(client: httpx.Client) -> None:
        rules = [{"event_type": "flood", "points_expression": f"attrs.points * {next(numbers)}"}]
        config = {"timeframe": {"type": "all_time"}, "scoring": {"rules": rules}}
        answer = client.put(f"/v1/admin/leaderboards/{boards[0]}", json={"name": "B", "config": config})
        assert answer.status_code in (200, 429), answer.text

    hostile = [partial(change, pair.foe()), *(_scored(pair.foe(), boards[-1], "flood", 24) for _ in range(2))]
    hold_fair(_scored(pair.good, add_board(pair.good, "goal"), "goal"), *hostile, rounds=3, samples=8)


def change_often(pair: Pair, leaderboard_id: str, times: int = 10_000) -> None:
    """As if it had been changed so many times in the last hour, each time to other rules."""
    with psycopg.connect(pair.hostile_world.database_url) as connection:
        connection.execute(
            """
            WITH board AS (
                UPDATE leaderboard SET version = version + %(times)s WHERE tenant_id = %(tenant)s AND leaderboard_id = %(id)s RETURNING *
            )
            INSERT INTO leaderboard_version (tenant_id, board_id, version, status, config, valid_from)
            SELECT tenant_id, board_id, 1 + n, status,
                   jsonb_set(config, '{scoring,rules,0,points_expression}', to_jsonb('attrs.points * ' || n)),
                   created_at - make_interval(secs => (%(times)s - n) * 0.1)
            FROM board, generate_series(1, %(times)s) AS n
            """,
            {"times": times, "tenant": pair.hostile_world.tenant_id, "id": leaderboard_id},
        )
