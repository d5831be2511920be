"""Who is asking: API keys, tokens and the operator, and what each route lets them do (contract 1, credentials)."""

import hmac
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, TypeVar, cast
from urllib.parse import parse_qsl
from uuid import UUID

import msgspec
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from domain import limits
from domain.errors import (
    CorsNotAllowed,
    Forbidden,
    InvalidKey,
    MissingKey,
    RateLimited,
    TenantQueryMismatch,
    Unauthorized,
    ValidationError,
)
from domain.misfit import MOST_ERRORS, near_miss
from domain.tenant.tenant import TenantAccess, TenantStatus
from runtime.logging import admitted
from runtime.postgres import acting
from runtime.shares import Asker, asking
from runtime.shelf import Recent
from storage.platform.rate_limit import Meter

Role = Literal["admin", "server", "fulfilment", "read", "gamer", "member"]
Answer = TypeVar("Answer")
Guard = Callable[[ASGIConnection[Any, Any, Any, Any], BaseRouteHandler], Awaitable[None]]

PRESET = "laurel.console"
"""Key of the ASGI scope under which the console says who asks. It calls inside the process; no request from outside has this key."""

READING_ROUTES = frozenset({"/v1/admin/schedules/{schedule_id}/preview", "/v1/admin/leaderboards/{leaderboard_id}/explain"})
"""Routes that are asked by POST and write nothing, by their templates: what a path ends in is chosen by whoever names the thing."""

AUDITED_ROUTES = ("/v1/admin/", "/v1/operator/", "/v1/users")
"""Beginnings of templates, as all that decides about rights: what a path is written like is up to whoever asks."""
CALLBACKS = ("/v1/admin/rewards/redemptions/", "/v1/users")
"""What partners and servers do all day, and the timeline keeps: only an admin's is in the audit log."""
GRAVE = frozenset({("DELETE", "/v1/users/{external_id}"), ("GET", "/v1/users/{external_id}/export"), ("POST", "/v1/auth/gamer-token")})
"""What takes all of a person away, hands all of it out, or speaks in its name: it is in the audit log whoever asks for it."""
REASON_CHARACTERS = 500
PARAMETER_CHARACTERS = 60
TENANT_PARAMETERS = frozenset({"tenant_id", "tenant"})
PARAMETERS_ELSEWHERE = {
    "pagesize": "limit",
    "perpage": "limit",
    "size": "limit",
    "count": "limit",
    "page": "cursor",
    "after": "cursor",
    "start": "offset",
}
"""Names that other APIs give to what these routes call otherwise."""
TOKEN_FAMILIES = ("/v1/events", "/v1/leaderboards", "/v1/snapshots", "/v1/rewards", "/v1/orders")
"""Routes that were made for tokens: without a credential they say UNAUTHORIZED, the others AUTH_MISSING_KEY."""


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Who is asking. `member` is a plain token of a trusted issuer; `actor` is what `by` columns hold."""

    tenant_id: UUID
    kind: Literal["api_key", "jwt", "gamer", "console"]
    role: Role
    external_user_id: str | None = None
    actor: str

    def named(self, user_id: str) -> str:
        """The external id that a path names: `me` is a gamer's own, and anybody else's is as it stands."""
        return self.external_user_id if user_id == "me" and self.role == "gamer" and self.external_user_id is not None else user_id

    def shown(self, answer: Answer, for_player: Callable[[Answer], Answer]) -> Answer:
        """The answer as it may be shown to whoever asks: a gamer gets what `domain.player` leaves of it."""
        return for_player(answer) if self.role == "gamer" else answer

    def check_user(self, external_id: str) -> None:
        """Raise `Forbidden` when a gamer's token acts for another user."""
        if self.role == "gamer" and external_id != self.external_user_id:
            raise Forbidden("This token can only act for its own user")


class Admission(msgspec.Struct, frozen=True, kw_only=True):
    """A principal with the present state of its tenant, and what its requests are charged to."""

    principal: Principal
    tenant: TenantAccess
    meter: Meter

    async def charge(self) -> None:
        """Count a request; raises `RateLimited`."""
        if not self.meter.take():
            await self.meter.take_slowly()


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """Who may call a route: what its guard enforces, and what the API document says of it as `x-roles`."""

    roles: frozenset[str]


PUBLIC = Rule(roles=frozenset({"public"}))
"""For routes that ask for no credential: `opt={"rule": PUBLIC}`."""
OPERATOR = Rule(roles=frozenset({"operator"}))
RULES: dict[Guard, Rule] = {}
"""What each guard asks for."""


class ConsoleAdmission(msgspec.Struct, frozen=True, kw_only=True):
    """A person of the console, whom the console has signed in. `read_only`: role `viewer`, who reads everything and changes nothing."""

    admission: Admission
    read_only: bool

    def check(self, method: str, route: str) -> None:
        """Raise `Forbidden` for a viewer's change; `route` is the template of the path."""
        if self.read_only and method != "GET" and not (method == "POST" and route in READING_ROUTES):
            raise Forbidden("Viewers cannot make changes")


class RequestFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of a request that authentication looks at."""

    path: str
    authorization: bytes | None
    api_key: bytes | None
    tenant_headers: tuple[bytes, ...]
    origin: bytes | None
    query_string: bytes
    address: str = ""
    """Where the request came from."""


class Guesses:
    """Credentials that nobody has, counted for each address: whoever goes on guessing is told to wait.

    The operator's key, and keys that were good before, pass all the same. Any other key is looked up when none of that address is being
    looked up: many clients may share an address, and a process that has just started knows none of their keys. So nobody keeps others
    out by guessing from their address.
    """

    def __init__(self) -> None:
        """Nobody has guessed."""
        self._counted = Recent[str, tuple[int, int]](limits.GUESSING_ADDRESSES.value)
        self._looked_up: set[str] = set()
        """Addresses beyond their bound, one key of each of which is being looked up."""

    def check(self, address: str) -> None:
        """Raise `RateLimited` when this address has guessed too often in the present period."""
        if self._is_guessing(address):
            raise RateLimited("Too many invalid credentials from this address; try again later", retry_after=limits.GUESS_SECONDS.value)

    @contextmanager
    def look_up(self, address: str) -> Iterator[None]:
        """Around the look-up of a key never seen before; raises `RateLimited` for a second one at a time of an address that guesses."""
        if not self._is_guessing(address):
            yield
            return
        if address in self._looked_up:
            raise RateLimited("Too many invalid credentials from this address; try again later", retry_after=1)
        self._looked_up.add(address)
        try:
            yield
        finally:
            self._looked_up.discard(address)

    def _is_guessing(self, address: str) -> bool:
        period, count = self._counted.get(address, (0, 0))
        return count >= limits.GUESSES.value and period == self._period()

    def note(self, address: str) -> None:
        """Count a wrong one."""
        (period, count), now = self._counted.get(address, (0, 0)), self._period()
        self._counted.keep(address, (now, count + 1 if period == now else 1))

    @staticmethod
    def _period() -> int:
        return int(time.monotonic() // limits.GUESS_SECONDS.value) + 1


Admit = Callable[[RequestFacts], Awaitable[Admission]]
"""Decides about a request: the principal, or 401. What its tenant may do now is asked by `check_tenant`."""


def request_facts(scope: Any) -> RequestFacts:
    """What authentication needs of an ASGI connection."""
    return facts_of(scope["path"], scope["headers"], scope.get("query_string", b""), scope.get("client"))


def facts_of(path: str, headers: Iterable[tuple[bytes, bytes]], query_string: bytes, client: tuple[str, int] | None = None) -> RequestFacts:
    """Pick what authentication needs out of the parts of a raw request."""
    found: dict[bytes, bytes] = {}
    tenants: list[bytes] = []
    for name, value in headers:
        if name == b"x-tenant-id":
            tenants.append(value)
        elif name in (b"authorization", b"x-api-key", b"origin"):
            found.setdefault(name, value)
    return RequestFacts(
        path=path,
        authorization=found.get(b"authorization"),
        api_key=found.get(b"x-api-key"),
        tenant_headers=tuple(tenants),
        origin=found.get(b"origin"),
        query_string=query_string,
        address=client[0] if client else "",
    )


def in_token_family(path: str) -> bool:
    """Whether the route was made for tokens."""
    return path.startswith(TOKEN_FAMILIES)


def missing_credential(path: str) -> Unauthorized | MissingKey:
    """The refusal of a request without any credential."""
    if in_token_family(path):
        return Unauthorized("Missing Authorization header")
    return MissingKey("Missing API key")


def bearer_of(facts: RequestFacts) -> str:
    """The credential's text; raises the refusal that fits the route when there is none or it is no bearer."""
    if facts.api_key is not None:
        return facts.api_key.decode("latin-1").strip()
    if facts.authorization is None or not facts.authorization.strip():
        raise missing_credential(facts.path)
    scheme, _, credential = facts.authorization.decode("latin-1").strip().partition(" ")
    if scheme.lower() != "bearer" or not credential.strip():
        raise (
            Unauthorized("Authorization must be Bearer, a space, and an API key or a token")
            if in_token_family(facts.path)
            else InvalidKey("Invalid API key")
        )
    return credential.strip()


def check_tenant(facts: RequestFacts, tenant: TenantAccess, *, even_suspended: bool = False) -> None:
    """Raise the 403 that the request's tenant or its Origin calls for. Each tenant that is named must match, also an empty one."""
    own = str(tenant.tenant_id)
    query = parse_qsl(facts.query_string.decode("latin-1"), keep_blank_values=True)
    named = [value for name, value in query if name in TENANT_PARAMETERS]
    named += [value.decode("latin-1").strip() for value in facts.tenant_headers]
    if any(value.lower() != own for value in named):
        raise TenantQueryMismatch("The tenant in the request is not the credential's tenant")
    if facts.origin is not None and not origin_allowed(tenant, facts.origin.decode("latin-1")):
        raise CorsNotAllowed("This origin is not in the tenant's list")
    if tenant.status is TenantStatus.SUSPENDED and not even_suspended:
        raise Forbidden("The tenant is suspended")


