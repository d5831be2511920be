"""People of the console and their sessions: what a cookie proves, and how often signing in may be tried."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

import msgspec
from psycopg.types.json import Jsonb

from domain.tenant.tenant import TenantStatus
from runtime.ids import new_id
from runtime.postgres import Connection, count_changed

ConsoleRole = Literal["admin", "viewer"]
IDLE = timedelta(hours=12)
LONGEST = timedelta(days=7)
SEEN_EVERY = timedelta(minutes=1)
ATTEMPT_PERIOD = timedelta(minutes=15)


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """Who is meant."""

    tenant_id: UUID
    console_user_id: UUID
    email: str


class ConsoleUser(Person, frozen=True, kw_only=True):
    """A person who may sign in."""

    password_hash: str
    role: ConsoleRole
    tenant_status: TenantStatus = TenantStatus.ACTIVE
    first_password_until: datetime | None = None
    """Until when the password of the invitation may be used; None: the person has chosen its own."""


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A sign-in that still holds, with the person and the tenant as they are now."""

    tenant_id: UUID
    session_id: UUID
    console_user_id: UUID
    email: str
    role: ConsoleRole
    tenant_name: str
    timezone: str
    created_at: datetime
    last_seen_at: datetime
    must_choose: bool
    """Whether the person still has the password of its invitation."""


class SessionPlace(msgspec.Struct, frozen=True, kw_only=True):
    """Where a person is signed in, as the person sees it."""

    session_id: UUID
    address: str
    user_agent: str
    created_at: datetime
    last_seen_at: datetime


async def find_console_user(connection: Connection, email: str) -> ConsoleUser | None:
    """The person of that address, in whatever tenant: an address belongs to one."""
    cursor = await connection.execute(
        """
        SELECT tenant_id, u.console_user_id, u.email, u.password_hash, u.role, u.first_password_until, t.status AS tenant_status
        FROM console_user AS u JOIN tenant AS t USING (tenant_id) WHERE lower(u.email) = lower(%s)
        """,
        (email,),
    )
    row = await cursor.fetchone()
    return None if row is None else msgspec.convert(row, ConsoleUser)


async def open_session(
    connection: Connection, user: ConsoleUser, *, token_hash: bytes, address: str, user_agent: str, now: datetime
) -> UUID:
    """Sign the person in; the session's id. `token_hash` is that of what the cookie holds."""
    session_id = new_id()
    await connection.execute(
        """
        INSERT INTO console_session
            (tenant_id, session_id, console_user_id, token_hash, address, user_agent, created_at, last_seen_at, expires_at)
        VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
        """,
        (user.tenant_id, session_id, user.console_user_id, token_hash, address, user_agent, now, now, now + LONGEST),
    )
    await connection.execute("DELETE FROM console_session WHERE expires_at < %s OR last_seen_at < %s", (now, now - LONGEST))
    return session_id


async def find_session(connection: Connection, token_hash: bytes, now: datetime) -> Session | None:
    """The session of that cookie, unless it ended: 12 h without use, 7 days at the longest, the tenant suspended.

    Notes the use, at most once a minute.
    """
    cursor = await connection.execute(
        """
        SELECT s.tenant_id, s.session_id, s.console_user_id, u.email, u.role, t.name AS tenant_name, t.timezone,
               s.created_at, s.last_seen_at, u.first_password_until IS NOT NULL AS must_choose
        FROM console_session AS s JOIN console_user AS u USING (tenant_id, console_user_id) JOIN tenant AS t USING (tenant_id)
        WHERE s.token_hash = %s AND s.expires_at > %s AND s.last_seen_at > %s AND t.status = 'active'
        """,
        (token_hash, now, now - IDLE),
    )
    row = await cursor.fetchone()
    if row is None:
        return None
    session = msgspec.convert(row, Session)
    if now - session.last_seen_at > SEEN_EVERY:
        await connection.execute(
            "UPDATE console_session SET last_seen_at = %s WHERE tenant_id = %s AND session_id = %s",
            (now, session.tenant_id, session.session_id),
        )
    return session


