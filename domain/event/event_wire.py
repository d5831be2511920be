"""Events as they are sent, and what is answered of them (contract 2).

Events are read off their bytes (`domain/event/event.py`), so these Structs only say what an event looks like; a test holds them to it.
"""

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from domain.wire import ExternalId, FreeForm, GivenInstant, Id, Instant, NextCursor, Number

EventId = Annotated[
    str, Meta(min_length=1, max_length=255, description="The sender's own; it makes repetitions harmless", examples=["match-8123"])
]
EventTypeName = Annotated[str, Meta(pattern="^[A-Za-z0-9_.:-]{1,100}$", examples=["match.completed"])]


class EventActor(msgspec.Struct, frozen=True, kw_only=True):
    """Who did it."""

    user_id: Annotated[str, Meta(min_length=1, max_length=255, description="The tenant's own id of the user", examples=["player-42"])]
    metadata: FreeForm | None = None


class EventSubject(msgspec.Struct, frozen=True, kw_only=True):
    """What it was done to."""

    type: str | None = None
    id: str | None = None


class IngestionEventV1(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened."""

    event_id: EventId
    type: EventTypeName
    actor: EventActor
    occurred_at: Annotated[GivenInstant, Meta(description="At most an hour ahead of the server's clock")]
    subject: EventSubject | None = None
    attrs: Annotated[FreeForm, Meta(description="The event's own facts, nested up to 8 levels")] = {}
    tenant_id: Annotated[str | None, Meta(description="Overwritten with the credential's tenant")] = None


class EventBatch(msgspec.Struct, frozen=True, kw_only=True):
    """Up to a hundred events; each is handled on its own."""

    events: Annotated[list[IngestionEventV1], Meta(min_length=1, max_length=100)]


class EventStatus(StrEnum):
    """Whether an event was accepted."""

    ACCEPTED = "accepted"
    FAILED = "failed"


class BatchStatus(StrEnum):
    """Whether the events of a call were accepted: all, some, or none."""

    ACCEPTED = "accepted"
    PARTIAL = "partial"
    FAILED = "failed"


class AcceptedEventAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The event is on disk. `duplicate` is there when it had been accepted before."""

    event_id: str
    status: EventStatus
    duplicate: bool | UnsetType = UNSET


class EventResult(msgspec.Struct, kw_only=True):
    """What became of one event of a batch. `event_id` is null where none can be read."""

    event_id: str | None
    status: EventStatus
    error: Annotated[str, Meta(description="Why it was refused")] | UnsetType = UNSET
    duplicate: Annotated[bool, Meta(description="It had been accepted before")] | UnsetType = UNSET


class EventBatchResults(msgspec.Struct, kw_only=True):
    """What became of a batch, in the order of the request."""

    status: BatchStatus
    total: int
    accepted: int
    failed: int
    results: list[EventResult]


class EventState(StrEnum):
    """Whether an event was scored. A dead letter broke scoring and was set aside."""

    PENDING = "pending"
    SCORED = "scored"
    DEAD_LETTER = "dead_letter"


class EventSender(StrEnum):
    """With which kind of credential an event came."""

    SERVER = "server"
    GAMER = "gamer"


class EventSummary(msgspec.Struct, frozen=True, kw_only=True):
    """An accepted event as lists show it."""

    event_id: str
    type: Annotated[str, Meta(examples=["match.completed"])]
    user_id: ExternalId
    sender: EventSender
    occurred_at: Instant
    accepted_at: Instant
    position: Annotated[int, Meta(description="Its place in the log", examples=[8123])]


class EventListAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Accepted events, newest first."""

    events: list[EventSummary]
    next_cursor: NextCursor


class DeadLetterAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An event that broke scoring."""

    position: Annotated[int, Meta(description="Its place in the log", examples=[8123])]
    event_id: str
    reason: str
    accepted_at: Instant
    created_at: Instant
    replayed_at: Annotated[Instant | None, Meta(description="When it was scored again")]


class DeadLetterListAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Events that broke scoring, newest first."""

    dead_letters: list[DeadLetterAnswer]
    next_cursor: NextCursor


class ReplayedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter that is scored again."""

    event_id: str
    position: Annotated[int, Meta(description="Its new place in the log", examples=[9001])]
    status: EventStatus = EventStatus.ACCEPTED


class EventEarning(msgspec.Struct, frozen=True, kw_only=True):
    """Points that an event earned."""

    transaction_id: Id
    rule_id: str | None
    currency_id: str
    amount: Number


class EventTypeAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A declared event type."""

    name: EventTypeName
    description: str | None
    schema: Annotated[FreeForm | None, Meta(description="A JSON Schema (2020-12) for attrs")]
    server_only: Annotated[bool, Meta(description="Whether players' tokens may not send it")]
    is_system: bool
    created_at: Instant
    updated_at: Instant


class EventTypeListAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Declared event types by name."""

    event_types: list[EventTypeAnswer]
    next_cursor: NextCursor
