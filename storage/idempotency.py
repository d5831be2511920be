"""Answers to requests that carried an idempotency key, kept in the transaction of their effect (contract 1)."""

import hashlib
from datetime import datetime
from uuid import UUID

import msgspec

from domain.errors import IdempotencyConflict
from runtime.postgres import Connection, count_changed


class KeyClaim(msgspec.Struct, frozen=True, kw_only=True):
    """A request under a key. `scope` is method, path and, for gamers, the user; `request_hash` is that of the body.

    `external_user_id` is whom the request is about, if that is one user: its key belongs to that user and ends with it.
    """

    scope: str
    key: str
    request_hash: bytes
    external_user_id: str | None = None


class StoredAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer as it was first given: status 200 to 299 and the bytes of the body."""

    status: int
    body: bytes


def _lock_number(tenant_id: UUID, claim: KeyClaim) -> int:
    named = f"{tenant_id}\n{claim.scope}\n{claim.key}".encode()
    return int.from_bytes(hashlib.sha256(named).digest()[:8], "big", signed=True)


async def earlier_answer(connection: Connection, tenant_id: UUID, claim: KeyClaim) -> StoredAnswer | None:
    """The answer that this key got before, or None: then the key is ours until the end of the transaction.

    A concurrent request with the same key waits here and then sees the first one's answer. The user is not erased before the end of
    the transaction; the answer that an erased user got is nobody's. IdempotencyConflict for another body.
    """
    await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_lock_number(tenant_id, claim),))
    # Statements of their own: their snapshots have to be taken after the lock.
    holder = await connection.execute(
        "SELECT user_id FROM app_user WHERE tenant_id = %s AND external_id = %s FOR KEY SHARE", (tenant_id, claim.external_user_id)
    )
    cursor = await connection.execute(
        "SELECT request_hash, status, body, user_id FROM idempotency_record WHERE tenant_id = %s AND scope = %s AND key = %s",
        (tenant_id, claim.scope, claim.key),
    )
    user, row = await holder.fetchone(), await cursor.fetchone()
    if row is None or (row["user_id"] is not None and (user is None or row["user_id"] != user["user_id"])):
        return None
    if row["request_hash"] != claim.request_hash:
        raise IdempotencyConflict("This idempotency key was used with a different request body")
    return StoredAnswer(status=row["status"], body=row["body"])


async def keep_answer(connection: Connection, tenant_id: UUID, claim: KeyClaim, answer: StoredAnswer, *, now: datetime) -> None:
    """Keep a 2xx answer for every later request with this key, in the place of one that an erased user got."""
    await connection.execute(
        """
        INSERT INTO idempotency_record AS kept (tenant_id, scope, key, request_hash, status, body, created_at, user_id)
        VALUES (%s, %s, %s, %s, %s, %s, %s, (SELECT user_id FROM app_user WHERE tenant_id = %s AND external_id = %s))
        ON CONFLICT (tenant_id, scope, key) DO UPDATE SET request_hash = excluded.request_hash, status = excluded.status,
            body = excluded.body, created_at = excluded.created_at, user_id = excluded.user_id
            WHERE kept.user_id <> excluded.user_id
        """,
        (
            *(tenant_id, claim.scope, claim.key, claim.request_hash, answer.status, answer.body, now),
            *(tenant_id, claim.external_user_id),
        ),
    )


async def forget_answers(connection: Connection, before: datetime, limit: int) -> int:
    """Delete answers given before this instant, at most `limit` of them; answers how many went. They live for at least 24 h."""
    return await count_changed(
        connection,
        """
        DELETE FROM idempotency_record WHERE (tenant_id, scope, key) IN
            (SELECT tenant_id, scope, key FROM idempotency_record WHERE created_at < %s ORDER BY created_at LIMIT %s)
        """,
        (before, limit),
    )
