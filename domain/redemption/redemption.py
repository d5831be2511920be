"""The life of a redemption (contract 4): its states, the only moves between them, and what each move does to the points.

pending_claim ──▶ pending_approval | pending | cancelled | expired
pending_approval ──▶ pending | cancelled | expired
pending ──▶ processing | fulfilled | failed | cancelled | expired
processing ──▶ fulfilled | failed | cancelled | expired
fulfilled ──▶ reversed
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Literal, Self
from uuid import UUID

import msgspec
from msgspec import Meta

from domain.canonical_json import canonical_json
from domain.errors import InvalidState, RedemptionAlreadyFinal, ValidationError
from domain.misfit import choice_problem, near_miss
from domain.wire import FreeForm, GivenInstant, decimal_number


class RedemptionState(StrEnum):
    """Where a redemption stands; each member says what that means."""

    sentence: str

    PENDING_CLAIM = "pending_claim", "The user has to claim it and to fill in what is asked for."
    PENDING_APPROVAL = "pending_approval", "A person has to approve it."
    PENDING = "pending", "The points are held; nobody has taken on the fulfilment yet."
    PROCESSING = "processing", "The partner, or a person, has taken on the fulfilment."
    FULFILLED = "fulfilled", "The user has the reward; the points are spent."
    FAILED = "failed", "It could not be fulfilled; the points are back."
    CANCELLED = "cancelled", "It was called off; the points are back."
    EXPIRED = "expired", "Nobody fulfilled it before its deadline; the points are back."
    REVERSED = "reversed", "It was fulfilled and then undone; the points were refunded."

    def __new__(cls, value: str, sentence: str = "") -> Self:
        """A member is its wire name and carries its sentence."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.sentence = sentence
        return member


class SourceType(StrEnum):
    """What a redemption or a grant comes from."""

    PURCHASE = "purchase"
    LEADERBOARD = "leaderboard"
    SCHEDULE = "schedule"
    MANUAL = "manual"
    TIER = "tier"


TRANSITIONS: Mapping[RedemptionState, frozenset[RedemptionState]] = {
    RedemptionState.PENDING_CLAIM: frozenset(
        {RedemptionState.PENDING_APPROVAL, RedemptionState.PENDING, RedemptionState.CANCELLED, RedemptionState.EXPIRED}
    ),
    RedemptionState.PENDING_APPROVAL: frozenset({RedemptionState.PENDING, RedemptionState.CANCELLED, RedemptionState.EXPIRED}),
    RedemptionState.PENDING: frozenset(
        {RedemptionState.PROCESSING, RedemptionState.FULFILLED, RedemptionState.FAILED, RedemptionState.CANCELLED, RedemptionState.EXPIRED}
    ),
    RedemptionState.PROCESSING: frozenset(
        {RedemptionState.FULFILLED, RedemptionState.FAILED, RedemptionState.CANCELLED, RedemptionState.EXPIRED}
    ),
    RedemptionState.FULFILLED: frozenset({RedemptionState.REVERSED}),
    RedemptionState.FAILED: frozenset(),
    RedemptionState.CANCELLED: frozenset(),
    RedemptionState.EXPIRED: frozenset(),
    RedemptionState.REVERSED: frozenset(),
}

FINAL = frozenset(
    {RedemptionState.FULFILLED, RedemptionState.FAILED, RedemptionState.CANCELLED, RedemptionState.EXPIRED, RedemptionState.REVERSED}
)
"""States that end the workflow; only `fulfilled` has a move left, by an admin."""

WAITING = frozenset({RedemptionState.PENDING_CLAIM, RedemptionState.PENDING_APPROVAL})
"""States before the fulfilment, with a deadline of their own; the user may still call it off."""

WAITING_SECONDS = 7 * 86_400
"""How long the user has to claim, and then staff to approve."""

