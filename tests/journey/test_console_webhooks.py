"""Webhooks in the console over HTTP: endpoints, their secrets, deliveries, who may change what, and the wall between tenants."""

import re
from typing import Any

from runtime.settings import Settings
from tests.builders.api import World, make_world
from tests.builders.console import Tab, heading, signed_in
from tests.journey.programme import post

FORM: dict[str, Any] = {
    "url": "http://127.0.0.1:9/hook",
    "description": "Partner A",
    "events": ["reward_redeemed", "webhook.test"],
    "rate_per_second": "20",
    "timeout_seconds": "5",
    "retry_1": "15",
    "retry_2": "60",
    "retry_3": "",
}
SECRET = re.compile(r"whsec_[A-Za-z0-9+/=]+")


def new_endpoint(world: World) -> str:
    with world.client() as client:
        body = {"url": "http://127.0.0.1:9/hook", "events": ["webhook.test"], "description": "Partner A"}
        return str(post(client, "/v1/admin/webhook-endpoints", body)["endpoint_id"])


def shown_secret(tab: Tab) -> str:
    assert tab.page is not None
    found = SECRET.search(tab.page.text)
    assert found, tab.page.text
    return found.group(0)


def test_an_endpoint_is_made_and_its_secret_is_shown_once(world: World) -> None:
    tab = signed_in(world)
    tab.get("/webhooks/new")
    page = tab.send("/webhooks", **FORM)
    assert (page.status_code, heading(page)) == (201, "Endpoint created")
    secret = shown_secret(tab)
    ((endpoint_id, *kept),) = world.rows(
        "SELECT endpoint_id, url, events, rate_per_second, timeout_seconds, retry_delays_seconds FROM webhook_endpoint"
    )
    assert kept == ["http://127.0.0.1:9/hook", ["reward_redeemed", "webhook.test"], 20, 5, [15, 60]]
    for path in ("/webhooks", f"/webhooks/{endpoint_id}", f"/webhooks/{endpoint_id}/edit", "/audit-log"):
        assert secret not in tab.get(path).text


def test_a_form_that_is_refused_keeps_what_was_typed_and_marks_what_is_wrong(world: World) -> None:
    tab = signed_in(world)
    tab.get("/webhooks/new")
    page = tab.send("/webhooks", **FORM | {"url": "ftp://nowhere", "retry_3": "17"})
    assert page.status_code == 400
    assert "Nothing was saved." in page.text
    assert 'value="ftp://nowhere"' in page.text
    assert 'value="17"' in page.text
    assert 'id="e-url"' in page.text
    page = tab.send("/webhooks", **FORM | {"retry_1": "0"})
    assert page.status_code == 400
    assert 'class="error" role="alert"' in page.text
    page = tab.send("/webhooks", **FORM | {"events": []})
    assert page.status_code == 400
    assert world.rows("SELECT count(*) FROM webhook_endpoint") == [(0,)]


def test_the_preview_says_in_words_when_it_is_tried_again(world: World) -> None:
    tab = signed_in(world)
    tab.get("/webhooks/new")
    assert "after 15 secs and 1 min (" in tab.send("/webhooks/preview", **FORM).text
    tab.get("/webhooks/new")
    assert "One attempt." in tab.send("/webhooks/preview", **FORM | {"retry_1": "", "retry_2": ""}).text


def test_an_endpoint_is_changed_disabled_enabled_and_archived_with_reasons(world: World) -> None:
    endpoint, tab = new_endpoint(world), signed_in(world)
    root = f"/webhooks/{endpoint}"
    tab.get(f"{root}/edit")
    page = tab.send(f"{root}/edit", **FORM | {"description": "Partner B", "reason": "they moved"})
    assert heading(page) == "Partner B"
    assert "held" in tab.send(f"{root}/disable", reason="they asked for it").text
    assert world.rows("SELECT enabled FROM webhook_endpoint") == [(False,)]
    tab.send(f"{root}/enable", reason="")
    assert world.rows("SELECT enabled FROM webhook_endpoint") == [(True,)]
    tab.send(f"{root}/archive", reason="the contract is over")
    assert tab.get(root).status_code == 404
    reasons = {row[0] for row in world.rows("SELECT reason FROM audit_log WHERE subject = 'webhook_endpoint'")}
    assert {"they moved", "they asked for it", "the contract is over"} <= reasons


def test_a_new_secret_says_until_when_the_old_one_is_valid(world: World) -> None:
    endpoint, tab = new_endpoint(world), signed_in(world)
    tab.get(f"/webhooks/{endpoint}")
    page = tab.send(f"/webhooks/{endpoint}/rotate", overlap="3600", reason="once a year")
    assert heading(page) == "Secret rotated"
    shown_secret(tab)
    assert "The old secret is valid until" in page.text
    page = tab.get(f"/webhooks/{endpoint}")
    assert "Two secrets are active." in page.text
    assert "two secrets until" in tab.get("/webhooks").text
    tab.get(f"/webhooks/{endpoint}")
    assert 'role="alert"' in tab.send(f"/webhooks/{endpoint}/rotate", overlap="3600", reason="again").text, "not during an overlap"


