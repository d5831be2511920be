"""Items given by hand to several users at once, through the API's pipelined transaction."""

import pytest

from tests.builders.api import World


def made(world: World, path: str, **body: object) -> dict[str, object]:
    with world.client() as client:
        answer = client.post(path, json=body)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


@pytest.mark.parametrize("users", [1, 3])
def test_codes_are_given_by_hand_as_long_as_there_are_some(world: World, users: int):
    item = made(world, "/v1/admin/reward-items", name="Code", reward_type="voucher", reward_value=1, fulfilment={"type": "codes"})[
        "item_id"
    ]
    names = [f"player-{number}" for number in range(users)]
    for name in names:
        with world.client() as client:
            client.post("/v1/users", json={"external_id": name})
    with world.client() as client:
        added = client.post(f"/v1/admin/reward-items/{item}/codes", json={"codes": [f"C-{number}" for number in range(users)]})
        assert added.is_success, added.text
        given = client.post("/v1/admin/grants", json={"item_id": item, "external_ids": names, "reason": "sorry"})
        assert (given.status_code, given.json().get("granted")) == (201, users), given.text
        more = client.post("/v1/admin/grants", json={"item_id": item, "external_ids": names[:1], "reason": "again"})
        assert (more.status_code, more.json()["error"]["code"]) == (409, "OUT_OF_STOCK")
    left = world.rows("SELECT count(*) FILTER (WHERE redemption_id IS NULL), count(*) FROM reward_code WHERE reward_id = %s", item)
    assert left == [(0, users)]
