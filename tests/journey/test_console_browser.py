"""The console in a real browser: the main path, both languages, live parts, and nothing that keeps anyone out."""

import re
from itertools import pairwise

import pytest
from playwright.sync_api import Browser, Page, expect

from console.nav import ENTRIES
from tests.conftest import Stack
from tests.console_browser import PATIENCE_MILLISECONDS, complaints, enter, tab
from tests.journey.programme import add_board, event, eventually, fresh, post


@pytest.mark.parametrize("path", [entry.path for entry in ENTRIES] + ["/account"])
def test_a_page_keeps_nobody_out_and_breaks_no_rule_of_its_policy(person: Page, stack: Stack, path: str) -> None:
    said: list[str] = []
    person.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    person.goto(stack.described["console_url"] + path)
    expect(person.locator("h1")).to_have_count(1)
    assert complaints(person) == []
    assert said == []
    assert not person.evaluate("document.documentElement.scrollWidth > innerWidth"), "wider than the screen"


def test_a_boards_pages_keep_nobody_out(person: Page, stack: Stack) -> None:
    with stack.client() as client:
        board = add_board(client, fresh("kind"))
    for path in (f"/leaderboards/{board}", f"/leaderboards/{board}/edit", "/leaderboards/new"):
        person.goto(stack.described["console_url"] + path)
        expect(person.locator("h1")).to_have_count(1)
        assert complaints(person) == [], path


def test_the_editor_shows_what_comes_of_the_sample_while_one_types(person: Page, stack: Stack) -> None:
    person.goto(stack.described["console_url"] + "/leaderboards/new")
    expect(person.locator("#preview .points")).to_have_text("120")
    points = person.get_by_label("Points").first
    points.fill("attrs.score * 2 +")
    expect(person.locator("#preview .pointer")).to_contain_text("▲")
    points.fill("attrs.score * 2")
    expect(person.locator("#preview .points")).to_have_text("240")
    expect(person.locator("#preview tbody tr")).to_have_count(5)


def test_the_editor_proposes_the_id_and_the_sample_follows_the_type(person: Page, stack: Stack) -> None:
    person.goto(f"{stack.described['console_url']}/leaderboards/new")
    person.fill("[name=name]", "Đua tuần 7 – Hà Nội!")
    expect(person.locator("[name=leaderboard_id]")).to_have_value("dua-tuan-7-ha-noi")
    person.fill("[name=leaderboard_id]", "mine")
    person.fill("[name=name]", "Another name")
    expect(person.locator("[name=leaderboard_id]")).to_have_value("mine")
    person.locator("[name=event_type]").first.fill("lesson.completed")
    expect(person.locator("[name=sample]")).to_have_value(re.compile('"type": "lesson.completed"'))
    person.select_option("[name=type]", "monthly")
    expect(person.locator("[name=reset_month_day]")).to_be_visible()
    for hidden in ("reset_weekday", "starts_at", "ends_at"):
        expect(person.locator(f"[name={hidden}]")).to_be_hidden()


def test_a_board_moves_while_one_looks_at_it(page: Page, stack: Stack) -> None:
    kind, player = fresh("move"), fresh("player")
    enter(page, stack.described)
    with stack.client() as client:
        board = add_board(client, kind)
        page.goto(f"{stack.described['console_url']}/leaderboards/{board}")
        expect(page.locator("#standings")).to_contain_text("No entries yet.")
        post(client, "/v1/events", event(kind, player, points=7), 202)
    expect(page.locator("#standings tbody tr")).to_contain_text(player)


def test_an_events_pages_keep_nobody_out(person: Page, stack: Stack) -> None:
    kind = fresh("kind")
    with stack.client() as client:
        sent = event(kind, fresh("player"), points=3)
        post(client, "/v1/events", sent, 202)
        post(client, "/v1/admin/event-types", {"name": kind, "schema": {"properties": {"points": {"type": "integer"}}}}, 201)
    paths = ("/event-types/new", f"/event-types/{kind}", f"/event-types/{kind}/edit", "/event-log/dead-letters")
    for path in (*paths, f"/event-log/event?event_id={sent['event_id']}"):
        person.goto(stack.described["console_url"] + path)
        expect(person.locator("h1")).to_have_count(1)
        assert complaints(person) == [], path


