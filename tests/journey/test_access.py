"""Every route x every kind of credential x own and foreign tenant, walked from the API document itself (contract 1)."""

import asyncio
import re
from collections.abc import Iterator
from uuid import uuid4

import httpx
import msgspec
import psycopg
import pytest

from cli.openapi import api_document
from runtime import schema
from runtime.settings import Settings
from stack import postgres
from tests.access_rules import CALLBACK, is_of_one_user, roles_for
from tests.builders.api import TIMEOUT_SECONDS, World, make_world, serving
from tests.builders.seeded_tenant import NEEDS_TEMPORAL
from tests.conftest import PASSWORD, settings_for
from tests.issuer import serving_keys, signed, trusted

pytestmark = pytest.mark.xdist_group("access")

OPERATOR_KEY = "operator-key-of-the-tests"
METHODS = ("get", "post", "put", "patch", "delete")
OPERATIONS = {
    f"{method.upper()} {path}": operation
    for path, operations in api_document()["paths"].items()
    for method, operation in operations.items()
    if method in METHODS
}
TOKEN_FAMILIES = ("/v1/events", "/v1/leaderboards", "/v1/snapshots", "/v1/rewards", "/v1/orders")
OWN_USER, OTHER_USER = "own-user", "other-user"
FILLED = {"user_id": OWN_USER, "external_id": OWN_USER, "position": "999999", "move": "approve", "snapshot_time": "2026-01-01"}


class Credential(msgspec.Struct, frozen=True):
    """What a request shows, and who that makes it: a role of a tenant, or the code of its refusal."""

    headers: dict[str, str]
    role: str = ""
    refusal: str = ""


class Stage(msgspec.Struct, frozen=True):
    """A running API with two tenants, a suspended one, and every kind of credential."""

    settings: Settings
    own: World
    foreign: World
    suspended: World
    credentials: dict[str, Credential]
    client: httpx.Client


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def spare_key(world: World, change: str) -> str:
    """A new key of role admin whose row is then changed."""
    with world.client() as client:
        made = client.post("/v1/admin/api-keys", json={"name": "spare", "role": "admin"}).json()
    with psycopg.connect(world.database_url, autocommit=True) as connection:
        connection.execute(f"UPDATE api_key SET {change} WHERE key_id = %s".encode(), (made["api_key_id"],))
    return str(made["key"])


def gamer_of(world: World, user: str) -> str:
    with world.client("server") as client:
        return str(client.post("/v1/auth/gamer-token", json={"user_id": user}).json()["token"])


def credentials_of(own: World, foreign: World) -> dict[str, Credential]:
    role_claim = {"extra": {"roles": ["laurel-server"]}}
    keys = {f"own {role} key": Credential(bearer(key), role) for role, key in own.keys.items()}
    keys |= {f"own {role} key as X-API-Key": Credential({"X-API-Key": key}, role) for role, key in own.keys.items() if role == "admin"}
    keys |= {f"foreign {role} key": Credential(bearer(key), role) for role, key in foreign.keys.items()}
    return keys | {
        "none": Credential({}, refusal="none"),
        "empty": Credential({"Authorization": ""}, refusal="none"),
        "revoked key": Credential(bearer(spare_key(own, "revoked_at = now()")), refusal="AUTH_INVALID_KEY"),
        "expired key": Credential(bearer(spare_key(own, "expires_at = now() - interval '1 s'")), refusal="AUTH_INVALID_KEY"),
        "unknown key": Credential(bearer("lk_abcdefgh_" + "x" * 43), refusal="AUTH_INVALID_KEY"),
        "wrong secret": Credential(bearer(own.keys["admin"][:-5] + "wrong"), refusal="AUTH_INVALID_KEY"),
        "half a key": Credential(bearer("lk_"), refusal="AUTH_INVALID_KEY"),
        "garbage": Credential(bearer("garbage"), refusal="garbage"),
        "basic": Credential({"Authorization": "Basic Zm9vOmJhcg=="}, refusal="garbage"),
        "garbage as X-API-Key": Credential({"X-API-Key": "garbage"}, refusal="AUTH_INVALID_KEY"),
        "operator key": Credential(bearer(OPERATOR_KEY), "operator"),
        "no real token": Credential(bearer("a.b.c"), refusal="UNAUTHORIZED"),
        "token of nobody's tenant": Credential(bearer(signed(org_id="nobody")), refusal="UNAUTHORIZED"),
        "expired token": Credential(bearer(signed(exp=1)), refusal="UNAUTHORIZED"),
        "own token": Credential(bearer(signed(org_id="org-own")), "member"),
        "own token with the server role": Credential(bearer(signed("ec", org_id="org-own", **role_claim)), "server"),
        "own gamer of the issuer": Credential(bearer(signed("ed", org_id="org-own", sub=OWN_USER, user_type="gamer")), "gamer"),
        "own gamer": Credential(bearer(gamer_of(own, OWN_USER)), "gamer"),
        "another gamer": Credential(bearer(gamer_of(own, OTHER_USER)), "another gamer"),
        "foreign token": Credential(bearer(signed(org_id="org-foreign")), "member"),
        "foreign gamer": Credential(bearer(gamer_of(foreign, OWN_USER)), "gamer"),
    }


