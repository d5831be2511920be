"""The process's memory of credentials: what was verified once is not verified again, and what was revoked stops within 1 s.

A cached answer is believed for `FRESH_SECONDS` from before the query that gave it; then one cheap query (by primary or unique
key, shared by all requests that wait for it) asks Postgres again. So a revoked key, a suspended tenant and a changed CORS list
take effect within a second on every process, and neither Redis nor a connection for LISTEN has to be alive for it.
"""

import hashlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext, suppress
from datetime import datetime
from uuid import UUID

import msgspec
import psycopg
from psycopg_pool import PoolTimeout

from api.credential_text import RequestFacts, bearer_of, in_token_family
from api.guesses import Guesses
from api.principal import Admission, Principal
from api.rule import Role
from api.tenant.token import Identity, TokenVerifier
from domain import limits
from domain.errors import InvalidKey, NotFound, Unauthorized, Unavailable
from domain.tenant.credential import KeyText, parse_key, same_secret
from domain.tenant.tenant import TenantAccess
from runtime.ids import utc_now
from runtime.postgres import Pool
from runtime.settings import Settings
from runtime.shares import Asker
from runtime.shelf import Recent
from runtime.slots import CrowdedError, Slots
from runtime.tasks import SharedAnswers
from storage.event.log import find_user_ids
from storage.platform.rate_limit import RateLimiter
from storage.tenant import credential
from storage.tenant.erased_name import erased_at

FRESH_SECONDS = 0.8
CACHED_CREDENTIALS = limits.REMEMBERED_CREDENTIALS.value
REMEMBERED_BYTES = 2048
"""Headers longer than this are looked up the slower way: what is remembered stays below 100 MB."""
LAST_USED_SECONDS = 60
UNKNOWN_SECONDS = limits.UNKNOWN_SECONDS.value
"""An id that no key has is believed to be nobody's for so long: ids are drawn, so none is made meanwhile."""
OUTDATED = "The token was issued before its user was erased"
NO_TENANT = "The token does not name a tenant"
ORIGIN_CHARACTERS = 255
ORIGINS = limits.REMEMBERED_ORIGINS.value


class Remembered(msgspec.Struct):
    """A verified credential. `expires_at` is Unix seconds, `fresh_until` counts on the monotonic clock."""

    admission: Admission
    expires_at: float
    fresh_until: float


def _is_stale(remembered: Remembered) -> bool:
    """Whether nobody has used the credential for long: whoever uses one makes it fresh again within a second."""
    return remembered.fresh_until + limits.REMEMBERED_SECONDS.value < time.monotonic()