def origin_allowed(tenant: TenantAccess, origin: str) -> bool:
    """Whether the tenant lists the browser's origin."""
    return origin in tenant.cors_origins or "*" in tenant.cors_origins


def check_role(role: str, allowed: Collection[str]) -> None:
    """Raise `Forbidden`, which says which roles may do this, for any other."""
    if role not in allowed:
        raise Forbidden(f"This requires a credential with role {_either(sorted(allowed))}; this one has role {role}")


def _either(names: list[str]) -> str:
    """`admin, server or read`."""
    return " or ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def check_query(query_string: bytes, known: Collection[str] | None) -> None:
    """Raise `ValidationError` for query parameters that the route does not know: one that is misspelt must not be ignored silently.

    None: what the route knows is not known here.
    """
    if known is None:
        return
    names = dict.fromkeys(name for name, _ in parse_qsl(query_string.decode("latin-1"), keep_blank_values=True))
    strange = [name for name in names if name not in known and name not in TENANT_PARAMETERS]
    if strange:
        raise ValidationError.of_many([(name[:PARAMETER_CHARACTERS], _unknown_parameter(name, known)) for name in strange[:MOST_ERRORS]])


def _unknown_parameter(name: str, known: Collection[str]) -> str:
    meant = near_miss(name, known) or PARAMETERS_ELSEWHERE.get(name.lower().replace("_", ""))
    listed = ", ".join(sorted(known)) if known else "none"
    proposed = f"; did you mean {meant}?" if meant in known else ""
    return f"is not a query parameter of this route, which takes {listed}{proposed}"


def allow(*roles: Role, even_suspended: bool = False, with_admin: bool = True) -> Guard:
    """A route guard: only these roles come through, and `admin`, which may do everything in its tenant but be a user of it."""
    allowed = frozenset(roles) | ({"admin"} if with_admin else frozenset())

    async def guard(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        scope: Any = connection.scope
        facts = request_facts(scope)
        person: ConsoleAdmission | None = scope.get(PRESET)
        admission = person.admission if person else await cast(Admit, connection.app.state.admit)(facts)
        scope["state"]["tenant_known"] = True
        admitted(admission.principal.tenant_id, admission.principal.kind)
        asking.set(Asker(admission.principal.tenant_id, admission.principal.actor))
        if facts.origin is not None and origin_allowed(admission.tenant, facts.origin.decode("latin-1")):
            scope["state"]["cors_origin"] = facts.origin
        await admission.charge()
        check_tenant(facts, admission.tenant, even_suspended=even_suspended)
        if person is not None:
            person.check(scope["method"], scope["path_template"])
        check_role("admin" if person else admission.principal.role, allowed)
        if facts.query_string:
            check_query(facts.query_string, connection.app.state.query_names(scope["path_template"], scope["method"]))
        scope["state"]["admission"] = admission
        is_grave = (scope["method"], scope["path_template"]) in GRAVE
        if is_grave or admission.principal.role == "admin" or not scope["path_template"].startswith(CALLBACKS):
            _note_actor(scope, admission.principal.actor)

    RULES[guard] = Rule(roles=allowed)
    return guard


def _note_actor(scope: Any, actor: str) -> None:
    """Let the transactions of a request that changes something say who asked for it, and why (header `X-Audit-Reason`)."""
    changes = scope["method"] != "GET" and scope["path_template"].startswith(AUDITED_ROUTES)
    if not changes and (scope["method"], scope["path_template"]) not in GRAVE:
        return
    reason = next((value for name, value in scope["headers"] if name == b"x-audit-reason"), b"")
    acting.set((actor, reason.decode("utf-8", "replace").replace("\0", "")[:REASON_CHARACTERS]))


async def operator(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """A route guard: only the operator's key comes through. A tenant's good key is told that its role is too small."""
    scope = connection.scope
    facts = request_facts(scope)
    given = bearer_of(facts)
    key = connection.app.state.settings.operator_key
    if key and hmac.compare_digest(given.encode(), key.encode()):
        admitted(None, "operator")
        _note_actor(scope, "operator")
        return
    if given.startswith("lk_") or given.count(".") == 2:
        await cast(Admit, connection.app.state.admit)(facts)
        raise Forbidden("This route is for the operator")
    guesses: Guesses = connection.app.state.guesses
    guesses.check(facts.address)
    guesses.note(facts.address)
    raise InvalidKey("Invalid operator key")


RULES[operator] = OPERATOR


def rule_of(handler: BaseRouteHandler) -> Rule | None:
    """Who may call the route: by its guard, or by `rule` in its `opt` when something in front of Litestar admits. None: nobody said."""
    guarded = [RULES[guard] for guard in handler.resolve_guards() if guard in RULES]
    return guarded[0] if guarded else cast(Rule | None, handler.opt.get("rule"))


async def provide_principal(scope: dict[str, Any]) -> Principal:
    """The principal that the route's guard admitted; injected as `principal`."""
    return cast(Admission, scope["state"]["admission"]).principal


async def provide_admission(scope: dict[str, Any]) -> Admission:
    """The principal with its tenant's present state; injected as `admission`."""
    return cast(Admission, scope["state"]["admission"])
