"""What the erasure of a user does to the world. Every step looks for what is left, so it may run any number of times."""

from datetime import UTC, datetime, time, timedelta

from temporalio import activity

from activities.heartbeat import heartbeats
from domain.tenant.erasure import ErasureInput
from runtime.ids import utc_now
from runtime.postgres import Pool, transaction
from storage.leaderboard.erasure import leave_boards
from storage.leaderboard.rankings import Rankings
from storage.redemption.erasure import cancel_redemption, open_redemptions_of
from storage.tenant import erasure as storage
from storage.tenant.erasure import Erasure


class ErasureActivities:
    """Activities of many short transactions."""

    def __init__(self, pool: Pool, rankings: Rankings, partitions: int) -> None:
        self._pool, self._rankings, self._partitions = pool, rankings, partitions

    @activity.defn(name="settle_erased")
    async def settle(self, given: ErasureInput) -> None:
        """Cancel the user's open redemptions: points and stock go back, partners are told."""
        async with heartbeats():
            if (of := await self._open(given)) is not None:
                await self._settle(of)

    @activity.defn(name="scrub_erased_events")
    async def scrub_events(self, given: ErasureInput) -> None:
        """Scrub the user's events, day by day from its first."""
        async with heartbeats():
            if (of := await self._open(given)) is not None:
                await self._scrub_events(of)

    @activity.defn(name="leave_boards")
    async def leave_boards(self, given: ErasureInput) -> None:
        """Take the user off the boards that are not frozen, in Postgres and in Redis."""
        async with heartbeats():
            if (of := await self._open(given)) is not None:
                await self._leave_boards(of)

    @activity.defn(name="scrub_erased_documents")
    async def scrub_documents(self, given: ErasureInput) -> None:
        """Put the erased id in the place of the external id, and take the person out of documents."""
        async with heartbeats():
            if (of := await self._open(given)) is not None:
                await self._scrub_documents(of)

    @activity.defn(name="complete_erasure")
    async def complete(self, given: ErasureInput) -> None:
        """Do every step once more, for what was under way meanwhile; then forget the external id itself."""
        async with heartbeats():
            if (of := await self._open(given)) is None:
                return
            await self._leave_boards(of)
            await self._settle(of)
            await self._scrub_events(of)
            await self._scrub_documents(of)
            async with transaction(self._pool) as connection:
                await storage.complete(connection, of, utc_now())

    async def _open(self, given: ErasureInput) -> Erasure | None:
        async with transaction(self._pool) as connection:
            await storage.forget_known_users(connection)  # whoever answered the request may have died before it did
        async with transaction(self._pool) as connection:
            return await storage.open_erasure(connection, given)

    async def _settle(self, of: Erasure) -> None:
        async with transaction(self._pool) as connection:
            open_ones = await open_redemptions_of(connection, of)
        for redemption_id in open_ones:
            async with transaction(self._pool) as connection:
                await cancel_redemption(connection, of, redemption_id, utc_now())

    async def _scrub_events(self, of: Erasure) -> None:
        day = datetime.combine(of.created_at.astimezone(UTC).date(), time(), UTC) - timedelta(days=1)
        while day <= utc_now():
            async with transaction(self._pool) as connection:
                await storage.scrub_events(connection, of, day, self._partitions)
            day += timedelta(days=1)

    async def _leave_boards(self, of: Erasure) -> None:
        async with transaction(self._pool) as connection:
            boards = await leave_boards(connection, of)
        for board in boards:
            await self._rankings.forget(board)

    async def _scrub_documents(self, of: Erasure) -> None:
        async with transaction(self._pool) as connection:
            await storage.rename(connection, of)
        async with transaction(self._pool) as connection:
            await storage.scrub_documents(connection, of)