def test_deliveries_are_filtered_shown_and_sent_again(world: World) -> None:
    endpoint, tab = new_endpoint(world), signed_in(world)
    tab.get(f"/webhooks/{endpoint}")
    page = tab.send(f"/webhooks/{endpoint}/test")
    assert "Sending…" in page.text
    ((delivery,),) = world.rows("SELECT delivery_id FROM webhook_delivery")
    assert "webhook.test" in tab.get(f"/webhooks/deliveries/{delivery}").text
    assert "&#34;event&#34;: &#34;webhook.test&#34;" in tab.page.text  # type: ignore[union-attr]
    for filters, is_shown in (
        ({}, True),
        ({"endpoint": endpoint, "event": "webhook.test", "state": "pending"}, True),
        ({"state": "exhausted"}, False),
        ({"event": "tier_change"}, False),
        ({"redemption": "nonsense"}, False),
    ):
        assert (f"/console/webhooks/deliveries/{delivery}" in tab.get("/webhooks/deliveries", **filters).text) == is_shown, filters
    tab.get(f"/webhooks/deliveries/{delivery}")
    assert 'role="alert"' in tab.send(f"/webhooks/deliveries/{delivery}/resend").text, "it is still being tried"
    world.rows("UPDATE webhook_delivery SET state = 'exhausted', due_at = NULL, due_trigger = NULL RETURNING 1")
    page = tab.send(f"/webhooks/deliveries/{delivery}/resend", reason="they are back")
    assert "Queued for resending." in page.text


def test_what_failed_is_sent_again_since_an_instant(world: World) -> None:
    endpoint, tab = new_endpoint(world), signed_in(world)
    tab.get(f"/webhooks/{endpoint}")
    page = tab.send(f"/webhooks/{endpoint}/recover", since="2026-01-01T00:00", reason="")
    assert "0 queued for resending." in page.text
    assert "Choose a start time." in tab.send(f"/webhooks/{endpoint}/recover", since="yesterday").text


def test_a_viewer_sees_endpoints_and_changes_none(world: World) -> None:
    endpoint, tab = new_endpoint(world), signed_in(world, "viewer")
    page = tab.get(f"/webhooks/{endpoint}")
    assert page.status_code == 200
    assert f'action="/console/webhooks/{endpoint}' not in page.text
    for path in (f"/webhooks/{endpoint}/edit", "/webhooks/new"):
        assert tab.get(path).status_code == 403
    for act in ("disable", "archive", "test", "rotate"):
        tab.get(f"/webhooks/{endpoint}")
        assert 'role="alert"' in tab.send(f"/webhooks/{endpoint}/{act}", reason="let me", overlap="0").text, act
    tab.get("/webhooks")
    assert tab.send("/webhooks", **FORM).status_code in (400, 403)
    assert world.rows("SELECT enabled, archived_at FROM webhook_endpoint") == [(True, None)]
    assert world.rows("SELECT count(*) FROM webhook_secret") == [(1,)]


def test_a_change_needs_the_token_of_the_session(world: World) -> None:
    endpoint, tab = new_endpoint(world), signed_in(world)
    assert tab.client.post(f"/webhooks/{endpoint}/disable", data={"reason": "x", "form_token": "0" * 64}).status_code == 403
    assert world.rows("SELECT enabled FROM webhook_endpoint") == [(True,)]


async def test_another_tenants_endpoints_and_deliveries_are_not_there(world: World, settings: Settings, url: str) -> None:
    other = await make_world(settings, url)
    endpoint = new_endpoint(other)
    with other.client() as client:
        delivery = post(client, f"/v1/admin/webhook-endpoints/{endpoint}/test", {}, 202)["delivery_id"]
    tab = signed_in(world)
    for path in (f"/webhooks/{endpoint}", f"/webhooks/{endpoint}/edit", f"/webhooks/deliveries/{delivery}", "/webhooks/no-id"):
        assert tab.get(path).status_code == 404, path
    tab.get("/webhooks")
    tab.send(f"/webhooks/{endpoint}/disable", reason="not mine")
    assert other.rows("SELECT enabled FROM webhook_endpoint WHERE endpoint_id = %s", endpoint) == [(True,)]
    assert endpoint not in tab.get("/webhooks").text + tab.get("/webhooks/deliveries").text


def test_all_events_and_single_ones_together_are_a_question_not_an_answer(world: World) -> None:
    """What was ticked beside a box that was ticked already was lost without a word, and the endpoint took everything."""
    tab = signed_in(world)
    page = tab.send("/webhooks", **FORM | {"events": ["*", "reward_redeemed"]})
    assert page.status_code == 400
    assert "Choose either all events or single ones." in page.text
    assert page.text.count("checked") >= 2, "both ticks are still there"
    assert world.rows("SELECT count(*) FROM webhook_endpoint") == [(0,)]
