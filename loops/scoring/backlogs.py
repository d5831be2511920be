"""The tenants that are behind in one partition, as its owner knows them."""

from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

from runtime.postgres import Connection
from storage.scoring.backlog import Backlog, advance_backlog, backlogs_of, end_backlog, put_behind
from storage.scoring.pump import Cursor


class Backlogs:
    """Read once by an owner, for only an owner changes them. Whoever saw a transaction fail must `forget` what it wrote."""

    def __init__(self, partition: int) -> None:
        self._partition = partition
        self._known: dict[UUID, Backlog] | None = None
        self._anywhere: set[UUID] = set()

    @property
    def any(self) -> bool:
        """Whether somebody is behind, as far as is known."""
        return self.any_but(())

    def any_but(self, tenants: Collection[UUID]) -> bool:
        """Whether somebody else than these is behind, as far as is known."""
        return self._known is None or any(tenant_id not in tenants for tenant_id in self._known)

    @property
    def tenants(self) -> list[UUID]:
        """Who is."""
        return list(self._known or ())

    def forget(self) -> None:
        """Read them anew before they are used again."""
        self._known = None

    async def learn(self, connection: Connection) -> None:
        """Read them, if they are not known. The transaction holds the partition's cursor."""
        if self._known is None:
            self._known = {each.tenant_id: each for each in await backlogs_of(connection, self._partition)}
            self.doubt()

    def doubt(self) -> None:
        """The events of those who are behind now may lie anywhere in the log: they are another owner's, or a clock has stepped."""
        self._anywhere = set(self._known or ())

    def anywhere(self, backlog: Backlog) -> bool:
        """Whether this one's may."""
        return backlog.tenant_id in self._anywhere

    async def add(self, connection: Connection, tenants: Sequence[UUID], cursor: Cursor) -> None:
        """Put tenants behind: nothing of theirs after this position is scored with the others'."""
        await put_behind(connection, self._partition, tenants, cursor)
        for tenant_id in tenants:
            self._all()[tenant_id] = Backlog(tenant_id, cursor)

    def next(self, but: Collection[UUID] = ()) -> Backlog | None:
        """Whose turn it is, but for these; all others come before it has the next one."""
        tenant_id = next((each for each in self._all() if each not in but), None)
        if tenant_id is None:
            return None
        self._all()[tenant_id] = self._all().pop(tenant_id)
        return self._all()[tenant_id]

    async def advance(self, connection: Connection, tenant_id: UUID, *, position: int, accepted_at: datetime | None, end: int) -> None:
        """Note how far a tenant has come; at the `end`, where the partition's cursor is, it is behind no more."""
        if position >= end:
            await end_backlog(connection, self._partition, tenant_id)
            del self._all()[tenant_id]
            self._anywhere.discard(tenant_id)
        else:
            await advance_backlog(connection, self._partition, tenant_id, position=position, accepted_at=accepted_at)
            self._all()[tenant_id] = Backlog(tenant_id, Cursor(position, accepted_at))

    def _all(self) -> dict[UUID, Backlog]:
        assert self._known is not None
        return self._known