RETURNED = frozenset({RedemptionState.FAILED, RedemptionState.CANCELLED, RedemptionState.EXPIRED, RedemptionState.REVERSED})
"""States that do not count towards a user's limit."""

CALLBACK_STATES = frozenset({RedemptionState.PROCESSING, RedemptionState.FULFILLED, RedemptionState.FAILED})
"""What a partner may report."""
CALLBACK_MEMBERS = ("status", "fulfilled_at", "fulfillment_data")
CALLBACK_LIKENESS = 0.9
"""How like one of them another member is refused: `fulfillmentData`, `fulfilled-at`; `fulfilled_by` is the partner's own."""


MAXIMUM_DATA_BYTES = 32 * 1024
"""What a partner may leave with a callback, and what a user may fill in."""
OF_CALLBACK = "At most 32 KB, for the user: a code, a link, a tracking number; `reason` says why it failed"


class Effect(StrEnum):
    """What a move does to the points."""

    CAPTURE = "capture"
    RELEASE = "release"
    REFUND = "refund"
    NONE = "none"


EFFECTS: Mapping[RedemptionState, Effect] = {
    RedemptionState.FULFILLED: Effect.CAPTURE,
    RedemptionState.FAILED: Effect.RELEASE,
    RedemptionState.CANCELLED: Effect.RELEASE,
    RedemptionState.EXPIRED: Effect.RELEASE,
    RedemptionState.REVERSED: Effect.REFUND,
}


class RedemptionFlag(StrEnum):
    """What a person should look at; a flag never moves a redemption. `flags_after` says which state ends it."""

    DELIVERY_EXHAUSTED = "delivery_exhausted"
    """No attempt is left. It ends when a webhook is accepted."""
    NO_ENDPOINT = "no_endpoint"
    """Nobody takes `reward_redeemed`. It ends when somebody does."""


def flags_after(flags: Iterable[str], new: RedemptionState) -> list[str]:
    """What is left of the flags in a new state: whoever fulfils, fails or cancels a redemption has looked at it. What expires keeps them,
    for they say why nobody fulfilled it."""
    return [] if new in FINAL and new is not RedemptionState.EXPIRED else list(flags)


class Decision(StrEnum):
    """What a callback does: it moves the redemption, repeats what is known, or comes too late."""

    MOVE = "move"
    UNCHANGED = "unchanged"
    REFUSED = "refused"


def workflow_id(tenant_id: UUID, redemption_id: UUID) -> str:
    """The id of the workflow that owns this redemption (contract 4)."""
    return f"redemption:{tenant_id}:{redemption_id}"


def reversal_workflow_id(tenant_id: UUID, redemption_id: UUID) -> str:
    """The id of the workflow that shows the reversal of this redemption."""
    return f"redemption-reversal:{tenant_id}:{redemption_id}"


def effect_of(new: RedemptionState) -> Effect:
    """What entering this state does to the points: capture the hold, release it, refund, or nothing."""
    return EFFECTS.get(new, Effect.NONE)


def advance(current: RedemptionState, new: RedemptionState) -> RedemptionState:
    """The new state; raises InvalidState (`present`) when the table has no such move."""
    if new not in TRANSITIONS[current]:
        raise InvalidState(f"A redemption that is {current} cannot become {new}", present=current.value)
    return new


def deadline_for(entered: RedemptionState, fulfilment: Mapping[str, Any], now: datetime) -> datetime | None:
    """The deadline that entering a state sets: 7 days to claim or approve, the reward's own for `pending`; None keeps the present one."""
    if entered in WAITING:
        return now + timedelta(seconds=WAITING_SECONDS)
    return now + timedelta(seconds=fulfilment["deadline_seconds"]) if entered is RedemptionState.PENDING else None


def decide_callback(current: RedemptionState, wanted: RedemptionState) -> Decision:
    """What a partner's callback does now (contract 4); raises InvalidState before `pending`.

    A repeat of the present state changes nothing; after any final state another answer is refused.
    """
    if current == wanted:
        return Decision.UNCHANGED
    if current in FINAL:
        return Decision.REFUSED
    advance(current, wanted)
    return Decision.MOVE


