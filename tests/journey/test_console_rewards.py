"""The store in the console over HTTP: the editor with the webhook's body, stock, codes, who may do what, and the wall between tenants."""

from typing import Any

from runtime.settings import Settings
from tests.builders.api import World, make_world
from tests.builders.console import Tab, heading, signed_in

FORM: dict[str, Any] = {
    "name": "Coffee",
    "slug": "coffee",
    "active": "on",
    "type": "voucher",
    "value": '{"cups": 2}',
    "price_amount": ["900", ""],
    "price_currency": ["points", "points"],
    "variant_id": ["", ""],
    "variant_name": ["", ""],
    "variant_prices": ["", ""],
    "variant_stock": ["", ""],
    "variant_stock_was": ["", ""],
    "variant_value": ["", ""],
    "field_name": ["phone", ""],
    "field_label": ["Phone", ""],
    "field_type": ["tel", "text"],
    "field_required": ["yes", "yes"],
    "field_pattern": ["[0-9]{9,11}", ""],
    "stock": "10",
    "low_stock": "3",
    "per_user_period": "ever",
    "fulfilment": "webhook",
    "deadline": "3",
    "unit": "86400",
}


def new_reward(tab: Tab, **more: Any) -> str:
    """A reward made by the form; answers its path."""
    tab.get("/rewards/new")
    page = tab.send("/rewards", **FORM | more)
    assert (page.status_code, heading(page)) == (200, "Coffee"), page.text
    return page.url.path.removeprefix("/console")


def kept(world: World) -> dict[str, Any]:
    with world.client() as admin:
        return dict(admin.get("/v1/admin/rewards/coffee").json())


def test_a_reward_is_made_changed_and_archived_and_the_audit_log_says_why(world: World) -> None:
    tab = signed_in(world)
    path = new_reward(tab)
    made = kept(world)
    assert (made["value"], made["prices"], made["stock"]) == ({"cups": 2}, [{"currency": "points", "amount": 900}], 10)
    assert made["fulfilment"]["deadline_seconds"] == 3 * 86_400
    assert made["config"] == {"low_stock": 3}
    tab.get(f"{path}/edit")
    changed = FORM | {"price_amount": ["950", ""], "stock_was": "10", "version": "1", "reason": "dearer beans"}
    assert "950" in tab.send(f"{path}/edit", **changed).text
    assert tab.send(f"{path}/archive", reason="no more beans").url.path == "/console/rewards"
    assert tab.get(path).status_code == 404
    rows = world.rows("SELECT reason FROM audit_log WHERE subject = 'reward' AND reason IS NOT NULL ORDER BY audit_id")
    assert rows == [("dearer beans",), ("no more beans",)]


def test_the_preview_is_the_webhooks_body_and_saves_nothing(world: World) -> None:
    tab = signed_in(world)
    tab.get("/rewards/new")
    shown = tab.send("/rewards/preview", **FORM).text.split('id="preview"')[1]
    for part in (
        "&#34;event&#34;: &#34;reward_redeemed&#34;",
        "&#34;cups&#34;: 2",
        "&#34;points_spent&#34;: 900",
        "&#34;fulfillmentData&#34;",
        "+84 90",
    ):
        assert part in shown
    shown = tab.send("/rewards/preview", **FORM | {"field_pattern": ["(", ""]}).text.split('id="preview"')[1]
    assert "fields[0].pattern" in shown
    with world.client() as admin:
        assert admin.get("/v1/admin/rewards").json()["rewards"] == []


def test_what_is_typed_is_not_lost_when_it_is_refused(world: World) -> None:
    tab = signed_in(world)
    tab.get("/rewards/new")
    page = tab.send("/rewards", **FORM | {"price_currency": ["gold", ""], "description": "typed with care"})
    assert (page.status_code, "typed with care" in page.text) == (400, True)
    assert "is not a currency that can be spent" in page.text
    page = tab.send("/rewards", **FORM | {"eligibility": "{"})
    assert (page.status_code, "Invalid JSON" in page.text) == (400, True)


