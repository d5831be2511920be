"""What authentication reads out of a request, and the refusals that depend on the route."""

import pytest

from api.auth import Principal, bearer_of, check_tenant, facts_of
from domain.error import CorsNotAllowed, DomainError, Forbidden, InvalidKey, MissingKey, TenantQueryMismatch, Unauthorized
from domain.tenant import TenantAccess, TenantSettings, TenantStatus
from runtime.ids import new_id

TENANT = TenantAccess(tenant_id=new_id(), status=TenantStatus.ACTIVE, cors_origins=("https://shop.example",), settings=TenantSettings())
SUSPENDED = TenantAccess(tenant_id=new_id(), status=TenantStatus.SUSPENDED, cors_origins=("*",), settings=TenantSettings())


@pytest.mark.parametrize(
    ("path", "refusal"),
    [
        ("/v1/events", Unauthorized),
        ("/v1/events/bulk", Unauthorized),
        ("/v1/leaderboards/x", Unauthorized),
        ("/v1/snapshots/x", Unauthorized),
        ("/v1/rewards", Unauthorized),
        ("/v1/orders/user/u1", Unauthorized),
        ("/v1/users/u1", MissingKey),
        ("/v1/admin/api-keys", MissingKey),
    ],
)
def test_no_credential_is_refused_as_the_family_of_the_route_wants(path: str, refusal: type[DomainError]) -> None:
    with pytest.raises(refusal):
        bearer_of(facts_of(path, [], b""))


@pytest.mark.parametrize(("path", "refusal"), [("/v1/events", Unauthorized), ("/v1/users/u1", InvalidKey)])
def test_a_credential_that_is_no_bearer_is_refused(path: str, refusal: type[DomainError]) -> None:
    with pytest.raises(refusal):
        bearer_of(facts_of(path, [(b"authorization", b"Basic abc")], b""))


def test_the_scheme_is_case_insensitive_and_the_key_header_works_too() -> None:
    assert bearer_of(facts_of("/v1/users/u1", [(b"authorization", b"bEARER  lk_x")], b"")) == "lk_x"
    assert bearer_of(facts_of("/v1/users/u1", [(b"x-api-key", b"lk_y")], b"")) == "lk_y"


@pytest.mark.parametrize("query", [b"tenant_id=other", b"tenant=other", b"a=1&tenant_id=%6Fther"])
def test_another_tenant_in_the_query_is_refused(query: bytes) -> None:
    with pytest.raises(TenantQueryMismatch):
        check_tenant(facts_of("/v1/users/u1", [], query), TENANT)


def test_the_own_tenant_may_be_named() -> None:
    own = str(TENANT.tenant_id)
    check_tenant(facts_of("/v1/users/u1", [(b"x-tenant-id", own.upper().encode())], f"tenant_id={own}".encode()), TENANT)
    with pytest.raises(TenantQueryMismatch):
        check_tenant(facts_of("/v1/users/u1", [(b"x-tenant-id", b"other")], f"tenant_id={own}".encode()), TENANT)


def test_an_origin_must_be_in_the_tenants_list() -> None:
    check_tenant(facts_of("/v1/users/u1", [(b"origin", b"https://shop.example")], b""), TENANT)
    with pytest.raises(CorsNotAllowed):
        check_tenant(facts_of("/v1/users/u1", [(b"origin", b"https://shop.example.evil")], b""), TENANT)


def test_a_suspended_tenant_is_refused_but_for_the_callback() -> None:
    facts = facts_of("/v1/users/u1", [], b"")
    with pytest.raises(Forbidden):
        check_tenant(facts, SUSPENDED)
    check_tenant(facts, SUSPENDED, even_suspended=True)


def test_a_gamer_acts_for_itself_only() -> None:
    gamer = Principal(tenant_id=TENANT.tenant_id, kind="gamer", role="gamer", external_user_id="u1", actor="gamer:u1")
    gamer.check_user("u1")
    with pytest.raises(Forbidden):
        gamer.check_user("u2")
