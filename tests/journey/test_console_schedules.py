"""Payout schedules in the console over HTTP: the editor with the next runs, runs by hand, who may do what, and the wall between tenants."""

from typing import Any

from runtime.settings import Settings
from tests.builders.api import World, make_world
from tests.builders.console import Tab, heading, signed_in

FORM: dict[str, Any] = {
    "name": "Monday rewards",
    "kind": "calendar",
    "hour": "9",
    "minute": "0",
    "days": ["MON"],
    "timezone": "Asia/Ho_Chi_Minh",
    "every": "1",
    "unit": "3600",
    "audience": "all_users",
    "window": "latest_closed",
    "n": "10",
    "gives": "by_items",
    "overlap": "skip",
    "catchup_hours": "24",
}


def add_item(world: World) -> str:
    body = {"name": "Five points", "reward_type": "points", "reward_value": 5}
    with world.client() as admin:
        answer = admin.post("/v1/admin/reward-items", json=body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["item_id"])


def new_schedule(world: World, tab: Tab, **more: Any) -> str:
    """A schedule made by the form; answers its path."""
    tab.get("/schedules/new")
    page = tab.send("/schedules", **FORM | {"item": [add_item(world)]} | more)
    assert (page.status_code, heading(page)) == (200, "Monday rewards"), page.text
    return page.url.path.removeprefix("/console")


def test_a_schedule_is_made_paused_resumed_changed_and_deleted_and_the_audit_log_says_why(world: World) -> None:
    tab = signed_in(world)
    path = new_schedule(world, tab)
    assert "Every Monday at 09:00" in tab.get(path).text
    assert "Paused: scheduled runs are skipped" in tab.send(f"{path}/pause", reason="holidays").text
    assert "holidays" in tab.get("/schedules").text
    tab.get(path)
    assert "Resumed." in tab.send(f"{path}/resume", reason="back").text
    version = tab.get(f"{path}/edit").text.split('name="version" value="')[1].split('"')[0]
    changed = FORM | {"item": [add_item(world)], "name": "Tuesday rewards", "days": ["TUE"], "version": version, "reason": "a better day"}
    assert heading(tab.send(f"{path}/edit", **changed)) == "Tuesday rewards"
    assert tab.send(f"{path}/delete", reason="over").url.path == "/console/schedules"
    assert tab.get(path).status_code == 404
    with world.client() as admin:
        entries = admin.get("/v1/admin/audit-log", params={"limit": 200}).json()["audit_log"]
    reasons = [each["reason"] for each in entries if each["actor"].startswith("console:")]
    assert {"over", "a better day", "back", "holidays"} <= set(reasons)


def test_the_next_ten_runs_are_shown_by_the_schedules_own_clock_before_anything_is_saved(world: World) -> None:
    tab = signed_in(world)
    tab.get("/schedules/new")
    page = tab.send("/schedules/preview", **FORM)
    shown = page.text.split('id="preview"')[1]
    assert shown.count("<li><span><time") == 10
    assert shown.count("09:00</time>") == 10, "nine in Ho Chi Minh City, as the schedule says, although the tenant is in UTC"
    assert "Times are in Asia/Ho_Chi_Minh" in shown
    shown = tab.send("/schedules/preview", **FORM | {"kind": "every", "every": "1", "unit": "3600"}).text.split('id="preview"')[1]
    assert "Times are in your tenant's time zone, UTC." in shown
    page = tab.send("/schedules/preview", **FORM | {"kind": "cron", "cron": "0 9 * *"})
    assert "must have five fields" in page.text.split('id="preview"')[1]
    with world.client() as admin:
        assert admin.get("/v1/admin/schedules").json()["schedules"] == []


def test_runs_that_a_change_of_the_clock_moves_are_told(world: World) -> None:
    tab = signed_in(world)
    tab.get("/schedules/new")
    page = tab.send("/schedules/preview", **FORM | {"days": [], "hour": "2", "minute": "30", "timezone": "Europe/Berlin"})
    assert "Clocks go forward and skip this local time" in page.text
    assert "this local time occurs twice" in page.text


