"""Redemptions, webhooks and stuck work in a real browser: the main path in both languages, live, and nothing that keeps anyone out."""

import re

import pytest
from playwright.sync_api import Browser, Page, Response, expect

from tests.conftest import Stack
from tests.console_browser import complaints, enter, tab
from tests.journey.programme import add_endpoint, add_reward, fresh, give_points, post, receiver, redemption_in

WORDS = {
    "en": {"processing": "processing", "fulfil": "Mark fulfilled", "reason": "Reason", "fulfilled": "fulfilled"},
    "vi": {"processing": "đang xử lý", "fulfil": "Đánh dấu hoàn tất", "reason": "Lý do", "fulfilled": "hoàn tất"},
}
LOCALES = {"en": "en-GB", "vi": "vi-VN"}


def fits(page: Page) -> bool:
    return not page.evaluate("document.documentElement.scrollWidth > innerWidth")


@pytest.mark.parametrize("language", ["en", "vi"])
def test_a_redemption_moves_while_one_looks_at_it_and_is_fulfilled_by_hand(browser: Browser, stack: Stack, language: str) -> None:
    said, user = WORDS[language], fresh("player")
    with receiver(503) as partner, stack.client() as client, tab(browser, locale=LOCALES[language]) as page:
        endpoint_id, _ = add_endpoint(client, partner.url)
        client.patch(f"/v1/admin/webhook-endpoints/{endpoint_id}", json={"events": ["webhook.test"], "retry_delays_seconds": [3, 3, 3]})
        give_points(client, user, 100)
        slug = add_reward(client, price=100, endpoint_id=endpoint_id)
        redemption = post(client, "/v1/redemptions", {"external_user_id": user, "slug": slug})["redemption_id"]
        enter(page, stack.described)
        page.goto(f"{stack.described['console_url']}/redemptions/{redemption}")
        expect(page.locator("h1")).to_contain_text(user)
        expect(page.locator(".states .now")).to_have_text(said["processing"])
        expect(page.locator("#deliveries")).to_contain_text("503")
        page.locator("details.confirm summary", has_text=said["fulfil"]).click()
        page.get_by_role("textbox", name=said["reason"]).fill("the partner said so by phone")
        page.get_by_role("button", name=said["fulfil"]).click()
        expect(page.locator(".states .now")).to_have_text(said["fulfilled"])
        expect(page.locator("#timeline")).to_contain_text("the partner said so by phone")
        assert redemption_in(client, redemption, "fulfilled")["points_spent"] == 100
        entries = client.get("/v1/admin/audit-log", params={"subject": "redemption", "subject_id": redemption}).json()["audit_log"]
        who = f"console:{stack.described['console_email']}"
        assert (who, "the partner said so by phone") in [(entry["actor"], entry["reason"]) for entry in entries]


def test_a_redemptions_page_keeps_nobody_out(person: Page, stack: Stack) -> None:
    user = fresh("player")
    with stack.client() as client:
        give_points(client, user, 100)
        slug = add_reward(client, price=100, fulfilment={"type": "manual"})
        redemption = post(client, "/v1/redemptions", {"external_user_id": user, "slug": slug})["redemption_id"]
    person.goto(f"{stack.described['console_url']}/redemptions/{redemption}")
    expect(person.locator("h1")).to_have_count(1)
    assert complaints(person) == []
    assert fits(person)
    person.locator("details.confirm summary", has_text="Mark fulfilled").click()
    assert complaints(person) == []
    link = person.get_by_role("link", name=re.compile("Open in Temporal"))
    expect(link).to_have_attribute("href", re.compile(f"%3A{redemption}$"))


def is_live(answer: Response) -> bool:
    return "x-laurel-live" in answer.request.headers


def test_a_click_is_not_lost_to_news_that_come_while_the_button_is_down(page: Page, stack: Stack) -> None:
    user = fresh("player")
    enter(page, stack.described)
    with stack.client() as client:
        give_points(client, user, 100)
        slug = add_reward(client, price=100, fulfilment={"type": "manual"})
        redemption = post(client, "/v1/redemptions", {"external_user_id": user, "slug": slug})["redemption_id"]
        page.goto(f"{stack.described['console_url']}/redemptions/{redemption}")
        expect(page.locator(".states .now")).to_have_text("pending")
        summary = page.locator("#head details.confirm summary", has_text="Mark fulfilled")
        summary.hover()
        page.mouse.down()
        client.patch(f"/v1/admin/rewards/redemptions/{redemption}", json={"status": "processing"}).raise_for_status()
        expect(page.locator("#timeline")).to_contain_text("processing")
        with page.expect_response(is_live), page.expect_response(is_live):
            pass
        expect(page.locator(".states .now")).to_have_text("pending")
        page.mouse.up()
        expect(page.get_by_role("textbox", name="Reason")).to_be_visible()
        page.keyboard.press("Escape")
    expect(page.locator(".states .now")).to_have_text("processing")
    expect(summary).to_be_focused()


