"""The programme's pages in a real browser: schedules, the store, reward configs, users, event types, the event log."""

from playwright.sync_api import Browser, Page, expect

from tests.conftest import Stack
from tests.console_browser import complaints, enter, tab
from tests.journey.programme import fresh, post


def add_schedule(stack: Stack, name: str) -> str:
    """A schedule that gives five points to one user; answers its id."""
    with stack.client() as client:
        user = fresh("player")
        client.post("/v1/users", json={"external_id": user})
        item = post(client, "/v1/admin/reward-items", {"name": fresh("five points"), "reward_type": "points", "reward_value": 5})
        body = {
            "name": name,
            "when": {"calendar": {"hour": 2, "minute": 30, "timezone": "Europe/Berlin"}},
            "audience": {"type": "users", "external_ids": [user]},
            "item_ids": [item["item_id"]],
            "paused": True,
        }
        return str(post(client, "/v1/admin/schedules", body)["schedule_id"])


def check_pages(person: Page, stack: Stack, *paths: str) -> None:
    """Each page has one heading, keeps nobody out, and is no wider than the screen."""
    for path in paths:
        person.goto(stack.described["console_url"] + path)
        expect(person.locator("h1")).to_have_count(1)
        assert complaints(person) == [], path
        assert not person.evaluate("document.documentElement.scrollWidth > innerWidth"), path


def test_the_pages_of_schedules_keep_nobody_out(person: Page, stack: Stack) -> None:
    schedule = add_schedule(stack, fresh("schedule"))
    with stack.client() as client:
        run = post(client, f"/v1/admin/schedules/{schedule}/trigger", {}, 202)["run_id"]
    check_pages(
        person,
        stack,
        "/schedules",
        f"/schedules/{schedule}?who=1",
        f"/schedules/{schedule}/edit",
        "/schedules/new",
        "/payout-runs",
        f"/payout-runs/{run}",
    )


def test_a_schedule_shows_its_next_ten_runs_while_one_types_and_is_run_by_hand(browser: Browser, stack: Stack) -> None:
    with tab(browser, locale="vi-VN", viewport={"width": 1280, "height": 900}) as page:
        enter(page, stack.described)
        with stack.client() as client:
            user, item = fresh("nguoi-choi"), fresh("nam diem")
            client.post("/v1/users", json={"external_id": user})
            post(client, "/v1/admin/reward-items", {"name": item, "reward_type": "points", "reward_value": 5})
        page.goto(stack.described["console_url"] + "/schedules/new")
        expect(page.locator("#preview .runs li time").first).to_be_visible()
        page.select_option("#f-kind", "cron")
        page.fill("#f-cron", "0 9 * *")
        expect(page.locator("#preview")).to_contain_text("when.cron")
        page.fill("#f-cron", "30 8 * * MON-FRI")
        expect(page.locator("#preview")).to_contain_text("Các ngày làm việc trong tuần lúc 08:30")
        expect(page.locator("#preview .runs li span.muted")).to_have_count(10)
        name = fresh("Lịch sáng")
        page.fill("#f-name", name)
        page.select_option("#f-audience", "users")
        page.fill("#f-external_ids", user)
        page.get_by_label(item).check()
        expect(page.locator("#preview")).to_contain_text(item)
        page.get_by_role("button", name="Lưu").click()
        expect(page.locator("h1")).to_have_text(name)
        page.locator("summary", has_text="Chạy ngay…").click()
        page.get_by_role("button", name="Chạy ngay", exact=True).click()
        expect(page.locator("h1")).to_have_text(f"Lần chạy của {name}")
        expect(page.locator("#status .pill.good")).to_be_visible()
        expect(page.locator("#recipients tbody tr")).to_contain_text(user)


def test_the_pages_of_rewards_keep_nobody_out(person: Page, stack: Stack) -> None:
    with stack.client() as client:
        body = {
            "slug": fresh("coffee"),
            "name": "Coffee",
            "prices": [{"currency": "points", "amount": 900}],
            "fields": [{"name": "phone", "type": "tel", "pattern": "[0-9]+"}],
        }
        path = f"/rewards/{post(client, '/v1/admin/rewards', body)['reward_id']}"
        body |= {"slug": fresh("codes"), "fulfilment": {"type": "codes"}, "variants": [{"id": "large", "name": "Large"}]}
        codes = f"/rewards/{post(client, '/v1/admin/rewards', body)['reward_id']}"
    check_pages(person, stack, "/rewards", path, f"{path}/edit", codes, "/rewards/new")


def test_the_body_that_a_partner_would_get_follows_what_one_types(page: Page, stack: Stack) -> None:
    enter(page, stack.described)
    page.goto(stack.described["console_url"] + "/rewards/new")
    name = fresh("Tea")
    page.get_by_label("Name *").fill(name)
    page.get_by_label("Slug").fill(fresh("tea"))
    expect(page.locator("#preview pre")).to_contain_text(name)
    page.get_by_label("Amount").first.fill("750")
    expect(page.locator("#preview pre")).to_contain_text('"points_spent": 750')
    page.get_by_label("Value").first.fill('{"cups": ')
    page.select_option("#f-fulfilment", "codes")
    expect(page.locator("#preview")).to_contain_text("doesn't involve a partner")
    expect(page.locator("#f-stock")).to_be_hidden()
    page.get_by_role("button", name="Save").click()
    expect(page.locator("h1")).to_have_text(name)
    page.get_by_label("Codes, one per line").fill("A-1\nB-2")
    page.get_by_role("button", name="Import codes").click()
    expect(page.locator(".banner")).to_contain_text("2 codes added")


def test_the_pages_of_users_keep_nobody_out(person: Page, stack: Stack) -> None:
    user = fresh("player")
    with stack.client() as client:
        client.post("/v1/users", json={"external_id": user, "display_name": "A player"})
        post(client, f"/v1/admin/users/{user}/adjustments", {"amount": 50, "reason": "a test"})
    check_pages(person, stack, "/users", f"/users/{user}", "/tiers", "/earning-rules", "/earning-rules/new")
