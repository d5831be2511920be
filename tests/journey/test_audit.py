"""The audit log over HTTP: every admin's change leaves who, what, before, after and why; a change that failed leaves nothing."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from runtime.postgres import Pool
from runtime.settings import Settings
from tests.api_world import World, event, make_world, serving
from tests.conftest import settings_for

OPERATOR = {"Authorization": "Bearer operator-key-of-the-tests"}
LOG = "/v1/admin/audit-log"


@pytest.fixture(scope="module")
def url(postgres_url: str, redis_server: str) -> Iterator[str]:
    with serving(settings_for(postgres_url, redis_server, "127.0.0.1:1")) as address:
        yield address


@pytest_asyncio.fixture
async def world(pool: Pool, settings: Settings, url: str) -> World:
    return await make_world(settings, url)


def entries(client: httpx.Client, **wanted: Any) -> list[dict[str, Any]]:
    answer = client.get(LOG, params=wanted)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["entries"])


async def test_changes_are_written_down_with_their_author(world: World, settings: Settings) -> None:
    other = await make_world(settings, world.url)
    with world.client() as admin, world.client("server") as server:
        assert entries(admin) == []
        admin.post("/v1/admin/event-types", json={"name": "goal"})
        admin.patch("/v1/admin/event-types/goal", json={"server_only": True}, headers={"X-Audit-Reason": "cheating"})
        admin.post("/v1/admin/event-types", json={"name": "goal"})
        admin.delete("/v1/admin/event-types/goal")
        deleted, changed, made = entries(admin, subject="event_type")
        assert [each["action"] for each in (made, changed, deleted)] == ["insert", "update", "delete"]
        assert (changed["before"], changed["after"]) == ({"server_only": False}, {"server_only": True})
        assert (changed["reason"], made["reason"]) == ("cheating", None)
        assert {each["actor"] for each in (made, changed, deleted)} == {"api_key:" + world.keys["admin"][3:11]}
        assert made["after"]["name"] == made["subject_id"] == "goal"
        assert (made["before"], deleted["after"]) == (None, None)
        assert server.post("/v1/events", json=event("e1")).status_code == 202
        assert len(entries(admin)) == 3
        assert server.get(LOG).status_code == 403
    with other.client() as stranger:
        assert entries(stranger) == []


def test_settings_keys_and_the_operator_leave_no_secret(world: World) -> None:
    with world.client() as admin:
        admin.patch("/v1/admin/settings", json={"users": "identified"})
        made = admin.post("/v1/admin/api-keys", json={"name": "till", "role": "server"}).json()
        admin.delete(f"/v1/admin/api-keys/{made['api_key_id']}")
        httpx.patch(f"{world.url}/v1/operator/tenants/{world.tenant_id}", headers=OPERATOR, json={"name": "Renamed"})
        named, revoked, key, settings = entries(admin)
        assert (named["actor"], named["after"]) == ("operator", {"name": "Renamed"})
        assert settings["after"]["settings"]["users"] == "identified"
        assert settings["before"]["settings"]["users"] == "auto"
        assert (key["subject_id"], revoked["subject_id"]) == (made["api_key_id"], made["api_key_id"])
        assert list(revoked["after"]) == ["revoked_at"]
        assert "secret" not in str(entries(admin))
        assert [each["audit_id"] for each in entries(admin, limit=2)] == [named["audit_id"], revoked["audit_id"]]


def test_every_audited_table_has_the_column_that_names_its_rows(world: World) -> None:
    triggers = world.rows("SELECT tgrelid::regclass::text, rtrim(encode(tgargs, 'escape'), '\\\\0') FROM pg_trigger WHERE tgname = 'audit'")
    columns = set(world.rows("SELECT table_name::text, column_name::text FROM information_schema.columns"))
    assert triggers
    assert set(triggers) <= columns
