"""The audit log over HTTP: every admin's change leaves who, what, before, after and why; a change that failed leaves nothing."""

from typing import Any

import httpx
import pytest

from runtime.settings import Settings
from tests.builders.api import World, event, make_world

OPERATOR = {"Authorization": "Bearer operator-key-of-the-tests"}
LOG = "/v1/admin/audit-log"


def entries(client: httpx.Client, **wanted: Any) -> list[dict[str, Any]]:
    answer = client.get(LOG, params=wanted)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["audit_log"])


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


def test_the_log_is_searched_by_actor_and_time_and_goes_on_where_it_stopped(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with world.client() as admin:
        for number in range(4):
            admin.post("/v1/admin/event-types", json={"name": f"t{number}"})
        httpx.patch(f"{world.url}/v1/operator/tenants/{world.tenant_id}", headers=OPERATOR, json={"name": "Renamed"})
        for number in range(4):
            admin.delete(f"/v1/admin/event-types/t{number}")
        mine = "api_key:" + world.keys["admin"][3:11]
        assert len(entries(admin, actor=mine)) == 8
        (named,) = entries(admin, actor="operator")
        assert entries(admin, actor="nobody") == []
        assert len(entries(admin, **{"from": named["created_at"], "actor": mine})) == 4
        assert len(entries(admin, to=named["created_at"], actor=mine)) == 4
        assert entries(admin, **{"from": "2099-01-01T00:00:00Z"}) == []
        assert len(entries(admin, **{"from": "0001-01-01T00:00:00Z", "to": "9999-12-31T23:59:59Z"})) == 9
        assert [admin.get(LOG, params={"from": text}).status_code for text in ("yesterday", "0001-01-01T00:00:00+14:00")] == [400, 400]
        monkeypatch.setattr("storage.tenant.audit.LOOKED_THROUGH", 3)  # the server runs in this process
        seen, cursor, pages = [], None, 0
        while pages == 0 or cursor is not None:
            answer = admin.get(LOG, params={"actor": "operator", "limit": 2} | ({"cursor": cursor} if cursor else {})).json()
            seen, cursor, pages = seen + answer["audit_log"], answer["next_cursor"], pages + 1
        assert [each["audit_id"] for each in seen] == [named["audit_id"]]
        assert pages > 2


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
    arguments = "regexp_split_to_table(rtrim(encode(tgargs, 'escape'), '\\\\0'), '\\\\000')"
    triggers = world.rows(f"SELECT tgrelid::regclass::text, {arguments} FROM pg_trigger WHERE tgname = 'audit'")
    columns = set(world.rows("SELECT table_name::text, column_name::text FROM information_schema.columns"))
    assert triggers
    assert set(triggers) <= columns


def test_what_admins_do_to_redemptions_users_tiers_codes_and_deliveries_is_written_down(world: World) -> None:
    with world.client() as admin, world.client("server") as server, world.client("fulfilment") as partner:
        server.post("/v1/users", json={"external_id": "bea"})
        assert entries(admin) == []
        admin.post("/v1/users", json={"external_id": "bea", "display_name": "Bea"})
        (named,) = entries(admin, subject="app_user")
        assert (named["action"], named["after"]) == ("update", {"display_name": "Bea"})
        admin.put("/v1/admin/tiers", json={"basis": "balance", "tiers": [{"name": "gold", "level": 1, "threshold": 9}]})
        admin.put("/v1/admin/users/bea/tier", json={"tier": "gold", "reason": "a friend"})
        assert {(each["reason"], each["subject_id"]) for each in entries(admin, subject="user_tier")} == {("a friend", named["subject_id"])}
        prices = [{"currency": "points", "amount": 0}]
        pool = {"slug": "film", "name": "Film", "prices": prices, "fulfilment": {"type": "codes"}}
        reward = admin.post("/v1/admin/rewards", json=pool).json()
        admin.post("/v1/admin/rewards/film/codes", json={"codes": ["SECRET-1", "SECRET-2", "SECRET-1"]})
        (imported,) = entries(admin, subject="reward_code")
        assert (imported["action"], imported["subject_id"]) == ("import", reward["reward_id"])
        assert imported["after"] == {"added": 2, "known": 1, "variant_id": None}
        hand = {"slug": "hand", "name": "By hand", "prices": prices, "fulfilment": {"type": "manual"}, "fields": [{"name": "street"}]}
        admin.post("/v1/admin/rewards", json=hand)
        order = {"external_user_id": "bea", "slug": "hand", "fields": {"street": "SECRET street"}}
        made = server.post("/v1/redemptions", json=order).json()["redemption_id"]
        assert partner.patch(f"/v1/admin/rewards/redemptions/{made}", json={"status": "processing"}).status_code == 200
        assert entries(admin, subject="redemption") == []
        body = {"reason": "sent by post", "fulfillment_data": {"code": "SECRET-3"}}
        assert admin.post(f"/v1/admin/redemptions/{made}/fulfil", json=body).status_code == 200
        assert admin.post(f"/v1/admin/redemptions/{made}/reverse", json={"reason": "lost"}).status_code == 200
        reversal, fulfilment = entries(admin, subject="redemption", subject_id=made)
        assert (fulfilment["before"]["status"], fulfilment["after"]["status"]) == ("processing", "fulfilled")
        assert (fulfilment["reason"], reversal["reason"], reversal["after"]["status"]) == ("sent by post", "lost", "reversed")
        assert fulfilment["actor"] == "api_key:" + world.keys["admin"][3:11]
        assert "SECRET" not in str(entries(admin, limit=500))


def test_sending_again_is_written_down(world: World) -> None:
    with world.client() as admin:
        made = {"url": "http://127.0.0.1:9/", "events": ["tier_change"]}
        endpoint = admin.post("/v1/admin/webhook-endpoints", json=made).json()["endpoint_id"]
        delivery = admin.post(f"/v1/admin/webhook-endpoints/{endpoint}/test").json()["delivery_id"]
        world.rows(
            "UPDATE webhook_delivery SET state = 'exhausted', due_at = NULL, due_trigger = NULL WHERE tenant_id = %s RETURNING 1",
            world.tenant_id,
        )
        admin.post(f"/v1/admin/deliveries/{delivery}/resend", headers={"X-Audit-Reason": "they are back"}).raise_for_status()
        admin.post(f"/v1/admin/webhook-endpoints/{endpoint}/recover", json={"since": "2026-01-01T00:00:00Z"}).raise_for_status()
        admin.post(f"/v1/admin/webhook-endpoints/{endpoint}/rotate-secret", json={}).raise_for_status()
        (resent,) = entries(admin, subject="webhook_delivery")
        assert (resent["action"], resent["subject_id"], resent["reason"]) == ("resend", delivery, "they are back")
        (recovered,) = [each for each in entries(admin, subject="webhook_endpoint") if each["action"] == "recover"]
        assert (recovered["subject_id"], recovered["after"]["recovered"]) == (endpoint, 0)
        assert {each["action"] for each in entries(admin, subject="webhook_secret")} == {"insert", "update"}


def test_tokens_of_an_hour_share_one_entry(world: World) -> None:
    def issued() -> list[dict[str, Any]]:
        with world.client() as admin:
            return list(admin.get("/v1/admin/audit-log", params={"subject": "gamer_token"}).json()["audit_log"])

    with world.client("server") as server:
        for user in ("eve", "eve", "eve", "ann"):
            server.post("/v1/auth/gamer-token", json={"user_id": user}).raise_for_status()
        told = {each["subject_id"]: each["after"] for each in issued()}
        assert {user: facts.get("tokens", 1) for user, facts in told.items()} == {"eve": 3, "ann": 1}
        assert told["eve"]["token_id"] != told["eve"]["latest_token_id"]
        world.rows("UPDATE audit_log SET audit_id = uuidv7(interval '-61 minutes') WHERE subject = 'gamer_token' RETURNING 1")
        server.post("/v1/auth/gamer-token", json={"user_id": "eve"}).raise_for_status()
        assert sorted(each["after"].get("tokens", 1) for each in issued() if each["subject_id"] == "eve") == [1, 3]


def test_what_a_key_does_to_a_whole_person_is_written_down(world: World) -> None:
    """Erasure, export and a token in its name: by a server's key too, which else does all day what nobody needs to read of."""
    with world.client("server") as server:
        user_id = server.post("/v1/users", json={"external_id": "eve"}).json()["user_id"]
        server.get("/v1/users/eve/export", headers={"X-Audit-Reason": "she asked"}).raise_for_status()
        server.post("/v1/auth/gamer-token", json={"user_id": "eve"}).raise_for_status()
        server.delete("/v1/users/eve").raise_for_status()
    with world.client() as admin:
        entries = admin.get("/v1/admin/audit-log").json()["audit_log"]
    found = {(each["subject"], each["action"], each["subject_id"]) for each in entries if each["actor"].startswith("api_key:")}
    assert ("app_user", "export", user_id) in found
    assert ("app_user", "update", user_id) in found
    assert ("gamer_token", "issue") in {key[:2] for key in found}
    assert "insert" not in {action for _, action, _ in found}, "identifying users is daily work"
    assert next(each["reason"] for each in entries if each["action"] == "export") == "she asked"
    assert "eyJ" not in str(entries)
