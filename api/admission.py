"""The one door: who asks, and whether the rule of what is asked for lets it in (contract 1, credentials).

Routes (`guard`), ingestion, fast board pages and WebSockets all ask `AdmissionControl`, which decides in one order: the credential (401),
the tenant that the request names, the browser's origin, a suspended tenant, the role (403), the rate limit (429). What a known
credential asks is charged to it, also when it is refused; what nobody knows has a bound of its own (`api/guesses.py`).
"""

import hmac
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Protocol, cast
from urllib.parse import parse_qsl
from uuid import UUID

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from api.credential_text import RequestFacts, bearer_of, request_facts
from api.guesses import Guesses
from api.known_query import TENANT_PARAMETERS, check_query
from api.principal import Admission, Principal
from api.rule import CLOSED, OPERATOR, PUBLIC, Rule, rule_of
from domain.errors import CorsNotAllowed, DomainError, Forbidden, InvalidKey, RateLimited, TenantQueryMismatch
from domain.tenant.tenant import TenantAccess, TenantStatus
from runtime.logging import admitted
from runtime.postgres import acting
from runtime.shares import asking

CONSOLE = "laurel.console"
"""Key of the ASGI scope under which the console's calls say who asks. They are made inside the process; no request from outside has it."""

THOROUGH_HEADERS = frozenset({b"x-api-key", b"x-tenant-id", b"origin", b"if-none-match"})
"""What speaks against the short way in: another credential, a tenant, a browser, a page that was seen before."""
REASON_CHARACTERS = 500


class Authentication(Protocol):
    """What `AdmissionControl` asks who somebody is: `api/tenant/credential.py`."""

    def remembered(self, credential_bytes: bytes) -> Admission | None:
        """The admission of an Authorization header that is known and fresh."""

    async def __call__(self, facts: RequestFacts) -> Admission:
        """Who is asking; raises the 401 that fits the credential and the route."""

    async def of_console(self, tenant_id: UUID, email: str, role: str) -> Admission:
        """A person whom the console has signed in."""


def check_tenant(facts: RequestFacts, tenant: TenantAccess, *, even_suspended: bool = False) -> None:
    """Raise the 403 that the request's tenant or its Origin calls for. Each tenant that is named must match, also an empty one."""
    own = str(tenant.tenant_id)
    query = parse_qsl(facts.query_string.decode("latin-1"), keep_blank_values=True)
    named = [value for name, value in query if name in TENANT_PARAMETERS]
    named += [value.decode("latin-1").strip() for value in facts.tenant_headers]
    if any(value.lower() != own for value in named):
        raise TenantQueryMismatch("The tenant in the request is not the credential's tenant")
    if facts.origin is not None and not tenant.allows_origin(facts.origin.decode("latin-1")):
        raise CorsNotAllowed("This origin is not in the tenant's list")
    if tenant.status is TenantStatus.SUSPENDED and not even_suspended:
        raise Forbidden("The tenant is suspended")


def judge(facts: RequestFacts, admission: Admission, rule: Rule, method: str = "GET") -> None:
    """Raise the first 403 that stands against the request."""
    check_tenant(facts, admission.tenant, even_suspended=rule.even_suspended)
    principal = admission.principal
    if principal.is_viewer and method != "GET" and not rule.only_reads:
        raise Forbidden("Viewers cannot make changes")
    rule.check_role("admin" if principal.kind == "console" else principal.role)