async def list_sessions(connection: Connection, tenant_id: UUID, console_user_id: UUID) -> list[SessionPlace]:
    """Where the person is signed in, the latest use first; at most 50 places."""
    cursor = await connection.execute(
        """
        SELECT session_id, address, user_agent, created_at, last_seen_at FROM console_session
        WHERE tenant_id = %s AND console_user_id = %s ORDER BY last_seen_at DESC LIMIT 50
        """,
        (tenant_id, console_user_id),
    )
    return [msgspec.convert(row, SessionPlace) for row in await cursor.fetchall()]


async def close_session(connection: Connection, tenant_id: UUID, session_id: UUID) -> None:
    """Sign out in one place."""
    await connection.execute("DELETE FROM console_session WHERE tenant_id = %s AND session_id = %s", (tenant_id, session_id))


async def close_sessions(connection: Connection, tenant_id: UUID, console_user_id: UUID, *, but: UUID | None = None) -> int:
    """Sign the person out everywhere, but in the session `but`; how many sessions ended."""
    return await count_changed(
        connection,
        "DELETE FROM console_session WHERE tenant_id = %s AND console_user_id = %s AND (%s::uuid IS NULL OR session_id <> %s)",
        (tenant_id, console_user_id, but, but),
    )


async def find_password_hash(connection: Connection, tenant_id: UUID, console_user_id: UUID) -> str | None:
    """The hash of the person's password."""
    cursor = await connection.execute(
        "SELECT password_hash FROM console_user WHERE tenant_id = %s AND console_user_id = %s", (tenant_id, console_user_id)
    )
    row = await cursor.fetchone()
    return None if row is None else str(row["password_hash"])


async def set_password(connection: Connection, tenant_id: UUID, console_user_id: UUID, password_hash: str) -> None:
    """Give the person the password that it has chosen."""
    await connection.execute(
        "UPDATE console_user SET password_hash = %s, first_password_until = NULL WHERE tenant_id = %s AND console_user_id = %s",
        (password_hash, tenant_id, console_user_id),
    )


async def renew_hash(connection: Connection, tenant_id: UUID, console_user_id: UUID, password_hash: str) -> None:
    """Keep the same password under a stronger hash."""
    await connection.execute(
        "UPDATE console_user SET password_hash = %s WHERE tenant_id = %s AND console_user_id = %s",
        (password_hash, tenant_id, console_user_id),
    )


async def note_attempt(connection: Connection, keys: Sequence[bytes], now: datetime) -> list[int]:
    """Count an attempt to sign in under each key; how many there are now in the present period of 15 minutes, in the order of the keys."""
    cursor = await connection.execute(
        """
        INSERT INTO sign_in_attempt AS known (key, attempts, began_at)
        SELECT key, 1, %(now)s FROM unnest(%(keys)s::bytea[]) AS given (key) ORDER BY key
        ON CONFLICT (key) DO UPDATE SET
            attempts = CASE WHEN known.began_at < %(since)s THEN 1 ELSE known.attempts + 1 END,
            began_at = CASE WHEN known.began_at < %(since)s THEN %(now)s ELSE known.began_at END
        RETURNING key, attempts
        """,
        {"keys": list(keys), "now": now, "since": now - ATTEMPT_PERIOD},
    )
    counted = {bytes(row["key"]): row["attempts"] for row in await cursor.fetchall()}
    return [counted[key] for key in keys]


async def forget_attempts(connection: Connection, keys: Sequence[bytes], now: datetime) -> None:
    """After a good sign-in: the first key counts anew, and under the others this attempt did not happen. Periods long over go with it."""
    await connection.execute("DELETE FROM sign_in_attempt WHERE key = %s OR began_at < %s", (keys[0], now - 4 * ATTEMPT_PERIOD))
    await connection.execute("UPDATE sign_in_attempt SET attempts = greatest(attempts - 1, 0) WHERE key = ANY (%s)", (list(keys[1:]),))


async def note_sign_in(connection: Connection, user: Person, action: str, *, now: datetime, facts: dict[str, str]) -> None:
    """Write into the tenant's audit log that the person signed in or out, or that somebody tried."""
    await connection.execute(
        """
        INSERT INTO audit_log (tenant_id, audit_id, actor, action, subject, subject_id, after, created_at)
        VALUES (%s, %s, %s, %s, 'console_session', %s, %s, %s)
        """,
        (user.tenant_id, new_id(), f"console:{user.email}", action, str(user.console_user_id), Jsonb(facts), now),
    )