def already_final(present: RedemptionState) -> RedemptionAlreadyFinal:
    """The refusal of a callback that contradicts a final state; `present` names that state."""
    return RedemptionAlreadyFinal(f"The redemption is already {present}", present=present.value)


class NewRedemption(msgspec.Struct, frozen=True, kw_only=True):
    """What the redeem transaction writes. `points_spent` in the currency's smallest unit; `deadline_at` counts from entering `pending`.

    `fulfilment` is the reward's, copied: {"type", "endpoint_id", "deadline_seconds", "answer_is_callback"}; `wallet` adds
    {"credit": {"currency", "amount"}}, a reward that has to be claimed {"claim_fields", "requires_approval"}.
    `reward` is {"id", "slug", "name", "type", "value"} as it was when the user redeemed.
    """

    redemption_id: UUID
    user_id: UUID
    external_user_id: str
    reward_id: UUID
    reward: dict[str, Any]
    points_spent: int
    by: str
    fulfilment: dict[str, Any]
    currency: str | None = None
    decimal_places: int = 0
    variant_id: str | None = None
    source_type: str = "purchase"
    source_id: str | None = None
    status: RedemptionState = RedemptionState.PENDING
    takes_stock: bool = False
    stock_variant_id: str | None = None
    fields: dict[str, Any] = {}
    deadline_at: datetime | None = None
    note: str | None = None


HISTORY_NOTE_CHARACTERS = 200
PERSONS = ("console:", "gamer:", "jwt:")


def told_by(by: str) -> str:
    """Who acted, as a history of Temporal may say it: a person's name or address stays in the timeline and the audit log."""
    kind = next((each for each in PERSONS if by.startswith(each)), None)
    return by if kind is None else kind.rstrip(":")


def told_why(move: "Move") -> str | None:
    """The reason that staff gave. What a user or a partner wrote stays out of histories."""
    if move.note is None or move.is_callback or move.by.startswith("gamer:"):
        return None
    return move.note[:HISTORY_NOTE_CHARACTERS]


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """A wish to move a redemption. `is_callback` asks for the rules of the partner's callback instead of the bare table."""

    to: RedemptionState
    by: str
    note: str | None = None
    is_callback: bool = False
    fulfilled_at: datetime | None = None
    fulfillment_data: dict[str, Any] | None = None
    failure_reason: str | None = None
    from_workflow: bool = False
    only_from: frozenset[RedemptionState] = frozenset()
    """Narrows the table of moves: empty for every state that the table allows."""
    fields: dict[str, Any] | None = None
    """What the user filled in when claiming; replaces what was given before."""


class RedemptionCallbackBody(msgspec.Struct, frozen=True, kw_only=True):
    """What a partner reports of a redemption. Members of other names are kept beside `fulfillment_data`."""

    status: Annotated[Literal["fulfilled", "failed", "processing"], Meta(examples=["fulfilled"])]
    fulfilled_at: GivenInstant | None = None
    fulfillment_data: Annotated[FreeForm | None, Meta(description=OF_CALLBACK, examples=[{"code": "AB12-CD34"}])] = None


