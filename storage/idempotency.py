"""Answers to requests that carried an idempotency key, kept in the transaction of their effect (contract 1)."""

import hashlib
from datetime import datetime
from uuid import UUID

import msgspec

from domain.error import IdempotencyConflict
from runtime.postgres import Connection, count_changed


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """A request under a key. `scope` is method, path and, for gamers, the user; `request_hash` is that of the body."""

    scope: str
    key: str
    request_hash: bytes


class StoredAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer as it was first given: status 200 to 299 and the bytes of the body."""

    status: int
    body: bytes


def _lock_number(tenant_id: UUID, claim: Claim) -> int:
    named = f"{tenant_id}\n{claim.scope}\n{claim.key}".encode()
    return int.from_bytes(hashlib.sha256(named).digest()[:8], "big", signed=True)


async def earlier_answer(connection: Connection, tenant_id: UUID, claim: Claim) -> StoredAnswer | None:
    """The answer that this key got before, or None: then the key is ours until the end of the transaction.

    A concurrent request with the same key waits here and then sees the first one's answer. IdempotencyConflict for another body.
    """
    await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_lock_number(tenant_id, claim),))
    # A statement of its own: its snapshot has to be taken after the lock.
    cursor = await connection.execute(
        "SELECT request_hash, status, body FROM idempotency_record WHERE tenant_id = %s AND scope = %s AND key = %s",
        (tenant_id, claim.scope, claim.key),
    )
    row = await cursor.fetchone()
    if row is None:
        return None
    if row["request_hash"] != claim.request_hash:
        raise IdempotencyConflict("This idempotency key was used with another request body")
    return StoredAnswer(status=row["status"], body=row["body"])


async def keep_answer(connection: Connection, tenant_id: UUID, claim: Claim, answer: StoredAnswer, now: datetime) -> None:
    """Keep a 2xx answer for every later request with this key."""
    await connection.execute(
        """
        INSERT INTO idempotency_record (tenant_id, scope, key, request_hash, status, body, created_at)
        VALUES (%s, %s, %s, %s, %s, %s, %s)
        """,
        (tenant_id, claim.scope, claim.key, claim.request_hash, answer.status, answer.body, now),
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
