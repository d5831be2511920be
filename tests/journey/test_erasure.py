"""A user is exported and erased on a running stack; afterwards nothing in the whole database tells of the person."""

import secrets
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg
import pytest
from psycopg import sql

from tests.conftest import Stack
from tests.journey.programme import PATIENCE_SECONDS, add_board, add_rule, event, eventually, fresh, points_of, post

TOLD = ["reward_redeemed", "redemption_updated", "leaderboard.window_closed"]
TEXTS = """
    SELECT c.table_name, c.column_name, c.data_type FROM information_schema.columns AS c JOIN information_schema.tables AS t
        USING (table_schema, table_name)
    WHERE c.table_schema = 'public' AND t.table_type = 'BASE TABLE' AND (c.data_type IN ('text', 'jsonb', 'bytea', 'ARRAY'))
"""


def traces(database_url: str, *words: str) -> dict[str, int]:
    """In how many rows of which columns of the whole database one of the words stands."""
    found: dict[str, int] = {}
    with psycopg.connect(database_url, autocommit=True) as connection:
        for table, column, kind in connection.execute(TEXTS).fetchall():
            text = sql.SQL("encode({}, 'escape')" if kind == "bytea" else "{}::text").format(sql.Identifier(column))
            query = sql.SQL("SELECT count(*) FROM {} WHERE {} ~ %s").format(sql.Identifier(table), text)
            try:
                row = connection.execute(query, ("|".join(words),)).fetchone()
            except psycopg.errors.UndefinedTable:  # a partition that retention has dropped meanwhile
                continue
            if row is not None and row[0]:
                found[f"{table}.{column}"] = row[0]
    return found


def eventually_no_traces(stack: Stack, *words: str) -> None:
    """Fails with where they still stand."""
    database_url, deadline = stack.described["database_url"], time.monotonic() + PATIENCE_SECONDS
    while left := traces(database_url, *words):
        if time.monotonic() > deadline:
            with psycopg.connect(database_url, autocommit=True) as connection:
                steps = connection.execute("SELECT requested_at, completed_at FROM erasure ORDER BY requested_at DESC LIMIT 3").fetchall()
            pytest.fail(f"{left} of {words}; erasures asked for and completed at {steps}; now {datetime.now(UTC)}")
        time.sleep(0.5)


def gamer(client: httpx.Client, stack: Stack, user: str) -> httpx.Client:
    token = post(client, "/v1/auth/gamer-token", {"user_id": user})["token"]
    return httpx.Client(base_url=stack.described["api_url"], headers={"Authorization": f"Bearer {token}"}, timeout=60.0)


def close_with(client: httpx.Client, user: str) -> str:
    """A board whose only window is being closed, with the user on it."""
    goal, board, today = fresh("goal"), fresh("over"), datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    span = {"starts_at": (today - timedelta(days=10)).isoformat(), "ends_at": (today + timedelta(days=10)).isoformat()}
    scoring = {"rules": [{"event_type": goal, "points_expression": "1"}]}
    config = {"timeframe": {"type": "custom", "grace_seconds": 0, **span}, "scoring": scoring}
    post(client, "/v1/admin/leaderboards", {"leaderboard_id": board, "name": "Over", "config": config})
    post(client, "/v1/events", event(goal, user), 202)
    eventually(lambda: client.get(f"/v1/leaderboards/{board}").json()["total"] == 1)
    (window,) = client.get(f"/v1/admin/leaderboards/{board}/windows").json()["windows"]
    post(client, f"/v1/admin/leaderboards/{board}/windows/{window['window_key']}/close", {}, 202)
    return board


def seed(client: httpx.Client, stack: Stack, user: str, secret: str) -> tuple[str, dict[str, Any]]:
    """A user of whom something is held everywhere; answers the board and an open redemption."""
    goal, slug = fresh("goal"), fresh("parcel")
    profile = {"display_name": f"Name {secret}", "email": f"{secret}@example.com", "attributes": {"phone": secret}}
    post(client, "/v1/users", {"external_id": user, **profile})
    board = add_board(client, goal)
    add_rule(client, goal)
    post(client, "/v1/admin/webhook-endpoints", {"url": "http://127.0.0.1:9/", "events": TOLD})
    closed = close_with(client, user)
    fields = [{"name": "street"}]
    assert eventually(lambda: client.get(f"/v1/snapshots/{closed}").json()["snapshots"])
    price = [{"currency": "points", "amount": 5}]
    post(client, "/v1/admin/rewards", {"slug": slug, "name": "Parcel", "fulfilment": {"type": "manual"}, "prices": price, "fields": fields})
    sent = {**event(goal, user, points=20), "actor": {"user_id": user, "metadata": {"ip": secret}}}
    post(client, "/v1/events", sent, 202)
    with gamer(client, stack, user) as own:
        post(own, "/v1/events", event(goal, user, points=10), 202)
    eventually(lambda: points_of(client, user)["available"] == 30)  # both events are scored
    eventually(lambda: client.get(f"/v1/leaderboards/{board}").json()["total"] == 1)
    post(client, f"/v1/admin/users/{user}/adjustments", {"amount": 1, "currency": "points", "reason": "fun"}, Idempotency_Key=fresh("k"))
    order = {"external_user_id": user, "slug": slug, "fields": {"street": f"{secret} street"}}
    redemption = post(client, "/v1/redemptions", order, Idempotency_Key=fresh("k"))
    with gamer(client, stack, user) as own:
        post(own, f"/v1/rewards/purchase/{slug}", {"fields": {"street": f"{secret} street"}}, Idempotency_Key=fresh("k"))
    return board, redemption