def read_callback(body: dict[str, Any], by: str) -> Move:
    """The partner's callback as a move (contract 4); fields that we do not know are kept beside `fulfillment_data`.

    Raises ValidationError for a member whose name is nearly one of ours (`fulfillmentData`), another status than `processing`,
    `fulfilled`, `failed`, a malformed instant, or more than 32 KB.
    """
    wanted = body.get("status")
    if not isinstance(wanted, str) or wanted not in CALLBACK_STATES:
        choices = ("fulfilled", "failed", "processing")
        problem = choice_problem(wanted, choices) if "status" in body else f"is required: one of {', '.join(choices)}"
        raise ValidationError.of("status", problem)
    given = body.get("fulfillment_data")
    if given is not None and not isinstance(given, dict):
        raise ValidationError.of("fulfillment_data", "must be an object")
    others = {name: value for name, value in body.items() if name not in CALLBACK_MEMBERS}
    for name in others:
        meant = near_miss(name, CALLBACK_MEMBERS, CALLBACK_LIKENESS)
        if meant is not None:  # kept as one more member, the data would never come to its place: the right one after it changes nothing
            raise ValidationError.of(name, f"is not a member of the callback; did you mean {meant}?")
    data = {**others, **(given or {})}
    if len(canonical_json(data)) > MAXIMUM_DATA_BYTES:
        raise ValidationError.of("fulfillment_data", f"must be at most {MAXIMUM_DATA_BYTES} bytes")
    reason = data.get("reason")
    return Move(
        to=RedemptionState(wanted),
        by=by,
        is_callback=True,
        fulfilled_at=_instant(body.get("fulfilled_at")),
        fulfillment_data=data or None,
        failure_reason=reason if wanted == RedemptionState.FAILED and isinstance(reason, str) else None,
    )


def _instant(value: Any) -> datetime | None:
    if value is None:
        return None
    try:
        instant: datetime = msgspec.convert(value, Annotated[datetime, msgspec.Meta(tz=True)])
    except msgspec.ValidationError:
        raise ValidationError.of("fulfilled_at", "must be an RFC 3339 instant with an offset") from None
    return instant


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it: the decision, and the state in which the redemption is now."""

    decision: Decision
    status: RedemptionState
    number: int | None = None
    workflow_id: str


class Redemption(msgspec.Struct, frozen=True, kw_only=True):
    """A redemption as it is kept."""

    tenant_id: UUID
    redemption_id: UUID
    user_id: UUID
    external_user_id: str
    reward_id: UUID
    reward: dict[str, Any]
    variant_id: str | None
    source_type: str
    source_id: str | None
    status: RedemptionState
    flags: list[str]
    points_spent: int
    currency: str | None
    decimal_places: int
    takes_stock: bool
    stock_variant_id: str | None
    fields: dict[str, Any]
    fulfillment_data: dict[str, Any]
    failure_reason: str | None
    fulfilment: dict[str, Any]
    created_at: datetime
    updated_at: datetime
    fulfilled_at: datetime | None
    deadline_at: datetime | None


class TimelineRow(msgspec.Struct, frozen=True, kw_only=True):
    """One move, or a refused callback or a resend (`from_status` and `to_status` are the same then)."""

    at: datetime
    from_status: str | None
    to_status: str
    by: str
    note: str | None


class DeliveryLine(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery as its redemption shows it."""

    delivery_id: UUID
    state: str
    attempts: int
    last_status: int | None
    next_attempt_at: datetime | None


def is_order(redemption: Redemption, delivery_id: UUID) -> bool:
    """Whether this delivery of `reward_redeemed` is the one that asks for the fulfilment; those to other endpoints are copies of it."""
    return bool(redemption.fulfilment.get("delivery_id") == str(delivery_id))


def is_too_late(redemption: Redemption, delivery_id: UUID, *, by_hand: bool) -> bool:
    """Whether this delivery of `reward_redeemed` must not be sent any more (contract 5): what was refunded or done must not be fulfilled.

    A copy is sent when its time comes, for it is followed by what became of the redemption; but nobody sends one again by hand that
    could be taken for an order of what was refunded.
    """
    if redemption.status not in FINAL:
        return False
    return is_order(redemption, delivery_id) or (by_hand and redemption.status is not RedemptionState.FULFILLED)


def points_number(redemption: Redemption) -> int | float:
    """The points spent as the JSON number of contracts 4 and 5."""
    return decimal_number(redemption.points_spent, 10**redemption.decimal_places)
