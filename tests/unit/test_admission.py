"""What authentication reads out of a request, and the refusals that depend on the route."""

from contextlib import nullcontext

import pytest

from api.admission import check_tenant, judge
from api.credential_text import bearer_of, facts_of
from api.guesses import Guesses
from api.openapi import written
from api.principal import Admission, Principal
from api.rule import ADMIN, ADMIN_READING, Rule, rule_of
from domain import limits
from domain.errors import (
    CorsNotAllowed,
    DomainError,
    Forbidden,
    InvalidKey,
    MissingKey,
    RateLimited,
    TenantQueryMismatch,
    Unauthorized,
)
from domain.tenant.tenant import AccessSettings, TenantAccess, TenantStatus
from runtime.ids import new_id
from runtime.redis import make_redis
from runtime.settings import Settings
from runtime.shares import Asker
from server import create_app
from storage.platform.rate_limit import RateLimiter

TENANT = TenantAccess(tenant_id=new_id(), status=TenantStatus.ACTIVE, cors_origins=("https://shop.example",), settings=AccessSettings())
SUSPENDED = TenantAccess(tenant_id=new_id(), status=TenantStatus.SUSPENDED, cors_origins=("*",), settings=AccessSettings())


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


@pytest.mark.parametrize(
    ("method", "rule", "allowed"),
    [("GET", ADMIN, True), ("POST", ADMIN_READING, True), ("POST", ADMIN, False), ("DELETE", ADMIN, False), ("PUT", ADMIN, False)],
)
def test_a_viewer_reads_and_changes_nothing(settings: Settings, method: str, rule: Rule, allowed: bool) -> None:
    viewer = Principal(tenant_id=TENANT.tenant_id, kind="console", role="read", actor="console:v@example.com")
    meter = RateLimiter(make_redis(settings), 1).meter(TENANT.tenant_id, viewer.actor, None)
    admission = Admission(principal=viewer, tenant=TENANT, meter=meter, asker=Asker(TENANT.tenant_id, viewer.actor))
    with nullcontext() if allowed else pytest.raises(Forbidden, match="Viewers cannot make changes"):
        judge(facts_of("/v1/admin/leaderboards/preview", [], b""), admission, rule, method)


def test_viewers_may_post_to_what_only_reads(settings: Settings) -> None:
    handlers = {handler for route in create_app(settings).application.routes for handler in getattr(route, "route_handlers", ())}
    assert {path for handler in handlers if rule_of(handler).only_reads for path in handler.paths} == {
        "/v1/admin/leaderboards/{leaderboard_id:str}/explain",
        "/v1/admin/schedules/{schedule_id:uuid}/preview",
    }


def test_the_document_is_made_once(settings: Settings) -> None:
    app = create_app(settings).application
    assert written(app) is written(app)


def test_an_address_that_guesses_has_one_new_key_looked_up_at_a_time() -> None:
    guesses = Guesses()
    for _ in range(limits.GUESSES.value):
        with guesses.look_up("192.0.2.1"), guesses.look_up("192.0.2.1"):
            guesses.note("192.0.2.1")
    for _ in range(2):
        with guesses.look_up("192.0.2.1"), guesses.look_up("192.0.2.2"), pytest.raises(RateLimited), guesses.look_up("192.0.2.1"):
            pytest.fail("two at a time")
    with pytest.raises(RateLimited):
        guesses.check("192.0.2.1")
