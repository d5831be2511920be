"""Leaderboards in the console over HTTP: the editor and its preview, who may change what, and the wall between tenants."""

from datetime import UTC, datetime, timedelta
from typing import Any

from runtime.settings import Settings
from tests.builders.api import World, make_world
from tests.builders.console import Tab, heading, signed_in

SAMPLE = '{"event_id":"s","type":"goal","actor":{"user_id":"p"},"occurred_at":"2026-01-05T10:00:00Z","attrs":{"goals":3}}'
FORM: dict[str, Any] = {
    "leaderboard_id": "scorers",
    "name": "Top scorers",
    "status": "active",
    "type": "weekly",
    "timezone": "Asia/Ho_Chi_Minh",
    "reset_time": "00:00",
    "grace_seconds": "60",
    "event_type": ["goal", ""],
    "points_expression": ["attrs.goals * 10", ""],
    "conditions": ["", ""],
    "aggregation": "sum",
    "method": "score_desc",
    "size": "100",
    "sample": SAMPLE,
}


def new_board(tab: Tab, **more: Any) -> None:
    tab.get("/leaderboards/new")
    page = tab.send("/leaderboards", **FORM | more)
    assert (page.status_code, heading(page)) == (200, "Top scorers"), page.text


def test_a_board_is_made_changed_and_archived_and_the_audit_log_says_by_whom_and_why(world: World) -> None:
    tab = signed_in(world)
    new_board(tab)
    assert "Saved." in tab.page.text  # type: ignore[union-attr]
    tab.get("/leaderboards/scorers/edit")
    page = tab.send("/leaderboards/scorers/edit", **FORM | {"name": "Best scorers", "reason": "a better name", "version": "1"})
    assert heading(page) == "Best scorers"
    tab.get("/leaderboards/scorers")
    page = tab.send("/leaderboards/scorers/archive", reason="the season is over")
    assert page.url.path == "/console/leaderboards"
    with world.client() as admin:
        entries = admin.get("/v1/admin/audit-log", params={"subject": "leaderboard"}).json()["audit_log"]
    assert [each["reason"] for each in entries] == ["the season is over", "a better name", None]
    assert all(each["actor"].startswith("console:admin-") for each in entries)


def test_a_board_begins_its_windows_on_the_day_that_was_chosen_for_its_kind(world: World) -> None:
    tab = signed_in(world)
    new_board(tab, reset_weekday="thursday", reset_month_day="15")
    with world.client() as admin:
        time = admin.get("/v1/admin/leaderboards/scorers").json()["config"]["timeframe"]
        assert (time["type"], time["reset_day"]) == ("weekly", "thursday")
        assert '<option value="thursday" selected>Thursday</option>' in tab.get("/leaderboards/scorers/edit").text
        changed = FORM | {"type": "monthly", "reset_weekday": "thursday", "version": "1"}
        assert "must be a day from 1 to 28" in tab.send("/leaderboards/scorers/edit", **changed | {"reset_month_day": "31"}).text
        assert tab.send("/leaderboards/scorers/edit", **changed | {"reset_month_day": "15"}).status_code == 200
        assert 'name="reset_month_day" type="number" value="15"' in tab.get("/leaderboards/scorers/edit").text


def test_the_preview_shows_points_and_windows_and_saves_nothing(world: World) -> None:
    tab = signed_in(world)
    tab.get("/leaderboards/new")
    page = tab.send("/leaderboards/preview", **FORM)
    assert page.status_code == 200
    preview = page.text.split('id="preview"')[1]
    assert '<strong class="points">30</strong>' in preview
    assert preview.count('<td class="mono">') == 5
    with world.client() as admin:
        assert admin.get("/v1/admin/leaderboards").json()["total"] == 0


def test_an_error_in_an_expression_is_shown_where_it_is_and_nothing_typed_is_lost(world: World) -> None:
    tab = signed_in(world)
    tab.get("/leaderboards/new")
    wrong = FORM | {"points_expression": ["attrs.goals * * 2", ""], "description": "typed with care"}
    page = tab.send("/leaderboards", **wrong)
    assert page.status_code == 400
    assert "attrs.goals * * 2\n" + " " * 14 + "▲" in page.text
    assert "typed with care" in page.text
    page = tab.send("/leaderboards", **FORM | {"conditions": ["{", ""]})
    assert (page.status_code, "Invalid JSON" in page.text) == (400, True)
    page = tab.send("/leaderboards", **FORM | {"size": "many"})
    assert page.status_code == 400
    assert 'aria-invalid="true"' in page.text


def test_who_saves_later_does_not_overwrite_unseen(world: World) -> None:
    tab = signed_in(world)
    new_board(tab)
    tab.get("/leaderboards/scorers/edit")
    assert heading(tab.send("/leaderboards/scorers/edit", **FORM | {"name": "First", "version": "1"})) == "First"
    tab.get("/leaderboards/scorers/edit")
    page = tab.send("/leaderboards/scorers/edit", **FORM | {"name": "Second", "version": "1"})
    assert page.status_code == 400
    assert "The current version is 2" in page.text


def test_a_viewer_sees_the_board_and_changes_nothing(world: World) -> None:
    new_board(signed_in(world))
    tab = signed_in(world, "viewer")
    page = tab.get("/leaderboards/scorers")
    assert heading(page) == "Top scorers"
    assert "Archive" not in page.text
    assert "/edit" not in page.text
    assert tab.get("/leaderboards/scorers/edit").status_code == 403
    tab.get("/account")
    assert "Viewers cannot make changes" in tab.send("/leaderboards/scorers/archive", reason="spite").text
    tab.get("/account")
    assert tab.send("/leaderboards", **FORM | {"leaderboard_id": "mine"}).status_code == 400
    with world.client() as admin:
        assert [each["leaderboard_id"] for each in admin.get("/v1/admin/leaderboards").json()["leaderboards"]] == ["scorers"]


async def test_another_tenants_board_is_not_there(world: World, settings: Settings) -> None:
    new_board(signed_in(world))
    stranger = signed_in(await make_world(settings, world.url))
    assert stranger.get("/leaderboards/scorers").status_code == 404
    assert stranger.get("/leaderboards/scorers/edit").status_code == 404
    assert "Top scorers" not in stranger.get("/leaderboards").text
    stranger.get("/account")
    stranger.send("/leaderboards/scorers/archive", reason="spite")
    with world.client() as admin:
        assert admin.get("/v1/admin/leaderboards/scorers").json()["status"] == "active"


def test_an_open_window_is_closed_early_with_a_reason(world: World) -> None:
    tab = signed_in(world)
    new_board(tab, timezone="UTC", reset_time=f"{datetime.now(UTC) + timedelta(hours=12):%H}:00")  # not while the test runs
    with world.client() as admin:
        key = admin.get("/v1/leaderboards/scorers").json()["window_key"]
    page = tab.send(f"/leaderboards/scorers/windows/{key}/close", reason="a fault in the game")
    assert "The window is closing" in page.text
    assert world.rows("SELECT reason FROM audit_log WHERE action = 'close'") == [("a fault in the game",)]


def test_names_with_html_in_them_are_shown_as_text(world: World) -> None:
    tab = signed_in(world)
    tab.get("/leaderboards/new")
    page = tab.send("/leaderboards", **FORM | {"name": "<script>alert(1)</script>", "description": '"><img src=x>'})
    assert heading(page) == "&lt;script&gt;alert(1)&lt;/script&gt;"
    assert "<img" not in page.text
