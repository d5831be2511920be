"""Reward configs and reward items in the console over HTTP."""

import re
from typing import Any

from console.reward.config_labels import costs, lines, warnings
from runtime.settings import Settings
from tests.builders.api import World, make_world
from tests.builders.console import Tab, heading, signed_in


def add_item(world: World, name: str = "Purse", **given: Any) -> str:
    with world.client() as admin:
        answer = admin.post("/v1/admin/reward-items", json={"name": name, "reward_type": "points", "reward_value": 500, **given})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["item_id"])


def form(*lines: tuple[str, str, str, list[str]], **more: Any) -> dict[str, Any]:
    given = {f"items-{number}": each[3] for number, each in enumerate(lines)}
    columns = {"kind": 0, "low": 1, "high": 2}
    rows = {name: [str(each[place]) for each in lines] for name, place in columns.items()}
    return {"name": "Weekly rewards", "name-of": [""] * len(lines), **rows, **given, **more}


def made(tab: Tab, *lines: tuple[str, str, str, list[str]], **more: Any) -> str:
    tab.get("/reward-configs/new")
    page = tab.send("/reward-configs", **form(*lines, **more))
    assert (page.status_code, heading(page)) == (200, "Weekly rewards"), page.text
    return page.url.path.removeprefix("/console")


def test_a_reward_config_is_made_shown_in_plain_words_changed_and_archived(world: World) -> None:
    purse, badge = add_item(world), add_item(world, "Gold badge", reward_type="badge", reward_value=None)
    tab = signed_in(world)
    path = made(tab, ("rank", "1", "1", [purse, badge]), ("rank", "2", "10", [purse]), budget_of=["points"], budget_limit=["4000"])
    page = tab.get(path)
    text = re.sub(r"<[^>]+>|\s+", " ", page.text)
    assert re.search(r"Rank 1 +500 Points and Gold badge +Ranks 2–10 +500 Points", text), text
    assert "5,000 Points and 1 × Gold badge" in page.text
    assert "whoever comes last gets none" in page.text
    assert "Ranks 2–10" in tab.get("/reward-configs").text
    tab.get(f"{path}/edit")
    changed = form(("top_percent", "10", "", [badge]), version="1", reason="fewer")
    page = tab.send(f"{path}/edit", **changed)
    assert "The top 10%" in page.text
    tab.get(f"{path}/edit")
    assert tab.send(f"{path}/edit", **changed).status_code == 400, "somebody saved since"
    tab.get(path)
    assert "The reward config is archived." in tab.send(f"{path}/archive", reason="over").text
    reasons = world.rows("SELECT reason FROM audit_log WHERE subject = 'reward_config' ORDER BY audit_id")
    assert [reason for (reason,) in reasons] == [None, "fewer", "over"]


def test_the_preview_saves_nothing_and_errors_stand_at_their_line(world: World) -> None:
    purse = add_item(world)
    tab = signed_in(world)
    tab.get("/reward-configs/new")
    page = tab.send("/reward-configs/preview", **form(("rank", "1", "3", [purse]), ("rank", "5", "6", [purse])))
    assert "Rank 4 gets nothing." in page.text
    page = tab.send("/reward-configs/preview", **form(("rank", "1", "x", [purse])))
    assert "A bound is no number yet." in page.text
    page = tab.send("/reward-configs", **form(("rank", "9", "3", [purse])))
    assert (page.status_code, "must not be less than min_rank" in page.text) == (400, True)
    assert tab.send("/reward-configs", **form(("rank", "1", "3", []))).status_code == 400
    with world.client() as admin:
        assert admin.get("/v1/admin/reward-configs").json()["reward_configs"] == []


def test_items_are_made_and_changed_and_codes_are_brought(world: World) -> None:
    tab = signed_in(world)
    tab.get("/reward-items/new")
    sent = {"name": "Coffee", "reward_type": "voucher", "reward_value": "", "fulfilment": "codes", "payload": "{}"}
    page = tab.send("/reward-items", **sent)
    assert heading(page) == "Coffee"
    path = page.url.path.removeprefix("/console")
    page = tab.send(f"{path}/codes", codes="AAA-1\nAAA-2\nAAA-1")
    assert "2 codes added." in page.text
    page = tab.send(path, **sent | {"name": "Coffee to go", "version": "1", "reason": "clearer"})
    assert heading(page) == "Coffee to go"
    assert tab.send("/reward-items", **sent | {"payload": "{"}).status_code == 400
    page = tab.send("/reward-items", **sent | {"reward_type": "points", "fulfilment": "wallet", "reward_value": "many"})
    assert (page.status_code, "must be the amount" in page.text) == (400, True)
    tab.get(path)
    assert "The item is archived." in tab.send(f"{path}/archive", reason="gone").text


async def test_viewers_look_and_other_tenants_see_nothing(world: World, settings: Settings) -> None:
    purse = add_item(world)
    path = made(signed_in(world), ("everyone", "", "", [purse]))
    viewer = signed_in(world, "viewer")
    assert "Edit" not in viewer.get(path).text
    assert viewer.get(f"{path}/edit").status_code == 403
    assert 'class="primary"' not in viewer.get(f"/reward-items/{purse}").text
    assert viewer.send(f"/reward-items/{purse}", name="Mine", reward_type="badge").status_code == 400
    stranger = signed_in(await make_world(settings, world.url))
    assert stranger.get(path).status_code == 404
    assert stranger.get(f"/reward-items/{purse}").status_code == 404
    assert "Weekly rewards" not in stranger.get("/reward-configs").text


ITEMS: dict[str, Any] = {
    "p": {"name": "Purse", "reward_type": "points", "reward_value": 0.5, "payload": {}, "fulfilment": {"type": "wallet"}},
    "b": {"name": "Badge", "reward_type": "badge", "reward_value": None, "payload": {}, "fulfilment": {"type": "recorded"}},
}


def test_costs_count_each_rank_once_and_know_when_they_cannot_be_told() -> None:
    found = costs([{"min_rank": 1, "max_rank": 3, "item_ids": ["p"]}, {"min_rank": 2, "max_rank": 5, "item_ids": ["p", "b"]}], ITEMS)
    assert found is not None
    assert {key: float(value) for key, value in found.items()} == {"points": 2.5, "b": 2}
    assert costs([{"min_rank": 1, "item_ids": ["p"]}], ITEMS) is None
    assert costs([{"top_percent": 5, "item_ids": ["p"]}], ITEMS) is None


def test_lines_nobody_reaches_are_told() -> None:
    tiers = [{"item_ids": ["b"]}, {"min_rank": 1, "max_rank": 1, "item_ids": ["p"]}]
    assert [text.partition(":")[0] for text in warnings(tiers, {}, ITEMS, {})] == ["Nobody reaches line 2"]
    again = [{"min_rank": 1, "max_rank": 5, "item_ids": ["p"]}, {"min_rank": 2, "max_rank": 3, "item_ids": ["b"]}]
    assert [text.partition(":")[0] for text in warnings(again, {}, ITEMS, {})] == ["Nobody reaches line 2"]
    assert [each[1] for each in lines([{"min_score": 10, "item_ids": ["b"]}, {"item_ids": ["p"]}], ITEMS, {})] == [
        "Whoever scores 10 or more",
        "Everybody else",
    ]