class AdmissionControl:
    """Lets requests in, or raises what refuses them. One for each process."""

    def __init__(self, authentication: Authentication, guesses: Guesses, operator_key: str) -> None:
        """`guesses` counts wrong operator keys, beside the unknown keys of `authentication`; an empty `operator_key` opens nothing."""
        self._authentication = authentication
        self._guesses = guesses
        self._operator_key = operator_key

    async def admit(self, scope: Any, rule: Rule) -> Admission:
        """Who asks, now that the rule lets it in and the request is charged; raises a 401, 403 or 429, in this order."""
        facts = request_facts(scope)
        admission: Admission = scope.get(CONSOLE) or await self._authentication(facts)
        _tell(admission)
        state = scope.setdefault("state", {})
        state["tenant_known"] = True
        if facts.origin is not None and admission.tenant.allows_origin(facts.origin.decode("latin-1")):
            state["cors_origin"] = facts.origin
        try:
            judge(facts, admission, rule, scope.get("method", "GET"))
        except DomainError:
            await self._charge_refused(admission)
            raise
        await admission.charge()
        state["admission"] = admission
        return admission

    def admit_plain(self, headers: Iterable[tuple[bytes, bytes]], rule: Rule) -> Admission | None:
        """The same in the plain case, by one look-up: only a known, fresh Authorization header speaks. None: `admit` has to look."""
        authorization = b""
        for name, value in headers:
            if name == b"authorization":
                if authorization:
                    return None
                authorization = value
            elif name in THOROUGH_HEADERS:
                return None
        admission = self._authentication.remembered(authorization)
        if admission is None or admission.tenant.status is not TenantStatus.ACTIVE or admission.principal.role not in rule.roles:
            return None
        if not admission.meter.take():
            return None
        _tell(admission)
        return admission

    async def admit_again(self, facts: RequestFacts, rule: Rule, admission: Admission) -> Admission:
        """The present admission of a request that was let in and goes on; raises what would refuse it now. It is not charged."""
        present = await self._authentication(facts)
        if present is not admission:  # else nobody has looked since
            judge(facts, present, rule)
        return present

    async def admit_operator(self, scope: Any) -> None:
        """Let the operator's key in. A tenant's good credential is told that its role is too small."""
        facts = request_facts(scope)
        given = bearer_of(facts)
        if self._operator_key and hmac.compare_digest(given.encode(), self._operator_key.encode()):
            admitted(None, "operator")
            return
        if given.startswith("lk_") or given.count(".") == 2:
            await self.admit(scope, OPERATOR)
            raise Forbidden("This route is for the operator")  # no credential of a tenant has that role, so nobody comes as far as this
        self._guesses.check(facts.address)
        self._guesses.note(facts.address)
        raise InvalidKey("Invalid operator key")

    async def admit_console(self, tenant_id: UUID, email: str, role: str) -> dict[str, Admission]:
        """What the calls of a person whom the console has signed in carry in their scope; `role` is `admin` or `viewer`."""
        return {CONSOLE: await self._authentication.of_console(tenant_id, email, role)}

    async def _charge_refused(self, admission: Admission) -> None:
        """Count a request that is refused all the same: whoever is turned away must not knock for nothing."""
        with suppress(RateLimited):
            await admission.charge()


def _tell(admission: Admission) -> None:
    """Let the log, and whatever the process has few of, know whose request is at hand."""
    admitted(admission.principal.tenant_id, admission.principal.kind)
    asking.set(admission.asker)


async def guard(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """The door of every route: its rule decides. A route without one is closed."""
    scope: Any = connection.scope
    rule = rule_of(handler)
    if rule == PUBLIC or (rule == CLOSED and scope["method"] == "OPTIONS"):  # Litestar says which methods there are
        return
    if rule == CLOSED:
        raise Forbidden("Nobody may call this route")
    control: AdmissionControl = connection.app.state.admission_control
    if rule == OPERATOR:
        await control.admit_operator(scope)
        actor, role = "operator", "operator"
    else:
        principal = (await control.admit(scope, rule)).principal
        actor, role = principal.actor, principal.role
    if scope["query_string"]:
        check_query(scope["query_string"], connection.app.state.query_names(scope["path_template"], scope["method"]))
    if rule.is_audited(scope["method"], role):
        reason = next((value for name, value in scope["headers"] if name == b"x-audit-reason"), b"")
        acting.set((actor, reason.decode("utf-8", "replace").replace("\0", "")[:REASON_CHARACTERS]))


async def provide_principal(scope: dict[str, Any]) -> Principal:
    """The principal that the route's guard admitted; injected as `principal`."""
    return cast(Admission, scope["state"]["admission"]).principal


async def provide_admission(scope: dict[str, Any]) -> Admission:
    """The principal with its tenant's present state; injected as `admission`."""
    return cast(Admission, scope["state"]["admission"])
