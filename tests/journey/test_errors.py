"""Every error that contract 1 lists, over HTTP: the code, the status and the shape of the body."""

from typing import Any

import httpx
import msgspec
import pytest

from runtime.settings import Settings
from tests.builders.api import World, event, serving

MEBIBYTE = 1_048_576


def refused(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of an error, after a look at its shape."""
    error: dict[str, Any] = answer.json()["error"]
    assert error["status"] == answer.status_code
    assert error["message"]
    assert error["request_id"] == answer.headers["X-Request-Id"]
    assert answer.headers["content-type"].startswith("application/json")
    assert not any(word in answer.text for word in ("Traceback", "psycopg", "SELECT", "INSERT"))
    return answer.status_code, error["code"]


@pytest.mark.parametrize("path", ["/v1/events", "/v1/events/bulk", "/v1/auth/gamer-token"])
@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[]", b"nul", b'{"a": NaN}', b'{"a": Infinity}', b"[" * 5000])
async def test_malformed_bodies_are_validation_errors(world: World, path: str, body: bytes) -> None:
    with world.client() as client:
        assert refused(client.post(path, content=body)) == (400, "VALIDATION_ERROR")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"ttl_seconds": 60}, "user_id"),
        ({"user_id": 5}, "user_id"),
        ({"user_id": "a", "ttl_seconds": "60"}, "ttl_seconds"),
        ({"user_id": "a", "ttl_seconds": True}, "ttl_seconds"),
        ({"user_id": "a", "ttl_seconds": 59}, "ttl_seconds"),
        ({"user_id": "a", "other": 1}, "other"),
        ({"user_id": "a/b"}, "user_id"),
    ],
)
async def test_a_wrong_field_is_named(world: World, body: dict[str, Any], field: str) -> None:
    with world.client() as client:
        answer = client.post("/v1/auth/gamer-token", json=body)
    assert refused(answer) == (400, "VALIDATION_ERROR")
    assert [detail["field"] for detail in answer.json()["error"]["details"]] == [field]


@pytest.mark.parametrize("value", [2**53, -(2**53), 10**30])
async def test_integers_that_a_json_number_cannot_hold_are_refused(world: World, value: int) -> None:
    with world.client() as client:
        assert refused(client.post("/v1/events", json=event("e1", attrs={"n": value}))) == (400, "VALIDATION_ERROR")
        assert refused(client.patch("/v1/admin/settings", json={"metadata": {"n": value}})) == (400, "VALIDATION_ERROR")


async def test_text_that_postgres_cannot_keep_is_refused(world: World) -> None:
    with world.client() as client:
        assert refused(client.patch("/v1/admin/settings", json={"metadata": {"a": "\0"}})) == (400, "VALIDATION_ERROR")
        assert refused(client.post("/v1/events", json=event("e\0"))) == (400, "VALIDATION_ERROR")
        assert client.post("/v1/events", json=event("e1", attrs={"a": "\0"})).status_code == 202


@pytest.mark.parametrize("path", ["/v1/events", "/v1/events/bulk", "/v1/leaderboards"])
async def test_routes_for_tokens_say_unauthorized_without_a_credential(world: World, path: str) -> None:
    with world.client(None) as client:
        assert refused(client.request("GET" if path == "/v1/leaderboards" else "POST", path)) == (401, "UNAUTHORIZED")


@pytest.mark.parametrize("path", ["/v1/admin/api-keys", "/v1/admin/settings", "/v1/operator/tenants"])
async def test_other_routes_say_that_the_key_is_missing(world: World, path: str) -> None:
    with world.client(None) as client:
        assert refused(client.get(path)) == (401, "AUTH_MISSING_KEY")


@pytest.mark.parametrize("credential", ["lk_aaaaaaaa_" + "a" * 43, "lk_x", "lk_"])
@pytest.mark.parametrize("path", ["/v1/events", "/v1/users"])
async def test_an_unknown_key_is_invalid_everywhere(world: World, path: str, credential: str) -> None:
    with world.client(None, Authorization=f"Bearer {credential}") as client:
        assert refused(client.post(path, json={})) == (401, "AUTH_INVALID_KEY")
    with world.client(None, **{"X-API-Key": credential}) as client:
        assert refused(client.post(path, json={})) == (401, "AUTH_INVALID_KEY")


async def test_a_bearer_that_is_no_token_depends_on_the_route(world: World) -> None:
    with world.client(None, Authorization="Bearer something") as client:
        assert refused(client.post("/v1/events", json={})) == (401, "UNAUTHORIZED")
        assert refused(client.get("/v1/admin/api-keys")) == (401, "AUTH_INVALID_KEY")
        assert refused(client.get("/v1/operator/tenants")) == (401, "AUTH_INVALID_KEY")


async def test_a_tenants_key_is_too_small_for_the_operators_routes(world: World) -> None:
    with world.client() as client:
        assert refused(client.get("/v1/operator/tenants")) == (403, "FORBIDDEN")


@pytest.mark.parametrize("role", ["server", "fulfilment", "read"])
async def test_a_role_that_is_too_small_is_forbidden(world: World, role: str) -> None:
    with world.client(role) as client:
        assert refused(client.get("/v1/admin/api-keys")) == (403, "FORBIDDEN")


@pytest.mark.parametrize("path", ["/v1/admin/settings", "/v1/events"])
async def test_the_tenant_in_the_request_must_match(world: World, path: str) -> None:
    method = "POST" if path == "/v1/events" else "GET"
    with world.client() as client:
        own_id = str(world.tenant_id)
        for query in ({"tenant_id": "other"}, {"tenant": "other"}, {"tenant_id": ""}, {"tenant_id": [own_id, "other"]}):
            assert refused(client.request(method, path, params=query, json={})) == (403, "TENANT_QUERY_MISMATCH")
        for second in ("other", ""):
            twice = [("X-Tenant-Id", own_id), ("X-Tenant-Id", second)]
            answer = client.request(method, path, headers=[*client.headers.items(), *twice], json={})
            assert refused(answer) == (403, "TENANT_QUERY_MISMATCH")
        assert refused(client.request(method, path, headers={"X-Tenant-Id": "other"}, json={})) == (403, "TENANT_QUERY_MISMATCH")
        own = client.request(method, path, params={"tenant_id": str(world.tenant_id)}, json=event("e1"))
    assert own.is_success


async def test_unknown_routes_and_methods_answer_in_the_same_shape(world: World) -> None:
    with world.client() as client:
        assert refused(client.get("/v1/nothing")) == (404, "NOT_FOUND")
        assert refused(client.get("/v1/admin/api-keys/not-an-id"))[0] in (404, 405)
        wrong = client.get("/v1/events")
        assert refused(wrong) == (405, "METHOD_NOT_ALLOWED")
        assert wrong.json()["error"]["message"] == "This path takes only POST"


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("path", ["/v1/events", "/v1/auth/gamer-token"])
@pytest.mark.parametrize(("size", "status"), [(MEBIBYTE, 400), (MEBIBYTE + 1, 413)])
async def test_a_body_of_one_mebibyte_passes_and_one_byte_more_does_not(
    world: World, path: str, size: int, status: int, *, chunked: bool
) -> None:
    body = b'{"x":"' + b"a" * (size - 8) + b'"}'
    parts = (body[at : at + 60_000] for at in range(0, size, 60_000))
    with world.client() as client:
        answer = client.post(path, content=parts if chunked else body)
    assert refused(answer) == (status, "PAYLOAD_TOO_LARGE" if status == 413 else "VALIDATION_ERROR")


async def test_a_request_id_is_taken_when_it_is_sane(world: World) -> None:
    with world.client() as client:
        for path in ("/health", "/v1/nothing", "/v1/admin/settings"):
            assert client.get(path, headers={"X-Request-Id": "abc-1.2_3"}).headers["X-Request-Id"] == "abc-1.2_3"
            assert client.get(path, headers={"X-Request-Id": "no good"}).headers["X-Request-Id"] != "no good"
        assert client.post("/v1/events", json=event("e1"), headers={"X-Request-Id": "abc"}).headers["X-Request-Id"] == "abc"


async def test_without_a_database_the_answer_is_unavailable(settings: Settings, world: World) -> None:
    lost = msgspec.structs.replace(settings, database_url="postgresql://nobody@127.0.0.1:1/none")
    with (
        serving(lost) as url,
        httpx.Client(base_url=url, headers={"Authorization": f"Bearer {world.keys['admin']}"}, timeout=90.0) as client,
    ):
        assert refused(client.post("/v1/events", json=event("e1"))) == (503, "UNAVAILABLE")
        assert client.get("/health").status_code == 200
        assert client.get("/ready").status_code == 503


async def test_the_document_the_browser_page_and_the_metrics_are_served(world: World) -> None:
    with world.client(None) as client:
        assert client.get("/openapi.json").json()["openapi"].startswith("3.")
        page = client.get("/docs")
        assert page.headers["content-type"].startswith("text/html")
        assert "/v1/events/bulk" in page.text
        assert "http" not in page.text.replace("http://json-schema.org", "").split("<body")[0].split("<style>")[0]
        assert "laurel_events_accepted_total" in client.get("/metrics").text
