"""What the redemption's workflow and its activities say to each other. All of it is kept in Temporal: ids and policy numbers only."""

from datetime import datetime
from uuid import UUID

import msgspec

from domain.redemption.redemption import RedemptionState
from domain.webhook.webhook import DEFAULT_RETRY_DELAYS

ROUNDS_IN_A_RUN = 200
"""How often a redemption's workflow is held, resumed or told to wait for its turn before it goes on in a new run."""


class RedemptionInput(msgspec.Struct, frozen=True, kw_only=True):
    """Which redemption the workflow is about."""

    tenant_id: UUID
    redemption_id: UUID


class RedemptionUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """A move that was made outside the workflow. `number` is its row in the timeline; a lower one is old news.

    `by` is who made it, as far as a history may say (`told_by`), `note` why, where staff gave a reason. `flags` None: not
    told.
    """

    status: RedemptionState
    number: int
    by: str | None = None
    note: str | None = None
    flags: list[str] | None = None


class BeginResult(msgspec.Struct, frozen=True, kw_only=True):
    """The redemption as its workflow found it. Without `delivery_id` nothing is sent.

    That is manual work, no endpoint, what waits for a claim or an approval, or what is over already. `news` are moves that the workflow
    has not been told of yet: it may be over before it is.
    """

    status: RedemptionState
    number: int
    deadline_at: datetime | None
    delivery_id: UUID | None = None
    retry_delays_seconds: tuple[float, ...] = DEFAULT_RETRY_DELAYS
    has_endpoint: bool = True
    flags: list[str] | None = None
    news: list[RedemptionUpdate] = []


class SendInput(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt of the ladder. `jitter` (-1..1) comes from the workflow, so that a replay waits as long as the run did.

    `turn_reserved`: the workflow has waited for the turn that it was told.
    """

    tenant_id: UUID
    redemption_id: UUID
    delivery_id: UUID
    attempt: int
    jitter: float
    retry_delays_seconds: tuple[float, ...]
    deadline_at: datetime | None
    turn_reserved: bool = False


class SendResult(msgspec.Struct, frozen=True, kw_only=True):
    """What an attempt gave, and where the redemption stands after it. Without `wait_seconds` the ladder has ended.

    `answer` is `http_<n>` or the error class. `held`: the endpoint is disabled, nothing was sent, no attempt was used.
    `deferred`: the endpoint is at its rate or concurrency, the send's turn is in `wait_seconds`, no attempt was used.
    `gone`: the endpoint is archived; another one may take the redemption.
    """

    status: RedemptionState
    number: int
    answer: str
    wait_seconds: float | None = None
    held: bool = False
    deferred: bool = False
    gone: bool = False
    flags: list[str] | None = None
    news: list[RedemptionUpdate] = []


class SettleInput(msgspec.Struct, frozen=True, kw_only=True):
    """End a redemption that nobody fulfilled: `to` is `expired`, or `cancelled` when staff stopped the workflow.

    `only_from`: the state whose deadline passed; a redemption that has moved on since is left alone.
    """

    tenant_id: UUID
    redemption_id: UUID
    to: RedemptionState
    note: str
    only_from: RedemptionState | None = None


class SettleResult(msgspec.Struct, frozen=True, kw_only=True):
    """Where the redemption stands: as wanted, or as whoever was faster left it."""

    status: RedemptionState
    number: int
    flags: list[str] | None = None
    news: list[RedemptionUpdate] = []


class Attempted(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt that was made by hand, outside the ladder, and what it gave."""

    attempt: int
    answer: str


class ReversalInput(msgspec.Struct, frozen=True, kw_only=True):
    """A fulfilled redemption that was reversed: points were returned. `number` is the row of its timeline."""

    tenant_id: UUID
    redemption_id: UUID
    number: int
    by: str | None = None
    note: str | None = None


class RedemptionOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """How it ended."""

    status: RedemptionState
