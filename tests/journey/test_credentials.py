"""Keys, tokens, tenants and origins over HTTP: who gets in, and how soon they are put out."""

import json
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import jwt
import msgspec
import pytest
import pytest_asyncio

from runtime.ids import utc_now
from runtime.postgres import Pool
from runtime.settings import Settings
from tests.builders.api import TIMEOUT_SECONDS, World, event, make_world, serving
from tests.conftest import settings_for
from tests.issuer import KEYS, Jwks, serving_keys, signed, trusted

OPERATOR = {"Authorization": "Bearer operator-key-of-the-tests"}
SECOND = 1.0
FAR_AHEAD = 4_000_000_000
"""Unix seconds; the parameters of tests are made long before the tests run."""


@pytest.fixture(scope="module")
def served(postgres_url: str, redis_server: str) -> Iterator[str]:
    """A running API that trusts the issuer."""
    settings = settings_for(postgres_url, redis_server, "127.0.0.1:1")
    with serving_keys() as keys_url, serving(msgspec.structs.replace(settings, jwt_issuers=trusted(keys_url))) as url:
        yield url


@pytest_asyncio.fixture
async def world(settings: Settings, pool: Pool, served: str) -> World:
    """A tenant of the running API, with an org_id."""
    made = await make_world(settings, served)
    change_tenant(made, org_id="org-1")
    return made


def change_tenant(world: World, **changes: Any) -> None:
    """Change the tenant as its operator."""
    answer = httpx.patch(f"{world.url}/v1/operator/tenants/{world.tenant_id}", headers=OPERATOR, json=changes, timeout=TIMEOUT_SECONDS)
    assert answer.status_code == 200, answer.text


def send(world: World, credential: str, **members: Any) -> httpx.Response:
    """Send an event with a bearer credential."""
    return httpx.post(
        f"{world.url}/v1/events", headers={"Authorization": f"Bearer {credential}"}, json=event("e1") | members, timeout=TIMEOUT_SECONDS
    )


