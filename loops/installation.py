"""Makes sure that a process's database and its Temporal namespace belong to one installation."""

import asyncio
import logging
import time

from temporalio.client import Client
from temporalio.service import RPCError

from runtime.namespace import ForeignNamespaceError, claim_namespace
from runtime.postgres import DATABASE_ERRORS, Connection, Pool
from storage.platform.installation import find_installation

log = logging.getLogger(__name__)

AWAY = (RPCError, RuntimeError, OSError, TimeoutError, *DATABASE_ERRORS)
CLAIM_SECONDS = 60.0
"""So long what was found stands: a Temporal that lost its database may by then be another installation's."""
LOOK_AGAIN_SECONDS = 1.0
LOOK_SECONDS = 2.0


class NotSetUpError(Exception):
    """The database has no installation yet: `laurel migrate` was not run."""


async def claim_for(connection: Connection, client: Client) -> None:
    """Make the namespace the installation's whose database this is; raises `NotSetUpError` and what `claim_namespace` raises."""
    installation = await find_installation(connection)
    if installation is None:
        raise NotSetUpError("the database is not set up: run `laurel migrate`")
    await claim_namespace(client, installation)


class NamespaceClaim:
    """What a process that starts before Temporal knows of its namespace. One look at a time, each two seconds at most."""

    def __init__(self, pool: Pool, client: Client) -> None:
        self._pool, self._client = pool, client
        self._looking = asyncio.Lock()
        self._until = float("-inf")
        self._is_ours = self._is_foreign = False

    async def is_ours(self) -> bool:
        """Whether the namespace is known to be this installation's."""
        await self._look()
        return self._is_ours

    async def is_foreign(self) -> bool:
        """Whether the namespace is known to be another installation's; False also while Temporal or the database is away."""
        await self._look()
        return self._is_foreign

    async def _look(self) -> None:
        async with self._looking:
            if time.monotonic() < self._until:
                return
            try:
                async with asyncio.timeout(LOOK_SECONDS), self._pool.connection(timeout=LOOK_SECONDS) as connection:
                    await claim_for(connection, self._client)
                self._is_ours, self._is_foreign = True, False
            except ForeignNamespaceError as error:
                if not self._is_foreign:
                    log.error("nothing is started in Temporal: %s", error)  # noqa: TRY400 - the message says it all
                self._is_ours, self._is_foreign = False, True
            except (NotSetUpError, *AWAY) as error:  # what was known stands until something else is
                log.debug("whose the namespace is cannot be seen: %s", error)
                self._until = time.monotonic() + LOOK_AGAIN_SECONDS
                return
            self._until = time.monotonic() + (CLAIM_SECONDS if self._is_ours else LOOK_AGAIN_SECONDS)
