"""Money-like writes have one effect for one idempotency key, and the first answer is given again (contract 1)."""

import hashlib
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

import msgspec
from litestar import Request, Response

from api.principal import Principal
from domain.errors import ValidationError
from runtime.ids import utc_now
from runtime.postgres import Connection, Pool, name_actor, telling
from storage.idempotency import KeyClaim, StoredAnswer, earlier_answer, keep_answer

HEADER = "Idempotency-Key"
MAX_KEY_CHARACTERS = 255

Answer = TypeVar("Answer")


class Write(msgspec.Struct, frozen=True, kw_only=True):
    """A money-like write: who asks, under which key (None: every request has its effect), and what the body says."""

    principal: Principal
    claim: KeyClaim | None
    status: int = 201


def write_of(  # what a route says of its request
    request: Request[Any, Any, Any],
    principal: Principal,
    body: Any,
    body_key: str | None = None,
    *,
    status: int = 201,
    about: str | None = None,
) -> Write:
    """The request as a write. `body_key` is the key that the body carries, for routes that allow it; ValidationError for another.

    `about` is the external id of the one user whom it is about; a gamer's is about that gamer.
    """
    header_key = request.headers.get(HEADER)
    if header_key is not None and body_key is not None and header_key != body_key:
        raise ValidationError.of("idempotency_key", f"differs from the one in the header {HEADER}")
    key = body_key if header_key is None else header_key
    if key is None:
        return Write(principal=principal, claim=None, status=status)
    if not 1 <= len(key) <= MAX_KEY_CHARACTERS or not key.isprintable():
        raise ValidationError.of("idempotency_key", f"must have 1 to {MAX_KEY_CHARACTERS} printable characters")
    scope = f"{request.method} {_place(request)}"
    if principal.role == "gamer":
        scope = f"{scope} {principal.external_user_id}"
    canonical = msgspec.json.encode(body, order="deterministic")
    claim = KeyClaim(
        scope=scope,
        key=key,
        request_hash=hashlib.sha256(canonical).digest(),
        external_user_id=principal.external_user_id if principal.role == "gamer" else about,
    )
    return Write(principal=principal, claim=claim, status=status)


def _place(request: Request[Any, Any, Any]) -> str:
    """The path as the route understands it: a uuid in capitals names the same schedule, so it is the same request."""
    template = request.scope.get("path_template") or request.scope["path"]
    for name, value in request.path_params.items():
        template = template.replace(f"{{{name}}}", str(value))
    return template


async def idempotent(pool: Pool, write: Write, effect: Callable[[Connection], Awaitable[Answer]]) -> Response[Answer]:
    """Run `effect` in one transaction and answer what it gives, encoded; or answer what the key got before.

    The transaction runs as a pipeline, its COMMIT sent together with the last statements:
    an effect may read rows, but a row count only of a statement whose rows it has read. IdempotencyConflict for another body.
    """
    tenant_id = write.principal.tenant_id
    async with pool.connection() as connection, telling(pool, connection), connection.pipeline(), connection.transaction():
        await name_actor(connection)
        if write.claim is not None:
            stored = await earlier_answer(connection, tenant_id, write.claim)
            if stored is not None:
                return cast(Response[Answer], _response(stored, replayed=True))
        answer = StoredAnswer(status=write.status, body=msgspec.json.encode(await effect(connection)))
        if write.claim is not None:
            await keep_answer(connection, tenant_id, write.claim, answer, now=utc_now())
    return cast(Response[Answer], _response(answer, replayed=False))


def _response(answer: StoredAnswer, *, replayed: bool) -> Response[bytes]:
    headers = {"Idempotency-Replayed": "true"} if replayed else {}
    return Response(answer.body, status_code=answer.status, media_type="application/json", headers=headers)