def code_of(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of an error."""
    return answer.status_code, answer.json()["error"]["code"]


def until(world: World, credential: str, status: int, seconds: float = 60.0) -> float:
    """Ask until the credential is answered with that status; how many seconds on the last request began that was answered otherwise.

    A slow machine makes a request take longer, but never begin before the change and be judged after it: the bound holds under load.
    """
    changed = time.monotonic()
    last = 0.0
    while (begun := time.monotonic() - changed) < seconds:
        if send(world, credential).status_code == status:
            return last
        last = begun
        time.sleep(0.02)
    raise AssertionError(f"status {status} never came")


@pytest.mark.parametrize("key", list(KEYS))
async def test_a_token_of_a_trusted_issuer_sends_events(world: World, key: str) -> None:
    assert send(world, signed(key)).status_code == 202


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": None},
        {"exp": int(time.time()) - 60},
        {"nbf": FAR_AHEAD},
        {"iss": "https://elsewhere.example"},
        {"iss": None},
        {"aud": "another"},
        {"aud": None},
        {"org_id": "unknown"},
        {"org_id": None},
        {"sub": None},
        {"sub": "u\ud800"},
        {"exp": 10**400},
        {"exp": 10**15},
        {"header": {"kid": "oct"}},
        {"header": {"kid": "unknown"}},
        {"header": {"kid": "ec"}},
    ],
)
async def test_a_token_that_is_not_right_is_unauthorized(world: World, changes: dict[str, Any]) -> None:
    assert code_of(send(world, signed(**changes))) == (401, "UNAUTHORIZED")


async def test_unsigned_symmetric_and_tampered_tokens_are_unauthorized(world: World) -> None:
    claims = {"iss": "https://login.example", "aud": "laurel-api", "sub": "x", "org_id": "org-1", "exp": int(time.time()) + 600}
    unsigned = jwt.encode(claims, "", algorithm="none", headers={"kid": "rsa"})
    symmetric = jwt.encode(claims, "secret" * 8, algorithm="HS256", headers={"kid": "oct"})
    platform = jwt.encode(claims | {"iss": "laurel", "aud": "laurel"}, KEYS["ed"], algorithm="EdDSA")
    head, body, signature = signed().split(".")
    for token in (unsigned, symmetric, platform, f"{head}.{body}.{'A' * len(signature)}", "a.b.c", f"{head}.{body}."):
        assert code_of(send(world, token)) == (401, "UNAUTHORIZED")


async def test_leeway_is_thirty_seconds(world: World) -> None:
    assert send(world, signed(exp=int(time.time()) - 10)).status_code == 202


async def test_the_resource_owner_claim_names_the_tenant_too(world: World) -> None:
    assert send(world, signed(org_id=None, extra={"urn:zitadel:iam:user:resourceowner:id": "org-1"})).status_code == 202


async def test_an_org_id_that_looks_like_another_tenants_id_stays_apart_from_it(world: World, settings: Settings) -> None:
    other = await make_world(settings, world.url)
    change_tenant(other, org_id=str(world.tenant_id))
    with world.client("server") as client:
        gamer = client.post("/v1/auth/gamer-token", json={"user_id": "u1"}).json()["token"]
    assert send(world, gamer).status_code == 202
    assert send(world, signed(org_id=str(world.tenant_id))).status_code == 202
    assert sorted(world.rows("SELECT tenant_id FROM event_log")) == sorted([(world.tenant_id,), (other.tenant_id,)])


async def test_unknown_key_ids_do_not_hammer_the_issuer(world: World) -> None:
    send(world, signed())
    before = Jwks.fetched
    for number in range(5):
        send(world, signed(header={"kid": f"unknown-{number}"}))
    assert Jwks.fetched - before <= 1


async def test_a_plain_token_gets_server_rights_by_its_role_only(world: World) -> None:
    def issue(token: str) -> httpx.Response:
        return httpx.post(
            f"{world.url}/v1/auth/gamer-token",
            headers={"Authorization": f"Bearer {token}"},
            json={"user_id": "u1"},
            timeout=TIMEOUT_SECONDS,
        )

    assert code_of(issue(signed())) == (403, "FORBIDDEN")
    roles = "urn:zitadel:iam:org:project:roles"
    assert code_of(issue(signed(extra={roles: {"laurel-server": {"org-2": "x"}}}))) == (403, "FORBIDDEN"), "a role of another organisation"
    assert issue(signed(extra={roles: {"laurel-server": {"org-1": "x"}}})).status_code == 201
    assert issue(signed(extra={"roles": ["laurel-server"]})).status_code == 201


async def test_a_gamer_token_has_the_contracts_claims(world: World) -> None:
    with world.client("server") as client:
        answer = client.post("/v1/auth/gamer-token", json={"user_id": "u1", "ttl_seconds": 60})
    assert answer.status_code == 201
    claims = jwt.decode(answer.json()["token"], options={"verify_signature": False})
    assert {"iss", "aud", "sub", "org_id", "user_type", "iat", "exp", "jti"} == claims.keys()
    assert (claims["sub"], claims["org_id"], claims["exp"] - claims["iat"]) == ("u1", str(world.tenant_id), 60)
    assert jwt.get_unverified_header(answer.json()["token"])["kid"]


async def test_a_key_is_shown_once_and_its_revocation_holds_within_a_second(world: World) -> None:
    with world.client() as client:
        made = client.post("/v1/admin/api-keys", json={"name": "short-lived", "role": "server"})
        assert made.status_code == 201
        key = made.json()
        listed = client.get("/v1/admin/api-keys").json()["api_keys"]
        assert key["key"] not in json.dumps(listed)
        assert key["api_key_id"] in {each["api_key_id"] for each in listed}
        until(world, key["key"], 202)
        assert client.delete(f"/v1/admin/api-keys/{key['api_key_id']}").status_code == 204
        assert until(world, key["key"], 401) <= SECOND
        assert code_of(send(world, key["key"])) == (401, "AUTH_INVALID_KEY")
        assert client.delete(f"/v1/admin/api-keys/{world.tenant_id}").status_code == 404


async def test_a_key_that_expires_stops(world: World) -> None:
    for life in (1.5, 10.0, 60.0):  # a slow machine needs a longer one to use the key within it
        expires_at = utc_now() + timedelta(seconds=life)
        body = {"name": "x", "role": "server", "expires_at": expires_at.isoformat()}
        with world.client() as client:
            key = client.post("/v1/admin/api-keys", json=body).json().get("key", "")
        answer = send(world, key)
        if utc_now() < expires_at:
            break
    assert answer.status_code == 202
    until(world, key, 401, seconds=120.0)
    assert utc_now() >= expires_at


async def test_a_suspended_tenant_is_put_out_within_a_second_with_all_its_credentials(world: World) -> None:
    credentials = [world.keys["server"], signed()]
    for credential in credentials:
        assert send(world, credential).status_code == 202
    change_tenant(world, status="suspended")
    assert max(until(world, credential, 403) for credential in credentials) <= SECOND
    with world.client() as client:
        assert code_of(client.get("/v1/admin/settings")) == (403, "FORBIDDEN")
    change_tenant(world, status="active")
    for credential in credentials:
        until(world, credential, 202)


async def test_the_use_of_a_key_is_noted(world: World) -> None:
    with world.client() as client:
        listed = client.get("/v1/admin/api-keys").json()["api_keys"]
    assert {key["role"]: key["last_used_at"] is not None for key in listed}["admin"]


async def test_a_tenant_does_not_see_anothers_keys(world: World, settings: Settings) -> None:
    other = await make_world(settings, world.url)
    with other.client() as client:
        foreign = client.get("/v1/admin/api-keys").json()["api_keys"][0]["api_key_id"]
    with world.client() as client:
        assert code_of(client.delete(f"/v1/admin/api-keys/{foreign}")) == (404, "NOT_FOUND")


async def test_pages_of_keys_join_without_gap_or_repeat(world: World) -> None:
    seen: list[str] = []
    cursor: dict[str, str] = {}
    with world.client() as client:
        for _ in range(10):
            page = client.get("/v1/admin/api-keys", params={"limit": "3"} | cursor).json()
            seen += [key["api_key_id"] for key in page["api_keys"]]
            if page["next_cursor"] is None:
                break
            cursor = {"cursor": page["next_cursor"]}
        assert len(seen) == len(set(seen)) == 4
        assert code_of(client.get("/v1/admin/api-keys", params={"cursor": "x"})) == (400, "VALIDATION_ERROR")


async def test_browsers_are_let_in_by_the_tenants_list(world: World) -> None:
    change_tenant(world, cors_origins=["https://shop.example"])
    preflight = {"Access-Control-Request-Method": "POST"}
    key = {"Authorization": f"Bearer {world.keys['server']}"}
    for path in ("/v1/events", "/v1/admin/settings"):
        url = f"{world.url}{path}"
        good = httpx.options(url, headers={"Origin": "https://shop.example"} | preflight)
        assert (good.status_code, good.headers["Access-Control-Allow-Origin"]) == (204, "https://shop.example")
        assert "Origin" in good.headers["Vary"]
        bad = httpx.options(url, headers={"Origin": "https://evil.example"} | preflight)
        assert code_of(bad) == (403, "CORS_NOT_ALLOWED_FOR_TENANT")
    time.sleep(SECOND)  # so long may a process believe the list that it has seen
    for origin, status in (("https://shop.example", 202), ("https://evil.example", 403)):
        answer = httpx.post(f"{world.url}/v1/events", headers={"Origin": origin} | key, json=event("e1"))
        assert answer.status_code == status
        assert answer.headers.get("Access-Control-Allow-Origin") == (origin if status == 202 else None)
    for path, method in (("/v1/events", "POST"), ("/v1/admin/settings", "GET"), ("/v1/leaderboards/x", "GET")):
        for origin in ("https://shop.example", "https://evil.example"):
            refusal = httpx.request(method, f"{world.url}{path}", headers={"Origin": origin, "Authorization": "Bearer lk_unknown"})
            assert refusal.status_code == 401
            seen = refusal.headers.get("Access-Control-Allow-Origin")
            assert seen == ("https://shop.example" if origin == "https://shop.example" else None), "a page must see that it has to sign in"
    for origin, shown in (("https://shop.example", "https://shop.example"), ("https://evil.example", None)):
        missed = httpx.get(f"{world.url}/v1//leaderboards", headers={"Origin": origin} | key)  # refused before anything routes
        assert (missed.status_code, missed.headers.get("Access-Control-Allow-Origin")) == (404, shown)
        asked = httpx.options(f"{world.url}/v1//leaderboards", headers={"Origin": origin} | preflight)
        assert (asked.status_code, asked.headers.get("Access-Control-Allow-Origin")) == (204 if shown else 403, shown)
    readable = httpx.get(f"{world.url}/v1/admin/settings", headers={"Origin": "https://shop.example"} | key)
    assert (readable.status_code, readable.headers["Access-Control-Allow-Origin"]) == (403, "https://shop.example")


async def test_the_operator_makes_lists_and_changes_tenants(world: World) -> None:
    with httpx.Client(base_url=world.url, headers=OPERATOR, timeout=60.0) as client:
        made = client.post("/v1/operator/tenants", json={"name": "Acme", "timezone": "Asia/Ho_Chi_Minh"})
        assert made.status_code == 201
        tenant_id = made.json()["tenant_id"]
        assert tenant_id in {each["tenant_id"] for each in client.get("/v1/operator/tenants").json()["tenants"]}
        changed = client.patch(f"/v1/operator/tenants/{tenant_id}", json={"settings": {"metadata": {"a": 1}}, "name": "Acme 2"}).json()
        assert (changed["name"], changed["settings"]) == ("Acme 2", {"event_types": "open", "users": "auto", "metadata": {"a": 1}})
        assert code_of(client.patch(f"/v1/operator/tenants/{tenant_id}", json={"org_id": "org-1"})) == (409, "ALREADY_EXISTS")
        assert code_of(client.post("/v1/operator/tenants", json={"name": "x", "timezone": "Mars/Base"})) == (400, "VALIDATION_ERROR")
    assert world.rows("SELECT currency_id FROM currency WHERE tenant_id = %s", tenant_id) == [("points",)]