@pytest.fixture(scope="module")
def stage(postgres_server: int, redis_server: str) -> Iterator[Stage]:
    """On a database of its own, which nobody empties in between."""
    database_url = postgres.ensure_database(postgres_server, PASSWORD, f"access_{uuid4().hex[:8]}")
    schema.upgrade(database_url)
    base = settings_for(database_url, redis_server, "127.0.0.1:1")
    with serving_keys() as keys_url:
        settings = msgspec.structs.replace(base, jwt_issuers=trusted(keys_url))
        with serving(settings) as url, httpx.Client(base_url=url, timeout=TIMEOUT_SECONDS) as client:
            own, foreign, suspended = (asyncio.run(make_world(settings, url)) for _ in range(3))
            for world, changes in (
                (own, {"org_id": "org-own"}),
                (foreign, {"org_id": "org-foreign"}),
                (suspended, {"status": "suspended"}),
            ):
                path = f"/v1/operator/tenants/{world.tenant_id}"
                assert client.patch(path, headers=bearer(OPERATOR_KEY), json=changes).status_code == 200
            for user in (OWN_USER, OTHER_USER):
                assert client.post("/v1/users", headers=bearer(own.keys["server"]), json={"external_id": user}).status_code == 201
            yield Stage(settings, own, foreign, suspended, credentials_of(own, foreign), client)


def filled(path: str, **values: str) -> str:
    """The path with something in the place of each parameter; ids that nothing has, unless `values` or FILLED names one."""
    return re.sub(r"\{(\w+)\}", lambda found: values.get(found[1]) or FILLED.get(found[1]) or str(uuid4()), path)


def ask(stage: Stage, route: str, headers: dict[str, str], **query: str) -> tuple[int, str]:
    """Status and code of the answer to an empty request."""
    method, path = route.split(" ")
    body = None if method in ("GET", "DELETE") else {}
    nobody = {"external_id": str(uuid4())} if method == "DELETE" else {}  # whoever is erased has tokens no more
    answer = stage.client.request(method, filled(path, **nobody), headers=headers, params=query, json=body)
    code = answer.json()["error"]["code"] if answer.status_code >= 400 and "json" in answer.headers.get("content-type", "") else ""
    return answer.status_code, code


def expected(route: str, credential: Credential) -> tuple[int, str] | None:
    """The refusal that contract 1 wants; None when the credential opens the route."""
    path, allowed = route.split(" ")[1], roles_for(route)
    in_family = path.startswith(TOKEN_FAMILIES)
    if "public" in allowed:
        return None
    if credential.refusal == "none":
        return 401, "UNAUTHORIZED" if in_family else "AUTH_MISSING_KEY"
    if credential.refusal == "garbage" or (credential.role == "operator" and "operator" not in allowed):
        return 401, "UNAUTHORIZED" if in_family else "AUTH_INVALID_KEY"
    if credential.refusal:
        return 401, credential.refusal
    if credential.role == "another gamer":
        return None if "gamer" in allowed and not is_of_one_user(route) else (403, "FORBIDDEN")
    return None if credential.role in allowed else (403, "FORBIDDEN")


def test_every_route_says_who_may_call_it_and_says_what_the_list_says() -> None:
    said = {route: frozenset(operation.get("x-roles", ())) for route, operation in OPERATIONS.items()}
    wanted = {route: roles_for(route) for route in OPERATIONS}
    assert {route for route, roles in wanted.items() if not roles} == set(), "name these routes in tests/access_rules.py"
    assert said == wanted
    for route, operation in OPERATIONS.items():
        assert (operation["security"] == []) == (wanted[route] == {"public"}), route


def test_every_route_is_in_the_document(stage: Stage) -> None:
    from server import create_app

    app = create_app(stage.settings).application
    known = {route.path_format for route in app.routes if not route.path.startswith(("/console", "/-/openapi"))}
    assert known - {"/openapi.json", "/docs"} == {route.split(" ")[1] for route in OPERATIONS}


@pytest.mark.parametrize("route", OPERATIONS)
def test_a_route_opens_for_its_roles_alone(stage: Stage, route: str) -> None:
    wrong = {}
    for name, credential in stage.credentials.items():
        got, wanted = ask(stage, route, credential.headers), expected(route, credential)
        if got != wanted if wanted else got[0] in (401, 403) or (got[0] >= 500 and route != "GET /ready" and NEEDS_TEMPORAL not in route):
            wrong[name] = got, wanted
    assert not wrong


@pytest.mark.parametrize("route", [route for route in OPERATIONS if not roles_for(route) & {"public", "operator"}])
def test_a_route_hears_only_the_credentials_own_tenant_from_a_browser_of_its_list(stage: Stage, route: str) -> None:
    role = next(role for role in ("admin", "gamer") if role in roles_for(route))
    headers, other, own = (
        stage.credentials["own gamer" if role == "gamer" else f"own {role} key"].headers,
        str(stage.foreign.tenant_id),
        str(stage.own.tenant_id),
    )
    mismatch, foreign_browser = (403, "TENANT_QUERY_MISMATCH"), headers | {"Origin": "https://evil.example"}
    assert ask(stage, route, headers | {"X-Tenant-Id": other}) == mismatch
    assert ask(stage, route, headers, tenant_id=other) == mismatch
    assert ask(stage, route, headers | {"X-Tenant-Id": own}, tenant=other) == mismatch
    assert ask(stage, route, headers | {"X-Tenant-Id": own}, tenant_id=own, tenant=own)[0] not in (401, 403)
    assert ask(stage, route, foreign_browser) == (403, "CORS_NOT_ALLOWED_FOR_TENANT")
    suspended = ask(stage, route, bearer(stage.suspended.keys["admin"]))
    assert suspended == (403, "FORBIDDEN") or (route == CALLBACK and suspended[0] == 400)
