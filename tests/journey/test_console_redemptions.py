"""Redemptions in the console over HTTP: what the page shows, who may move one, and the wall between tenants."""

import csv
import io
import re

import pytest

from runtime.settings import Settings
from tests.builders.api import World, make_world
from tests.builders.console import Tab, heading, signed_in
from tests.journey.programme import add_reward, give_points, points_of, post


def redeem(world: World, user: str = "ann", **more: object) -> str:
    """A redemption of 100 points that a person has to fulfil; answers its id."""
    with world.client() as client:
        give_points(client, user, 100)
        slug = add_reward(client, price=100, **{"fulfilment": {"type": "manual"}, **more})
        return str(post(client, "/v1/redemptions", {"external_user_id": user, "slug": slug})["redemption_id"])


def status_of(world: World, redemption_id: str) -> str:
    return str(world.rows("SELECT status FROM redemption WHERE redemption_id = %s", redemption_id)[0][0])


def acts_on(tab: Tab) -> set[str]:
    """The acts that the present page offers."""
    assert tab.page is not None
    return set(re.findall(r'action="/console/redemptions/[0-9a-f-]+/([a-z-]+)"', tab.page.text))


def test_a_person_takes_a_redemption_on_fulfils_it_and_reverses_it_each_with_a_reason(world: World) -> None:
    redemption, tab = redeem(world), signed_in(world)
    page = tab.get(f"/redemptions/{redemption}")
    assert heading(page) == "Voucher 10K for ann"
    assert acts_on(tab) == {"take-on", "fulfil", "fail", "cancel"}
    tab.send(f"/redemptions/{redemption}/take-on", reason="")
    assert status_of(world, redemption) == "processing"
    assert acts_on(tab) == {"fulfil", "fail", "cancel"}
    page = tab.send(f"/redemptions/{redemption}/fulfil", reason="handed over", name="code", value="ABC-1")
    assert status_of(world, redemption) == "fulfilled"
    assert "ABC-1" in page.text
    assert "handed over" in page.text
    assert acts_on(tab) == {"reverse"}
    tab.send(f"/redemptions/{redemption}/reverse", reason="given to somebody else")
    assert status_of(world, redemption) == "reversed"
    assert acts_on(tab) == set()
    with world.client() as client:
        assert points_of(client, "ann")["available"] == 100
    reasons = world.rows("SELECT actor, reason FROM audit_log WHERE subject = 'redemption' AND reason IS NOT NULL ORDER BY audit_id")
    assert [reason for _, reason in reasons if reason in ("handed over", "given to somebody else")][-1] == "given to somebody else"
    assert all(str(actor).startswith("console:") for actor, reason in reasons if reason == "handed over")


def test_what_waits_for_an_approval_is_approved_or_rejected_and_nothing_else(world: World) -> None:
    tab = signed_in(world)
    approved, rejected = (redeem(world, user, requires_approval=True) for user in ("ann", "bob"))
    tab.get(f"/redemptions/{approved}")
    assert acts_on(tab) == {"approve", "reject"}
    tab.send(f"/redemptions/{approved}/approve", reason="")
    tab.send(f"/redemptions/{rejected}/reject", reason="not this time")
    assert (status_of(world, approved), status_of(world, rejected)) == ("pending", "cancelled")


def test_an_act_that_the_present_state_does_not_allow_says_so_and_changes_nothing(world: World) -> None:
    redemption, tab = redeem(world), signed_in(world)
    tab.get(f"/redemptions/{redemption}")
    tab.send(f"/redemptions/{redemption}/cancel", reason="a mistake")
    page = tab.send(f"/redemptions/{redemption}/fulfil", reason="too late")
    assert 'role="alert"' in page.text
    assert status_of(world, redemption) == "cancelled"
    assert tab.send(f"/redemptions/{redemption}/explode", reason="x").text.count("Unknown action.") == 1


def test_the_page_shows_the_ledger_before_and_after(world: World) -> None:
    redemption, tab = redeem(world), signed_in(world)
    page = tab.get(f"/redemptions/{redemption}")
    assert "Captured on fulfilment" in page.text
    assert page.text.count(">-100<") == 1
    page = tab.send(f"/redemptions/{redemption}/fulfil", reason="done")
    assert "Spent" in page.text
    assert page.text.count(">-100<") == 2
    page = tab.send(f"/redemptions/{redemption}/reverse", reason="undone")
    assert "Refund" in page.text


def test_a_viewer_sees_everything_and_moves_nothing(world: World) -> None:
    redemption, tab = redeem(world), signed_in(world, "viewer")
    assert tab.get(f"/redemptions/{redemption}").status_code == 200
    assert acts_on(tab) == set()
    assert 'role="alert"' in tab.send(f"/redemptions/{redemption}/cancel", reason="let me").text
    assert status_of(world, redemption) == "pending"
    assert tab.get("/redemptions.csv").text.count("\n") == 2


def test_a_move_needs_the_token_of_the_session(world: World) -> None:
    redemption, tab = redeem(world), signed_in(world)
    tab.get(f"/redemptions/{redemption}")
    assert tab.client.post(f"/redemptions/{redemption}/cancel", data={"reason": "x", "form_token": "0" * 64}).status_code == 403
    assert status_of(world, redemption) == "pending"


async def test_another_tenants_redemption_is_not_there(world: World, settings: Settings, url: str) -> None:
    redemption = redeem(await make_world(settings, url))
    tab = signed_in(world)
    assert tab.get(f"/redemptions/{redemption}").status_code == 404
    assert tab.get("/redemptions/no-id").status_code == 404
    tab.get("/redemptions")
    tab.send(f"/redemptions/{redemption}/cancel", reason="not mine")
    assert status_of(world, redemption) == "pending"
    assert redemption not in tab.get("/redemptions").text + tab.get("/redemptions.csv").text


def test_the_list_is_filtered_and_the_csv_holds_the_same(world: World) -> None:
    ann, bob, tab = redeem(world, "ann"), redeem(world, "bob"), signed_in(world)
    tab.get(f"/redemptions/{bob}")
    tab.send(f"/redemptions/{bob}/cancel", reason="a test")
    for filters, expected in (
        ({}, {ann, bob}),
        ({"status": "pending"}, {ann}),
        ({"user": "bob"}, {bob}),
        ({"from": "2020-01-01", "to": "2020-01-31"}, set()),
        ({"from": "2020-01-01"}, {ann, bob}),
        ({"flag": "no_endpoint"}, set()),
    ):
        page = tab.get("/redemptions", **filters)
        assert {each for each in (ann, bob) if f"/console/redemptions/{each}" in page.text} == expected, filters
        rows = list(csv.DictReader(io.StringIO(tab.get("/redemptions.csv", **filters).text)))
        assert {row["redemption_id"] for row in rows} == expected, filters
    assert 'class="banner" role="status"' in tab.get("/redemptions", user="nobody").text
    assert tab.get("/redemptions.csv", user="nobody").status_code == 404


def test_a_long_csv_is_streamed_whole(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.redemption.listing.CSV_PAGE", 1)
    made = {redeem(world, f"user-{number}") for number in range(7)}
    rows = list(csv.DictReader(io.StringIO(signed_in(world).get("/redemptions.csv").text)))
    assert {row["redemption_id"] for row in rows} == made


def test_the_page_speaks_vietnamese(world: World) -> None:
    redemption, tab = redeem(world), signed_in(world, **{"Accept-Language": "vi"})
    page = tab.get(f"/redemptions/{redemption}")
    assert "Đánh dấu hoàn tất" in page.text
    assert "Diễn biến" in page.text