def test_a_confirmation_that_opens_takes_nobody_out_of_the_field_where_one_types_already(page: Page, stack: Stack) -> None:
    user = fresh("player")
    enter(page, stack.described)
    with stack.client() as client:
        give_points(client, user, 100)
        slug = add_reward(client, price=100, fulfilment={"type": "manual"})
        redemption = post(client, "/v1/redemptions", {"external_user_id": user, "slug": slug})["redemption_id"]
    page.goto(f"{stack.described['console_url']}/redemptions/{redemption}")
    confirmation = page.locator("#head details.confirm", has=page.locator("summary", has_text="Mark fulfilled"))
    first, reason = confirmation.locator("input:not([type=hidden])").first, confirmation.locator("textarea[name=reason]")
    confirmation.evaluate("(it) => { it.open = true; it.querySelector('textarea[name=reason]').focus(); }")  # before its event comes
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
    expect(reason).to_be_focused()
    page.keyboard.press("Escape")
    confirmation.locator("summary").click()
    expect(first).to_be_focused()


def test_a_new_redemption_appears_in_the_list_by_itself(page: Page, stack: Stack) -> None:
    user = fresh("player")
    enter(page, stack.described)
    page.goto(f"{stack.described['console_url']}/redemptions")
    with stack.client() as client:
        give_points(client, user, 100)
        slug = add_reward(client, price=100, fulfilment={"type": "manual"})
        post(client, "/v1/redemptions", {"external_user_id": user, "slug": slug})
    expect(page.locator("#rows")).to_contain_text(user)


def test_an_endpoints_pages_keep_nobody_out(person: Page, stack: Stack) -> None:
    with stack.client() as client:
        body = {"url": "http://127.0.0.1:9/hook", "events": ["webhook.test"], "retry_delays_seconds": []}
        endpoint = post(client, "/v1/admin/webhook-endpoints", body)["endpoint_id"]
        delivery = post(client, f"/v1/admin/webhook-endpoints/{endpoint}/test", {}, 202)["delivery_id"]
    paths = ("/webhooks/new", f"/webhooks/{endpoint}", f"/webhooks/{endpoint}/edit", "/webhooks/deliveries")
    for path in (*paths, f"/webhooks/deliveries/{delivery}"):
        person.goto(stack.described["console_url"] + path)
        expect(person.locator("h1")).to_have_count(1)
        assert complaints(person) == [], path
        assert fits(person), path


@pytest.mark.parametrize("language", ["en", "vi"])
def test_an_endpoint_is_made_shows_its_secret_and_its_test_is_answered_before_ones_eyes(
    browser: Browser, stack: Stack, language: str
) -> None:
    named = {
        "en": ("Address", "Add endpoint", "Send a test", "The partner accepted the test."),
        "vi": ("Địa chỉ", "Thêm địa chỉ nhận", "Gửi thử", "Hoạt động tốt: đối tác đã nhận lần gửi thử."),
    }
    address, add, test, works = named[language]
    with receiver() as partner, tab(browser, locale=LOCALES[language]) as page:
        enter(page, stack.described)
        page.goto(f"{stack.described['console_url']}/webhooks/new")
        page.get_by_role("textbox", name=address).fill(partner.url)
        page.locator("input[name=events][value='*']").uncheck()
        page.locator("input[name=events][value='webhook.test']").check()
        page.locator("input[name=retry_1]").fill("3600")
        expect(page.locator("#ladder")).to_contain_text("1 h" if language == "en" else "1 tiếng")
        page.get_by_role("button", name=add).click()
        expect(page.locator("#secret")).to_contain_text("whsec_")
        assert complaints(page) == []
        page.get_by_role("button", name=test).click()
        expect(page.locator("#test")).to_contain_text(works)
        assert {each.headers["x-gamifyengine-event"] for each in partner.received} == {"webhook.test"}


def test_stuck_work_keeps_nobody_out_and_fails_nothing_with_temporal_there(person: Page, stack: Stack) -> None:
    with stack.client() as client:
        body = {"url": "http://127.0.0.1:9/hook", "events": ["tier_change"]}
        endpoint = post(client, "/v1/admin/webhook-endpoints", body)["endpoint_id"]
        post(client, f"/v1/admin/webhook-endpoints/{endpoint}/disable", {}, 200)
    person.goto(f"{stack.described['console_url']}/stuck-work")
    expect(person.locator("h1")).to_have_text("Needs attention")
    expect(person.get_by_text("Temporal isn't responding.")).to_have_count(0)
    assert complaints(person) == []
    assert fits(person)