def test_stock_that_was_sold_while_somebody_edits_is_not_given_back(world: World) -> None:
    tab = signed_in(world)
    path = new_reward(tab)
    tab.get(f"{path}/edit")
    with world.client() as admin:
        admin.patch("/v1/admin/rewards/coffee", json={"stock": 7})
    tab.send(f"{path}/edit", **FORM | {"stock_was": "10", "description": "new words"})
    assert (kept(world)["stock"], kept(world)["description"]) == (7, "new words")
    tab.get(path)
    tab.send(f"{path}/stock", stock="15", stock_was="10", reason="five more came")
    assert kept(world)["stock"] == 12


def test_codes_come_from_a_text_and_a_file_and_known_ones_are_left_out(world: World) -> None:
    tab = signed_in(world)
    path = new_reward(tab, fulfilment="codes", stock="")
    assert "Reward created." in tab.page.text  # type: ignore[union-attr]
    assert "no codes left" in tab.get(path).text, "nothing was sold yet"
    assert "A-1, B" not in tab.get(path).text
    form = {"form_token": tab.token(), "codes": "A-1\nB-2\n"}
    page = tab.client.post(f"{path}/codes", data=form, files={"file": ("codes.txt", b"B-2\r\nC-3\r\n", "text/plain")})
    assert "3 codes added. 1 duplicate skipped." in page.text
    assert "A-1" not in page.text, "codes are shown to nobody"
    assert kept(world)["stock"] == 3


def test_a_value_that_only_looks_like_a_number_stays_a_text(world: World) -> None:
    tab = signed_in(world)
    path = new_reward(tab, value='"0123"')
    assert kept(world)["value"] == "0123"
    shown = tab.get(f"{path}/edit").text
    assert 'name="value" type="text" value="0123"' in shown
    new_reward(tab, slug="other", value='"123"')
    with world.client() as admin:
        assert admin.get("/v1/admin/rewards/other").json()["value"] == "123"
    other = tab.page.url.path.removeprefix("/console")  # type: ignore[union-attr]
    assert 'value="&#34;123&#34;"' in tab.get(f"{other}/edit").text


def test_a_variant_has_its_own_price_and_stock(world: World) -> None:
    tab = signed_in(world)
    rows = {
        "variant_id": ["large", ""],
        "variant_name": ["Large", ""],
        "variant_prices": ["1200 points", ""],
        "variant_stock": ["4", ""],
        "variant_value": ['{"cups": 3}', ""],
    }
    path = new_reward(tab, **rows)
    (variant,) = kept(world)["variants"]
    assert variant == {
        "id": "large",
        "name": "Large",
        "prices": [{"currency": "points", "amount": 1200}],
        "stock": 4,
        "value": {"cups": 3},
    }
    page = tab.get(f"{path}/edit").text
    assert 'value="1200 points"' in page
    assert 'name="variant_stock_was" value="4"' in page


def test_a_viewer_sees_rewards_and_changes_nothing(world: World) -> None:
    path = new_reward(signed_in(world))
    tab = signed_in(world, "viewer")
    page = tab.get(path)
    assert heading(page) == "Coffee"
    assert "Archive" not in page.text
    assert tab.get("/rewards/new").status_code == 403
    for act in ("archive", "stock", "switch", "codes"):
        tab.get("/account")
        assert "Viewers cannot make changes" in tab.send(f"{path}/{act}", reason="spite", stock="0", active="no", codes="X").text
    assert kept(world)["stock"] == 10


async def test_another_tenants_reward_is_not_there(world: World, settings: Settings) -> None:
    path = new_reward(signed_in(world))
    stranger = signed_in(await make_world(settings, world.url))
    assert stranger.get(path).status_code == 404
    assert stranger.get(f"{path}/edit").status_code == 404
    assert "Coffee" not in stranger.get("/rewards").text
    stranger.send(f"{path}/archive", reason="spite")
    assert kept(world)["name"] == "Coffee"