def test_pages_of_reward_configs_keep_nobody_out_and_the_editor_speaks_plainly(person: Page, stack: Stack) -> None:
    with stack.client() as client:
        purse = {"name": fresh("purse"), "reward_type": "points", "reward_value": 500}
        item = post(client, "/v1/admin/reward-items", purse, 201)["item_id"]
        tiers = [{"min_rank": 1, "max_rank": 3, "item_ids": [item]}]
        config = post(client, "/v1/admin/reward-configs", {"name": fresh("rewards"), "tiers": tiers}, 201)["reward_config_id"]
    for path in (
        "/reward-configs",
        f"/reward-configs/{config}",
        "/reward-items",
        f"/reward-items/{item}",
        f"/reward-configs/{config}/edit",
    ):
        person.goto(stack.described["console_url"] + path)
        expect(person.locator("h1")).to_have_count(1)
        assert complaints(person) == [], path
    expect(person.locator("#preview")).to_contain_text("Ranks 1–3")
    person.get_by_label("To rank").first.fill("10")
    expect(person.locator("#preview")).to_contain_text("Ranks 1–10")
    expect(person.locator("#preview")).to_contain_text("5,000")


def test_the_schema_editor_tries_the_sample_while_one_types(person: Page, stack: Stack) -> None:
    person.goto(stack.described["console_url"] + "/event-types/new")
    expect(person.locator("#preview .pill")).to_have_text("matches")
    person.get_by_label("Attribute schema").fill('{"required": ["goals"]}')
    expect(person.locator("#preview .pill")).to_have_text("doesn't match")
    expect(person.locator("#preview")).to_contain_text("'goals' is a required property")
    person.get_by_label("Attribute schema").fill('{"required" ["goals"]}')
    expect(person.locator("#preview .pointer")).to_contain_text("▲")


def test_archiving_a_board_asks_for_a_reason(page: Page, stack: Stack) -> None:
    enter(page, stack.described)
    with stack.client() as client:
        board = add_board(client, fresh("kind"))
        page.goto(f"{stack.described['console_url']}/leaderboards/{board}")
        page.locator("summary", has_text="Archive…").click()
        page.get_by_role("button", name="Archive leaderboard").click()
        expect(page.get_by_label("Reason")).to_be_focused()
        page.get_by_label("Reason").fill("a test is over")
        page.get_by_role("button", name="Archive leaderboard").click()
        expect(page.get_by_role("status")).to_have_text("Leaderboard archived.")
        about = {"subject": "leaderboard", "subject_id": board}
        entries = client.get("/v1/admin/audit-log", params=about).json()["audit_log"]
        assert "a test is over" in [entry["reason"] for entry in entries]


@pytest.mark.parametrize("path", ["/redemptions", "/webhooks/deliveries", "/event-log", "/audit-log"])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_labels_of_filters_stand_in_lines(person: Page, stack: Stack, path: str, width: int) -> None:
    person.set_viewport_size({"width": width, "height": 900})
    person.goto(stack.described["console_url"] + path)
    boxes = [box for label in person.locator(".filters .field > label").all() if (box := label.bounding_box())]
    assert len(boxes) > 1
    tops = sorted(round(box["y"], 1) for box in boxes)
    assert all(below == top or below - top > 20 for top, below in pairwise(tops)), tops


def test_the_sign_in_page_keeps_nobody_out_either(page: Page, stack: Stack) -> None:
    page.goto(stack.described["console_url"] + "/sign-in")
    assert complaints(page) == []


def test_pages_fit_on_a_phone_and_the_menu_opens(browser: Browser, stack: Stack) -> None:
    with tab(browser, locale="vi-VN", viewport={"width": 360, "height": 740}) as page:
        enter(page, stack.described)
        expect(page.locator("h1")).to_have_text("Tổng quan")
        for entry in ENTRIES:
            page.goto(stack.described["console_url"] + entry.path)
            assert not page.evaluate("document.documentElement.scrollWidth > innerWidth"), entry.path
        page.get_by_text("Trình đơn").click()
        page.get_by_role("link", name="Phần thưởng", exact=True).click()
        expect(page.locator("h1")).to_have_text("Phần thưởng")


def test_the_console_works_without_a_script(browser: Browser, stack: Stack) -> None:
    with tab(browser, java_script_enabled=False) as page:
        enter(page, stack.described)
        page.get_by_role("button", name="Tiếng Việt").click()
        expect(page.locator("h1")).to_have_text("Tổng quan")
        page.get_by_role("button", name="Tối").click()
        expect(page.locator("html")).to_have_attribute("data-theme", "dark")
        page.get_by_role("button", name="Đăng xuất").click()
        expect(page.locator("h1")).to_have_text("Đăng nhập")


def test_the_dashboard_sees_an_event_arrive(page: Page, stack: Stack) -> None:
    kind = fresh("arrival")
    enter(page, stack.described)
    today = page.locator(".figure", has_text="Events today").locator(".value")
    before = today.inner_text()
    with stack.client() as client:
        add_board(client, kind)

        def moved() -> bool:
            """One more event, and a look: at midnight the figure begins anew, so that a single event may be yesterday's."""
            post(client, "/v1/events", event(kind, fresh("player"), points=1), 202)
            page.wait_for_timeout(500)
            return today.inner_text() != before

        eventually(moved, seconds=PATIENCE_MILLISECONDS / 1000)
