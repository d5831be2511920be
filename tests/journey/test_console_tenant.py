"""The console's pages about the tenant itself: API keys, settings with CORS, the audit log, the page for partners."""

import re

import httpx
import psycopg

from tests.builders.api import World
from tests.builders.console import signed_in

KEY = re.compile(r"lk_[a-z0-9]{8}_[A-Za-z0-9_-]{43}")


def test_a_key_is_shown_once_works_and_is_revoked(world: World) -> None:
    tab = signed_in(world)
    tab.get("/api-keys")
    made = tab.send("/api-keys", name="voucher partner", role="read", until="2036-01-31")
    text = KEY.search(made.text)
    assert made.status_code == 200
    assert text, made.text
    with httpx.Client(base_url=world.url, headers={"Authorization": f"Bearer {text.group()}"}, timeout=60.0) as partner:
        assert partner.get("/v1/leaderboards").status_code == 200
        again = tab.get("/api-keys")
        assert not KEY.search(again.text)
        assert "voucher partner" in again.text
        key_id = re.search(r"/console/api-keys/([0-9a-f-]{36})/revoke", again.text)
        assert key_id
        assert "revoked" in tab.send(f"/api-keys/{key_id.group(1)}/revoke", reason="the contract ended").text
    log = tab.get("/audit-log", subject="api_key").text
    assert "the contract ended" in log
    assert KEY.search(log) is None


def test_a_key_without_a_name_is_refused_at_its_field(world: World) -> None:
    tab = signed_in(world)
    tab.get("/api-keys")
    refused = tab.send("/api-keys", name="", role="read")
    assert refused.status_code == 400
    assert 'id="e-name"' in refused.text


def test_the_settings_are_saved_and_a_wrong_origin_is_named(world: World) -> None:
    tab = signed_in(world)
    page = tab.get("/settings")
    saved = tab.send("/settings", event_types="declared", users="identified", timezone="Asia/Ho_Chi_Minh", metadata='{"a": 1}')
    assert page.status_code == saved.status_code == 200
    with world.client() as admin:
        settings = admin.get("/v1/admin/settings").json()
        assert settings | {"cors_origins": []} == {
            "event_types": "declared",
            "users": "identified",
            "metadata": {"a": 1},
            "timezone": "Asia/Ho_Chi_Minh",
            "cors_origins": [],
        }
        wrong = tab.send("/settings/cors", origins="https://play.example.com\nplay.example.com/path")
        assert wrong.status_code == 400
        assert "“play.example.com/path”" in wrong.text
        tab.send("/settings/cors", origins="https://play.example.com\r\n")
        assert admin.get("/v1/admin/settings").json()["cors_origins"] == ["https://play.example.com"]
        assert tab.send("/settings", event_types="open", users="auto", timezone="Mars", metadata="{}").status_code == 400
        assert tab.send("/settings", event_types="open", users="auto", timezone="UTC", metadata="{").status_code == 400


def test_a_viewer_reads_these_pages_and_changes_nothing(world: World) -> None:
    tab = signed_in(world, "viewer")
    for path in ("/api-keys", "/settings", "/audit-log", "/third-parties"):
        page = tab.get(path)
        assert page.status_code == 200
        assert page.text.count("<h1>") == 1
        assert "Create key" not in page.text
    tab.get("/settings")
    tab.send("/settings/cors", origins="*")
    with world.client() as admin:
        assert admin.get("/v1/admin/settings").json()["cors_origins"] == []


def test_the_page_for_partners_names_the_callback_and_no_secret(world: World) -> None:
    with world.client() as admin:
        endpoint = admin.post(
            "/v1/admin/webhook-endpoints", json={"url": "http://127.0.0.1:9/partner", "events": ["reward_redeemed"]}
        ).json()
        keys = [
            admin.post("/v1/admin/api-keys", json={"name": f"key {name}", "role": "fulfilment"}).json() for name in ("one", "two", "three")
        ]
        admin.delete(f"/v1/admin/api-keys/{keys[1]['api_key_id']}")
    with psycopg.connect(world.database_url, autocommit=True) as connection:
        connection.execute("UPDATE api_key SET expires_at = now() WHERE name = 'key three'")
    page = signed_in(world).get("/third-parties").text
    assert [f"key {name}" in page for name in ("one", "two", "three")] == [True, False, False], "only keys that work"
    assert "http://127.0.0.1:9/partner" in page
    assert "/v1/admin/rewards/redemptions/{redemption_id}" in page
    assert endpoint["secret"] not in page


def test_the_audit_log_is_filtered_by_who_and_when(world: World) -> None:
    with world.client() as admin:
        admin.post("/v1/admin/event-types", json={"name": "by-key"})
    tab = signed_in(world)
    actor = "api_key:" + world.keys["admin"][3:11]
    assert "by-key" in tab.get("/audit-log", actor=actor).text
    assert "No matching changes." in tab.get("/audit-log", actor="nobody").text
    assert "by-key" in tab.get("/audit-log", actor=actor, **{"from": "2020-01-01", "to": "2098-01-01"}).text
    assert "No matching changes." in tab.get("/audit-log", **{"from": "2098-01-01"}).text
    refused = tab.get("/audit-log", **{"from": "yesterday"})
    assert (refused.status_code, "must be" in refused.text) == (400, True)
