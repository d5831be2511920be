"""What boards show of a user, remembered for moments: NOTIFY forgets what has changed, and nothing is believed while nobody listens."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from uuid import UUID

import msgspec
import psycopg
from psycopg.rows import tuple_row

from domain import limits
from runtime.postgres import Connection, Pool, connect, notices
from runtime.tasks import begin_for_all
from storage.tenant.user import PROFILE_CHANNEL

log = logging.getLogger(__name__)

Profile = tuple[str | None, str | None]
Key = tuple[bytes, str]


class KnownProfile(msgspec.Struct):
    """A profile, to be believed as long as `until` (monotonic) has not come: whoever keeps one looks there again each time."""

    until: float
    profile: "Profile"


TTL_SECONDS = 30.0
"""How long a profile is believed. NOTIFY forgets what changes at once; this is for changes that nothing tells of, such as those by hand."""

PROBE_SECONDS = 2.0
"""How often the listening connection has to show that it is alive: nobody hears of changes over one that was lost in silence."""

RECONNECT_SECONDS = 1.0
NOBODY: Profile = (None, None)
OVERHEAD_BYTES = 400
"""What a remembered profile takes beside its text."""


async def profiles_of(connection: Connection, tenant_id: UUID, external_ids: Sequence[str]) -> dict[str, Profile]:
    """(display name, avatar) of those users that exist, by external id."""
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(
            "SELECT external_id, display_name, avatar_url FROM app_user WHERE tenant_id = %s AND external_id = ANY(%s)",
            (tenant_id, list(external_ids)),
        )
        return {row[0]: (row[1], row[2]) for row in await cursor.fetchall()}


class Profiles:
    """The profiles that this process has shown lately. Call `close` at the end: the first use opens a connection that listens."""

    def __init__(self, pool: Pool, database_url: str) -> None:
        self._pool, self._database_url = pool, database_url
        self._known: dict[Key, KnownProfile] = {}
        self._bytes, self._swept_at = 0, 0.0
        self._listening = False
        self._changes = 0
        self._task: asyncio.Task[None] | None = None

    async def of(self, tenant_id: UUID, external_ids: Sequence[str]) -> dict[str, Profile]:
        """(display name, avatar) of each of these users."""
        return {external_id: known.profile for external_id, known in (await self.known(tenant_id, external_ids)).items()}

    async def known(self, tenant_id: UUID, external_ids: Sequence[str]) -> dict[str, KnownProfile]:
        """The profile of each of these users, with how long it may be believed."""
        if self._task is None:
            self._task = begin_for_all(self._listen(), "profiles")
        now = time.monotonic()
        found: dict[str, KnownProfile] = {}
        wanted = []
        tenant = tenant_id.bytes  # hashes in C, which a UUID does not: pages look up hundreds of these
        for external_id in external_ids:
            kept = self._known.get((tenant, external_id)) if self._listening else None
            if kept is None or kept.until < now:
                wanted.append(external_id)
            else:
                found[external_id] = kept
        if wanted:
            found |= await self._load(tenant_id, wanted)
        return found

    async def _load(self, tenant_id: UUID, external_ids: Sequence[str]) -> dict[str, KnownProfile]:
        changes = self._changes
        async with self._pool.connection() as connection:
            rows = await profiles_of(connection, tenant_id, external_ids)
        loaded = {external_id: KnownProfile(0.0, rows.get(external_id, NOBODY)) for external_id in external_ids}
        if self._listening and changes == self._changes:  # else a change may have come between the query and now
            self._make_room()
            until = time.monotonic() + TTL_SECONDS
            for external_id, known in loaded.items():
                known.until = until
                if (before := self._known.get((tenant_id.bytes, external_id))) is not None:
                    before.until = 0.0
                    self._bytes -= _size(external_id, before.profile)
                self._known[tenant_id.bytes, external_id] = known
                self._bytes += _size(external_id, known.profile)
        return loaded

    def _make_room(self) -> None:
        """Drop what is too old once in a while, and everything when that is not enough."""
        now = time.monotonic()
        if now - self._swept_at > TTL_SECONDS:
            self._swept_at = now
            for key in [key for key, known in self._known.items() if known.until < now]:
                self._bytes -= _size(key[1], self._known.pop(key).profile)
        if self._bytes > limits.PROFILE_BYTES.value:
            self._forget_all()

    async def close(self) -> None:
        """Stop to listen."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _listen(self) -> None:
        while True:
            try:
                async with await connect(self._database_url, "profiles") as connection:
                    await connection.execute(f"LISTEN {PROFILE_CHANNEL}")
                    self._forget_all()
                    self._listening = True
                    async for payload in notices(connection, PROBE_SECONDS):
                        self._forget(payload)
            except (psycopg.Error, OSError) as error:
                log.warning("the profile connection is lost: %s", error)
            finally:
                self._listening = False
                self._forget_all()
            await asyncio.sleep(RECONNECT_SECONDS)

    def _forget(self, payload: str) -> None:
        self._changes += 1
        tenant, _, external_id = payload.partition(":")
        with contextlib.suppress(ValueError):
            if (known := self._known.pop((UUID(tenant).bytes, external_id), None)) is not None:
                known.until = 0.0
                self._bytes -= _size(external_id, known.profile)

    def _forget_all(self) -> None:
        for known in self._known.values():
            known.until = 0.0
        self._known.clear()
        self._bytes = 0


def _size(external_id: str, profile: Profile) -> int:
    """About what it takes in memory, in bytes."""
    return OVERHEAD_BYTES + 2 * len(external_id) + sum(2 * len(text) for text in profile if text)