def test_what_is_typed_is_not_lost_when_it_is_refused(world: World) -> None:
    tab = signed_in(world)
    tab.get("/schedules/new")
    page = tab.send("/schedules", **FORM | {"note": "typed with care"})
    assert (page.status_code, "typed with care" in page.text) == (400, True)
    assert "give either reward_config_id or item_ids" in page.text
    page = tab.send("/schedules", **FORM | {"filter": "{"})
    assert (page.status_code, "Invalid JSON" in page.text) == (400, True)


def test_an_every_and_a_cron_schedule_come_back_into_the_form_as_they_were_written(world: World) -> None:
    tab = signed_in(world)
    path = new_schedule(world, tab, kind="every", every="90", unit="60")
    page = tab.get(f"{path}/edit").text
    assert 'name="every" type="text" value="90"' in page
    assert '<option value="60" selected' in page
    path = new_schedule(world, tab, kind="cron", cron="0 9 1 * *", days=[])
    assert 'value="0 9 1 * *"' in tab.get(f"{path}/edit").text
    assert "On day 1 of the month at 09:00" in tab.get(path).text


def test_run_now_makes_one_run_however_often_it_is_sent_and_shows_it(world: World) -> None:
    with world.client() as admin:
        admin.post("/v1/users", json={"external_id": "lan"})
    tab = signed_in(world)
    path = new_schedule(world, tab)
    assert "lan" in tab.get(path, who="1").text
    assert heading(tab.send(f"{path}/run", once="the-same-form", reason="a test")) == "Run of Monday rewards"
    tab.get(path)
    tab.send(f"{path}/run", once="the-same-form", reason="a test")
    assert world.rows("SELECT trigger FROM payout_run") == [("manual",)]
    run = tab.page.url.path.removeprefix("/console")  # type: ignore[union-attr]
    assert "It stops before its next page" in tab.send(f"{run}/cancel", reason="a mistake").text
    assert "manual" in tab.get("/payout-runs").text


def test_a_backfill_pays_what_was_missed_once(world: World) -> None:
    tab = signed_in(world)
    path = new_schedule(world, tab, kind="every", every="1", unit="3600", days=[])
    span = {"from": "2026-01-05T00:00", "to": "2026-01-05T03:00", "reason": "a standstill"}
    assert "3 runs started." in tab.send(f"{path}/backfill", once="a", **span).text
    assert "0 runs started. 3 already existed." in tab.send(f"{path}/backfill", once="b", **span).text


def test_a_viewer_sees_schedules_and_changes_nothing(world: World) -> None:
    path = new_schedule(world, signed_in(world))
    tab = signed_in(world, "viewer")
    page = tab.get(path, who="1")
    assert heading(page) == "Monday rewards"
    assert "Run now" not in page.text
    assert tab.get("/schedules/new").status_code == 403
    assert tab.get(f"{path}/edit").status_code == 403
    for act in ("run", "pause", "delete", "backfill"):
        tab.get("/account")
        assert "Viewers cannot make changes" in tab.send(f"{path}/{act}", reason="spite", once="x").text
    assert world.rows("SELECT count(*) FROM payout_run") == [(0,)]


async def test_another_tenants_schedules_and_runs_are_not_there(world: World, settings: Settings) -> None:
    tab = signed_in(world)
    path = new_schedule(world, tab)
    run = tab.send(f"{path}/run", once="one").url.path.removeprefix("/console")
    stranger = signed_in(await make_world(settings, world.url))
    for address in (path, f"{path}/edit", run):
        assert stranger.get(address).status_code == 404
    assert "Monday rewards" not in stranger.get("/schedules").text
    stranger.send(f"{path}/delete", reason="spite")
    assert tab.get(path).status_code == 200
