"""What boards show of a user, remembered for moments: NOTIFY forgets what has changed, and nothing is believed while nobody listens."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from uuid import UUID

import psycopg
from psycopg.rows import tuple_row

from runtime.postgres import Connection, Pool, connect
from storage.user import PROFILE_CHANNEL

log = logging.getLogger(__name__)

Profile = tuple[str | None, str | None]
Key = tuple[bytes, str]

TTL_SECONDS = 5.0
CAPACITY = 50_000
RECONNECT_SECONDS = 1.0
NOBODY: Profile = (None, None)


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
        self._known: dict[Key, tuple[float, Profile]] = {}
        self._listening = False
        self._changes = 0
        self._task: asyncio.Task[None] | None = None

    async def of(self, tenant_id: UUID, external_ids: Sequence[str]) -> dict[str, Profile]:
        """(display name, avatar) of each of these users."""
        if self._task is None:
            self._task = asyncio.create_task(self._listen(), name="profiles")
        now = time.monotonic()
        found: dict[str, Profile] = {}
        wanted = []
        tenant = tenant_id.bytes  # hashes in C, which a UUID does not: pages look up hundreds of these
        for external_id in external_ids:
            kept = self._known.get((tenant, external_id)) if self._listening else None
            if kept is None or kept[0] < now:
                wanted.append(external_id)
            else:
                found[external_id] = kept[1]
        if wanted:
            found |= await self._load(tenant_id, wanted)
        return found

    async def _load(self, tenant_id: UUID, external_ids: Sequence[str]) -> dict[str, Profile]:
        changes = self._changes
        async with self._pool.connection() as connection:
            rows = await profiles_of(connection, tenant_id, external_ids)
        loaded = {external_id: rows.get(external_id, NOBODY) for external_id in external_ids}
        if self._listening and changes == self._changes:  # else a change may have come between the query and now
            if len(self._known) > CAPACITY:
                self._known.clear()
            until = time.monotonic() + TTL_SECONDS
            self._known.update({(tenant_id.bytes, external_id): (until, profile) for external_id, profile in loaded.items()})
        return loaded

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
                    self._known.clear()
                    self._listening = True
                    async for note in connection.notifies():
                        self._forget(note.payload)
            except (psycopg.Error, OSError) as fault:
                log.warning("the profile connection is lost: %s", fault)
            finally:
                self._listening = False
                self._known.clear()
            await asyncio.sleep(RECONNECT_SECONDS)

    def _forget(self, payload: str) -> None:
        self._changes += 1
        tenant, _, external_id = payload.partition(":")
        with contextlib.suppress(ValueError):
            self._known.pop((UUID(tenant).bytes, external_id), None)
