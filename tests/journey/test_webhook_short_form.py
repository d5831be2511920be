"""`PUT /v1/admin/webhook`, the one-endpoint form that programmes which come from GamifyEngine know."""

from tests.builders.api import World
from tests.journey.test_store import _emptied, error, url, world  # noqa: F401 - fixtures


def test_the_short_form_makes_one_endpoint_and_changes_it_ever_after(world: World):  # noqa: F811
    with world.client() as admin, world.client("server") as server:
        made = admin.put("/v1/admin/webhook", json={"url": "http://127.0.0.1:9/one"}).json()
        assert made["secret"].startswith("whsec_")
        assert made["events"] == ["*"]
        admin.post(f"/v1/admin/webhook-endpoints/{made['endpoint_id']}/disable").raise_for_status()
        changed = admin.put("/v1/admin/webhook", json={"url": "http://127.0.0.1:9/two"}).json()
        assert (changed["endpoint_id"], changed["url"]) == (made["endpoint_id"], "http://127.0.0.1:9/two")
        assert (changed["enabled"], changed["disabled_reason"], "secret" in changed) == (True, None, False)
        assert len(admin.get("/v1/admin/webhook-endpoints").json()["webhook_endpoints"]) == 1
        assert error(server.put("/v1/admin/webhook", json={"url": "http://127.0.0.1:9/"})) == (403, "FORBIDDEN")
