"""Who is asking, and what its requests are charged to (contract 1, credentials)."""

from collections.abc import Callable
from typing import Literal, TypeVar
from uuid import UUID

import msgspec

from api.rule import Role
from domain.errors import Forbidden
from domain.tenant.tenant import TenantAccess
from runtime.shares import Asker
from storage.platform.rate_limit import Meter

Answer = TypeVar("Answer")


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Who is asking. `member` is a plain token of a trusted issuer; `actor` is what `by` columns hold."""

    tenant_id: UUID
    kind: Literal["api_key", "jwt", "gamer", "console"]
    role: Role
    external_user_id: str | None = None
    actor: str

    @property
    def is_viewer(self) -> bool:
        """Whether it is a person of the console who may read everything and change nothing."""
        return self.kind == "console" and self.role == "read"

    def named(self, user_id: str) -> str:
        """The external id that a path names: `me` is a gamer's own, and anybody else's is as it stands."""
        return self.external_user_id if user_id == "me" and self.role == "gamer" and self.external_user_id is not None else user_id

    def shown(self, answer: Answer, for_player: Callable[[Answer], Answer]) -> Answer:
        """The answer as it may be shown to whoever asks: a gamer gets what `domain.player` leaves of it."""
        return for_player(answer) if self.role == "gamer" else answer

    def check_user(self, external_id: str) -> None:
        """Raise `Forbidden` when a gamer's token acts for another user."""
        if self.role == "gamer" and external_id != self.external_user_id:
            raise Forbidden("This token can only act for its own user")


class Admission(msgspec.Struct, frozen=True, kw_only=True):
    """A principal with the present state of its tenant, and what its requests are charged to."""

    principal: Principal
    tenant: TenantAccess
    meter: Meter
    asker: Asker
    """Under which it takes its turn where the process has few of something."""

    async def charge(self) -> None:
        """Count a request; raises `RateLimited`."""
        if not self.meter.take():
            await self.meter.take_slowly()