@pytest.mark.slow
def test_nothing_is_left_of_a_user_who_is_erased(stack: Stack) -> None:
    user, secret = f"person.{secrets.token_hex(6)}", f"secret{secrets.token_hex(6)}"
    with stack.client() as client:
        board, redemption = seed(client, stack, user, secret)
        uuid = client.get(f"/v1/users/{user}").json()["user_id"]
        exported = client.get(f"/v1/users/{user}/export").json()
        assert exported["profile"]["email"] == f"{secret}@example.com"
        assert (len(exported["events"]), len(exported["redemptions"])) == (3, 2)
        assert all(exported[section] for section in ("balances", "transactions", "standings", "redemption_moves", "audit"))
        assert traces(stack.described["database_url"], user, secret)

        assert client.delete(f"/v1/users/{user}").status_code == 204
        assert client.get(f"/v1/users/{user}").status_code == 404
        assert client.delete(f"/v1/users/{user}").status_code == 404
        assert client.post("/v1/users", json={"external_id": f"erased:{uuid}"}).status_code == 400

        eventually_no_traces(stack, user, secret)
        assert client.get(f"/v1/leaderboards/{board}").json()["entries"] == []
        left = client.get(f"/v1/redemptions/{redemption['redemption_id']}").json()
        assert (left["status"], left["external_user_id"], left["fields"]) == ("cancelled", f"erased:{uuid}", {})
        assert points_of(client, f"erased:{uuid}")["available"] == 31

        post(client, "/v1/users", {"external_id": user})
        assert client.get(f"/v1/users/{user}").json()["user_id"] != uuid


def test_who_comes_with_the_same_external_id_is_a_new_user_at_once(stack: Stack) -> None:
    user, goal = fresh("user"), fresh("goal")
    with stack.client() as client:
        board = add_board(client, goal)
        post(client, "/v1/events", event(goal, user, points=7), 202)
        eventually(lambda: client.get(f"/v1/leaderboards/{board}").json()["total"] == 1)
        first = client.get(f"/v1/users/{user}").json()["user_id"]
        for points in (1, 2):
            assert client.delete(f"/v1/users/{user}").status_code == 204
            post(client, "/v1/events", event(goal, user, points=points), 202)
            assert client.get(f"/v1/users/{user}").json()["user_id"] != first
        eventually(lambda: [(e["user_id"], e["score"]) for e in client.get(f"/v1/leaderboards/{board}").json()["entries"]] == [(user, 2)])


def test_the_next_holder_of_an_external_id_does_not_get_the_answers_of_the_erased_user(stack: Stack) -> None:
    user, slug, key = fresh("user"), fresh("mug"), fresh("key")
    with stack.client() as client:
        price = [{"currency": "points", "amount": 5}]
        post(client, "/v1/admin/rewards", {"slug": slug, "name": "Mug", "fulfilment": {"type": "manual"}, "prices": price})
        answers: list[list[httpx.Response]] = []
        for _ in range(2):
            post(client, "/v1/users", {"external_id": user})
            correction = {"amount": 10, "currency": "points", "reason": "fun"}
            requests = ((f"/v1/admin/users/{user}/adjustments", correction), ("/v1/redemptions", {"external_user_id": user, "slug": slug}))
            answers.append([client.post(path, json=body, headers={"Idempotency-Key": key}) for path, body in requests])
            with gamer(client, stack, user) as own:
                answers[-1].append(own.post(f"/v1/rewards/purchase/{slug}", headers={"Idempotency-Key": key}))
            assert client.delete(f"/v1/users/{user}").status_code == 204
            time.sleep(1.1)  # tokens tell seconds: one of the next holder is made after the erasure
        for first, second in zip(*answers, strict=True):
            assert (first.status_code, second.status_code) == (201, 201), second.text
            assert "Idempotency-Replayed" not in second.headers
            assert first.json() != second.json()