class Authenticator:
    """Knows who is asking. One for each process."""

    def __init__(self, settings: Settings, pool: Pool, limiter: RateLimiter) -> None:
        """Empty caches; keys of issuers are fetched when the first token of theirs comes."""
        self.guesses = Guesses()
        self._settings = settings
        self._pool = pool
        self._limiter = limiter
        self._queries = SharedAnswers("credential")
        self._credentials = Recent[bytes, Remembered](CACHED_CREDENTIALS)
        self._identities = Recent[bytes, tuple[Identity, float]](CACHED_CREDENTIALS)
        self._outlived = Recent[bytes, datetime](CACHED_CREDENTIALS)
        self._outdated = Recent[bytes, None](CACHED_CREDENTIALS)
        self._strangers = Slots(limits.STRANGERS.value, limits.STRANGERS_WAITING.value)
        self._unknown_keys = Recent[str, float](limits.UNKNOWN_KEYS.value)
        self._known_keys = Recent[str, tuple[credential.KeyAccess, float]](CACHED_CREDENTIALS)
        self._origins = Recent[tuple[str, str | None], tuple[bool, float]](ORIGINS)
        self._tenants = Recent[tuple[bool, str], tuple[TenantAccess, float]](CACHED_CREDENTIALS)
        self._unknown_tenants = Recent[tuple[bool, str], float](limits.UNKNOWN_KEYS.value)
        self._tokens = TokenVerifier(settings)

    def remembered(self, credential_bytes: bytes) -> Admission | None:
        """The admission of an Authorization header that is known and fresh: one look-up, for the ingest path."""
        known = self._credentials.get(credential_bytes)
        if known is None or known.fresh_until < time.monotonic() or known.expires_at < time.time():
            return None
        return known.admission

    async def __call__(self, facts: RequestFacts) -> Admission:
        """Who is asking; raises the 401 of contract 1 that fits the credential and the route."""
        raw = facts.authorization if facts.api_key is None else b"\0" + facts.api_key
        if raw is not None and (admission := self.remembered(raw)) is not None:
            return admission
        text = bearer_of(facts)
        if facts.api_key is not None and not text.startswith("lk_"):
            raise InvalidKey("Invalid API key")
        if text.startswith("lk_"):
            remembered = await self._admit_key(text, facts.address)
        elif text.count(".") == 2 or in_token_family(facts.path):
            remembered = await self._admit_token(text)
        else:
            raise InvalidKey("Invalid API key")
        if raw is not None:
            self._remember(raw, remembered)
        return remembered.admission

    def _remember(self, raw: bytes, remembered: Remembered) -> None:
        if len(raw) > REMEMBERED_BYTES:
            return  # its verification is remembered all the same, by its digest
        self._credentials.keep(raw, remembered)
        while _is_stale(next(iter(self._credentials.values()))):  # the first is always the one that was refreshed longest ago
            self._credentials.popitem(last=False)

    async def _admit_key(self, text: str, address: str) -> Remembered:
        parsed = parse_key(text)
        if parsed is None:
            raise InvalidKey("Invalid API key")
        if self._unknown_keys.get(parsed.public_id, 0.0) > time.monotonic():
            raise InvalidKey("Invalid API key")  # as it was a moment ago; whoever repeats one guesses nothing
        with nullcontext() if parsed.public_id in self._known_keys else self.guesses.look_up(address):
            access, fresh_until = await self._queries.ask(("key", parsed.public_id), lambda: self._find_key(parsed))
        now = time.time()
        if access is None:
            self.guesses.note(address)
            self._unknown_keys.keep(parsed.public_id, time.monotonic() + UNKNOWN_SECONDS)
        if access is None or not same_secret(access.secret_hash, parsed.secret_hash) or access.revoked_at is not None:
            raise InvalidKey("Invalid API key")
        expires_at = access.expires_at.timestamp() if access.expires_at is not None else float("inf")
        if expires_at <= now:
            raise InvalidKey("The API key has expired")
        principal = Principal(
            tenant_id=access.tenant.tenant_id, kind="api_key", role=access.role.value, actor=f"api_key:{access.public_id}"
        )
        await self._note_use(access)
        return Remembered(self._admission(principal, access.tenant), expires_at, fresh_until)

    async def _find_key(self, parsed: KeyText) -> tuple[credential.KeyAccess | None, float]:
        """The key of that id, at most `FRESH_SECONDS` old: who comes with a wrong secret or a revoked key has it read no more often."""
        known = self._known_keys.get(parsed.public_id)
        if known is not None and known[1] >= time.monotonic():
            return known
        async with nullcontext() if known is not None else self._stranger():
            access, fresh_until = await self._read_key(parsed)
        if access is not None:
            self._known_keys.keep(parsed.public_id, (access, fresh_until))
        return access, fresh_until

    @asynccontextmanager
    async def _stranger(self) -> AsyncIterator[None]:
        """Around a look-up for those whom nobody knows: few reach the database at once, so that a flood of them holds up no one else's."""
        try:
            async with self._strangers.slot():
                yield
        except CrowdedError:
            raise Unavailable("Too many unknown credentials are being looked up; try again") from None

    async def _read_key(self, parsed: KeyText) -> tuple[credential.KeyAccess | None, float]:
        fresh_until = time.monotonic() + FRESH_SECONDS
        async with self._pool.connection() as connection:
            return await credential.find_key_access(connection, parsed.public_id), fresh_until

    async def _note_use(self, access: credential.KeyAccess) -> None:
        now = utc_now()
        if access.last_used_at is not None and (now - access.last_used_at).total_seconds() < LAST_USED_SECONDS:
            return

        async def touch() -> None:
            async with self._pool.connection() as connection:
                await credential.touch_key(connection, access.tenant.tenant_id, access.key_id, now)

        with suppress(psycopg.Error, PoolTimeout):  # a note that could not be written must not keep anyone out
            await self._queries.ask(("touch", access.key_id), touch)

    async def _admit_token(self, text: str) -> Remembered:
        raw = hashlib.sha256(text.encode()).digest()
        identity, believed_until = self._identities.get(raw, (None, 0.0))
        if identity is None or believed_until < time.monotonic():
            self._identities.pop(raw, None)
            identity = await self._tokens.verify(text)
            self._identities.keep(raw, (identity, time.monotonic() + limits.TOKEN_SECONDS.value))
        if identity.expires_at < time.time():
            self._identities.pop(raw, None)
            raise Unauthorized("The token has expired")
        tenant, fresh_until = await self._tenant_of(identity)
        if identity.is_gamer:
            await self._check_not_erased(raw, identity, tenant)
        return Remembered(self._admission(self._principal(identity, tenant), tenant), identity.expires_at, fresh_until)

    async def _check_not_erased(self, raw: bytes, identity: Identity, tenant: TenantAccess) -> None:
        """Raise `Unauthorized` for a token issued before its user was erased: it would make the user anew.

        Asked only of tokens that are older than the tenant's last erasure, and once for each erasure.
        """
        if raw in self._outdated:
            raise Unauthorized(OUTDATED)
        last = tenant.last_erased_at
        if last is None or identity.issued_at >= int(last.timestamp()) or self._outlived.get(raw) == last:
            return
        async with self._pool.connection() as connection:
            gone = await erased_at(connection, tenant.tenant_id, identity.subject)
        if gone is not None and identity.issued_at < int(gone.timestamp()):
            self._outdated.keep(raw, None)
            raise Unauthorized(OUTDATED)
        self._outlived.keep(raw, last)

    def _admission(self, principal: Principal, tenant: TenantAccess) -> Admission:
        meter = self._limiter.meter(tenant.tenant_id, principal.actor, tenant.rate_limit_per_second)
        return Admission(principal=principal, tenant=tenant, meter=meter, asker=Asker(tenant.tenant_id, principal.actor))

    async def _tenant_of(self, identity: Identity) -> tuple[TenantAccess, float]:
        name = identity.organisation
        question = (identity.platform, name)
        known = self._tenants.get(question)
        if known is not None and known[1] >= time.monotonic():
            return known
        if self._unknown_tenants.get(question, 0.0) >= time.monotonic():
            raise Unauthorized(NO_TENANT)

        async def find() -> tuple[TenantAccess | None, float]:
            fresh_until = time.monotonic() + FRESH_SECONDS
            async with self._pool.connection() as connection:
                if identity.platform:
                    return await credential.find_tenant_access(connection, UUID(name)), fresh_until
                return await credential.find_tenant_access_by_org(connection, name), fresh_until

        tenant, fresh_until = await self._queries.ask(("tenant", *question), find)
        if tenant is None:
            self._tenants.pop(question, None)
            self._unknown_tenants.keep(question, fresh_until)
            raise Unauthorized(NO_TENANT)
        self._tenants.keep(question, (tenant, fresh_until))
        return tenant, fresh_until

    def _principal(self, identity: Identity, tenant: TenantAccess) -> Principal:
        subject = identity.subject
        if identity.is_gamer:
            return Principal(tenant_id=tenant.tenant_id, kind="gamer", role="gamer", external_user_id=subject, actor=f"gamer:{subject}")
        role: Role = "server" if self._settings.jwt_server_role in identity.roles else "member"
        return Principal(tenant_id=tenant.tenant_id, kind="jwt", role=role, external_user_id=subject, actor=f"jwt:{subject}")

    async def of_console(self, tenant_id: UUID, email: str, role: str) -> Admission:
        """A person whom the console has signed in; `role` is `admin` or `viewer`."""
        async with self._pool.connection() as connection:
            tenant = await credential.find_tenant_access(connection, tenant_id)
        if tenant is None:
            raise NotFound("Tenant not found")
        own: Role = "admin" if role == "admin" else "read"
        principal = Principal(tenant_id=tenant_id, kind="console", role=own, actor=f"console:{email}")
        return self._admission(principal, tenant)

    async def preflight_allowed(self, origin: str, tenant_id: str | None) -> bool:
        """Whether a browser of that origin may go on: judged by the tenant when one is named, else by all active ones."""
        if not origin or "\0" in origin or len(origin) > ORIGIN_CHARACTERS:
            return False
        try:
            wanted = None if tenant_id is None else UUID(tenant_id)
        except ValueError:
            return False
        question = (origin, None if wanted is None else str(wanted))
        allowed, fresh_until = self._origins.get(question, (False, 0.0))
        if fresh_until < time.monotonic():
            fresh_until = time.monotonic() + FRESH_SECONDS
            allowed = await self._queries.ask(("origin", *question), lambda: self._judge_origin(origin, wanted))
            self._origins.keep(question, (allowed, fresh_until))
        return allowed

    async def _judge_origin(self, origin: str, tenant_id: UUID | None) -> bool:
        async with self._stranger(), self._pool.connection() as connection:
            if tenant_id is None:
                return await credential.origin_is_allowed_somewhere(connection, origin)
            tenant = await credential.find_tenant_access(connection, tenant_id)
        return tenant is not None and tenant.allows_origin(origin)

    async def user_exists(self, tenant_id: UUID, external_id: str) -> bool:
        """Whether the tenant has identified this user."""
        async with self._pool.connection() as connection:
            return bool(await find_user_ids(connection, [(tenant_id, external_id)]))
