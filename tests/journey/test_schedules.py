"""Payout schedules over HTTP: made, looked at, changed, previewed, triggered, backfilled; every error names its field."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from temporalio.client import Client
from temporalio.service import RPCError

from tests.conftest import Stack
from tests.journey.programme import eventually, fresh, points_of, post
from tests.journey.test_rewards_of_boards import add_points

HOURLY = {"cron": "0 * * * *"}
MISSING = "01900000-0000-7000-8000-000000000000"


@pytest.fixture
def client(stack: Stack) -> Any:
    with stack.client() as opened:
        yield opened


def add_users(client: httpx.Client, count: int) -> list[str]:
    names = sorted(fresh("user") for _ in range(count))
    for name in names:
        post(client, "/v1/users", {"external_id": name})
    return names


def body(client: httpx.Client, users: list[str], **parts: Any) -> dict[str, Any]:
    item = parts.pop("item", None) or add_points(client, 5)
    return {"name": "Daily", "when": HOURLY, "audience": {"type": "users", "external_ids": users}, "item_ids": [item], **parts}


def ended(client: httpx.Client, run_id: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        run: dict[str, Any] = client.get(f"/v1/admin/payout-runs/{run_id}").json()
        return run if run["status"] in ("completed", "cancelled", "failed") else None

    found = eventually(look)
    assert found is not None
    return found


def test_a_schedule_is_made_read_changed_and_deleted(client: httpx.Client) -> None:
    later = (datetime.now(UTC) + timedelta(days=2)).replace(microsecond=0).isoformat().replace("+00:00", "Z")
    when = {"cron": "0 9 * * MON", "timezone": "Asia/Ho_Chi_Minh", "starts_at": later}  # not in the midst of this test
    made = post(client, "/v1/admin/schedules", body(client, add_users(client, 1), when=when))
    path = f"/v1/admin/schedules/{made['schedule_id']}"
    assert client.get(path).json() == made | {"next_instants": client.get(path).json()["next_instants"]}
    assert (made["when"], made["overlap"], made["catchup_seconds"], made["paused"], made["note"], made["version"]) == (
        when,
        "skip",
        86400,
        False,
        None,
        1,
    )
    assert len(made["next_instants"]) == 10
    assert {each[10:] for each in made["next_instants"]} == {"T02:00:00Z"}
    assert client.patch(path, json={"name": "x"}, headers={"If-Match": "7"}).status_code == 409
    other = {"calendar": {"hour": 2, "minute": 30, "timezone": "Europe/Berlin"}, "starts_at": later}
    changed = client.patch(path, json={"when": other, "note": "later"}, headers={"If-Match": "1"}).json()
    assert (changed["when"], changed["note"], changed["version"]) == (other, "later", 2)
    assert [each["when"] for each in changed["when_history"]] == [when, other]
    assert made["schedule_id"] in {each["schedule_id"] for each in client.get("/v1/admin/schedules").json()["schedules"]}
    told = client.post(f"{path}/preview").json()
    assert {each["note"].split(":")[0] for each in told["clock_changes"]} == {
        "this local time comes twice",
        "the clock skips the local time",
    }
    assert client.delete(path).status_code == 204
    assert client.get(path).status_code == client.patch(path, json={}).status_code == 404
    assert client.get(f"{path}/runs").json()["runs"] == []


def test_it_pays_what_the_preview_says_once_for_one_key(client: httpx.Client) -> None:
    users = add_users(client, 3)
    made = post(client, "/v1/admin/schedules", body(client, users, paused=True, budget={"points": 12}))
    path = f"/v1/admin/schedules/{made['schedule_id']}"
    told = client.post(f"{path}/preview").json()
    assert (told["recipients"], told["not_covered"], told["total"]["points"]) == (2, 1, 10)
    assert [(each["external_user_id"], each["rank"], each["items"][0]["reward_value"]) for each in told["entries"]] == [
        (users[0], 1, 5),
        (users[1], 2, 5),
    ]
    key = {"Idempotency-Key": fresh("key")}
    first, again = (client.post(f"{path}/trigger", headers=key) for _ in range(2))
    assert (first.status_code, again.status_code, first.json()) == (202, 202, again.json())
    assert again.headers["Idempotency-Replayed"] == "true"
    shouted = client.post(f"/v1/admin/schedules/{path.rpartition('/')[2].upper()}/trigger", headers=key)
    assert shouted.json() == first.json(), "capitals name the same schedule"
    run = ended(client, first.json()["run_id"])
    assert (run["status"], run["paid"], run["not_covered"], run["trigger"]) == ("completed", 2, 1, "manual")
    assert [points_of(client, user)["available"] for user in users] == [5, 5, 0]
    (listed,) = client.get(f"{path}/runs").json()["runs"]
    assert (listed["run_id"], listed["schedule_id"]) == (run["run_id"], made["schedule_id"])


def test_a_backfill_pays_each_instant_once(client: httpx.Client) -> None:
    (user,) = add_users(client, 1)
    made = post(client, "/v1/admin/schedules", body(client, [user], paused=True))
    path = f"/v1/admin/schedules/{made['schedule_id']}"
    end = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    span = {"from": (end - timedelta(hours=3)).isoformat(), "to": end.isoformat()}
    first = post(client, f"{path}/backfill", span, 202)
    assert [len(first["instants"]), first["skipped"]] == [3, []]
    assert post(client, f"{path}/backfill", span, 202) == {"instants": [], "skipped": first["instants"]}
    eventually(lambda: all(run["status"] == "completed" for run in client.get(f"{path}/runs").json()["runs"]))
    assert points_of(client, user)["available"] == 15
    assert {run["instant"] for run in client.get(f"{path}/runs").json()["runs"]} == set(first["instants"])


def test_pause_and_resume_keep_the_note(client: httpx.Client) -> None:
    made = post(client, "/v1/admin/schedules", body(client, add_users(client, 1)))
    path = f"/v1/admin/schedules/{made['schedule_id']}"
    paused = post(client, f"{path}/pause", {"note": "holiday"}, 200)
    assert (paused["paused"], paused["note"], paused["version"]) == (True, "holiday", 2)
    again = client.post(f"{path}/pause").json()
    assert (again["paused"], again["version"]) == (True, 2)
    resumed = post(client, f"{path}/resume", {"note": "back"}, 200)
    assert (resumed["paused"], resumed["note"]) == (False, "back")
    assert [each["paused"] for each in resumed["when_history"]] == [False, True, False]


def test_a_segment_of_all_users_is_paid(client: httpx.Client) -> None:
    users, country = add_users(client, 3), fresh("land")
    for user in users[:2]:
        post(client, "/v1/users", {"external_id": user, "attributes": {"country": country}}, 200)
    audience = {"type": "all_users", "filter": {"attributes": {"country": {"eq": country}}}}
    made = post(client, "/v1/admin/schedules", body(client, [], audience=audience, paused=True))
    run = ended(client, post(client, f"/v1/admin/schedules/{made['schedule_id']}/trigger", {}, 202)["run_id"])
    assert run["paid"] == 2
    assert [points_of(client, user)["available"] for user in users] == [5, 5, 0]


ERRORS: list[tuple[dict[str, Any], str]] = [
    ({"name": ""}, "name"),
    ({"when": {}}, "when"),
    ({"when": {"cron": "0 25 * * *"}}, "when.cron"),
    ({"when": {"cron": "0 9 * * *", "timezone": "Mars/Base"}}, "when.timezone"),
    ({"when": {"calendar": {"hour": 24}}}, "when.calendar.hour"),
    ({"when": {"every_seconds": 1}}, "when.every_seconds"),
    ({"when": {"every_seconds": "60"}}, "when.every_seconds"),
    ({"when": {**HOURLY, "starts_at": "2026-02-01T00:00:00Z", "ends_at": "2026-01-01T00:00:00Z"}}, "when.ends_at"),
    ({"when": {"cron": "0 0 31 2 *"}}, "when.cron"),
    ({"audience": {"type": "friends"}}, "audience.type"),
    ({"audience": {"type": "users", "external_ids": []}}, "audience.external_ids"),
    ({"audience": {"type": "users", "external_ids": ["a", "a"]}}, "audience.external_ids"),
    ({"audience": {"type": "leaderboard_top", "leaderboard_id": "no-such-board", "n": 3}}, "audience.leaderboard_id"),
    ({"audience": {"type": "leaderboard_top", "leaderboard_id": "b", "n": 0}}, "audience.n"),
    ({"audience": {"type": "tier", "names": ["no such tier"]}}, "audience.names[0]"),
    ({"audience": {"type": "all_users", "filter": {"attributes": {"a": {"like": 1}}}}}, "audience.filter.attributes.a.like"),
    ({"item_ids": [MISSING]}, "item_ids[0]"),
    ({"item_ids": None}, "item_ids"),
    ({"item_ids": None, "reward_config_id": MISSING}, "reward_config_id"),
    ({"budget": {"gold": 5}}, "budget.gold"),
    ({"budget": {"points": -1}}, "budget.points"),
    ({"overlap": "cancel"}, "overlap"),
    ({"catchup_seconds": -1}, "catchup_seconds"),
    ({"colour": "red"}, "colour"),
]


def test_every_error_names_its_field(client: httpx.Client) -> None:
    right = body(client, add_users(client, 1))
    made = post(client, "/v1/admin/schedules", right)
    path = f"/v1/admin/schedules/{made['schedule_id']}"
    for change, field in ERRORS:
        for answer in (client.post("/v1/admin/schedules", json=right | change), client.patch(path, json=change)):
            assert answer.status_code == 400, (change, answer.text)
            fields = [each["field"] for each in answer.json()["error"]["details"]]
            assert [each.replace("[...]", "") for each in fields] == [field], change
    for span, field in (({"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, "to"), ({"from": "2026-01-01T00:00:00Z"}, "to")):
        answer = client.post(f"{path}/backfill", json=span)
        assert (answer.status_code, answer.json()["error"]["details"][0]["field"]) == (400, field)
    assert client.post(f"/v1/admin/schedules/{MISSING}/trigger").status_code == 404
    assert client.get(path).json()["version"] == 1


async def test_it_pays_by_itself_and_comes_back_when_somebody_deletes_it_in_temporal(stack: Stack, client: httpx.Client) -> None:
    (user,) = add_users(client, 1)
    made = post(client, "/v1/admin/schedules", body(client, [user], when={"every_seconds": 5}))
    path = f"/v1/admin/schedules/{made['schedule_id']}"

    def by_itself() -> bool:
        return any(run["trigger"] == "schedule" and run["paid"] == 1 for run in client.get(f"{path}/runs").json()["runs"])

    eventually(by_itself)
    temporal = await Client.connect(stack.described["temporal_address"], namespace=stack.described["temporal_namespace"])
    handle = temporal.get_schedule_handle(made["temporal_schedule_id"])
    await handle.delete()

    async def is_back() -> bool:
        try:
            await handle.describe()
        except RPCError:
            return False
        return True

    async with asyncio.timeout(60):
        while not await is_back():
            await asyncio.sleep(0.2)
    post(client, f"{path}/pause", {"note": "enough"}, 200)

    def settled() -> list[dict[str, Any]] | None:
        """Its runs once each has paid; one of an instant before the pause may come a little later."""
        earned = points_of(client, user)["available"]
        runs: list[dict[str, Any]] = client.get(f"{path}/runs", params={"limit": 500}).json()["runs"]
        return runs if {run["status"] for run in runs} == {"completed"} and earned == 5 * len(runs) else None

    runs = eventually(settled)
    assert runs is not None
    assert len({run["instant"] for run in runs}) == len(runs)
    assert client.delete(path).status_code == 204
