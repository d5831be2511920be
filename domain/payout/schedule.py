"""Payout schedules: who is paid what, when, and which instants are owed when something went wrong (contract 4, Payout schedules)."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from domain.errors import ValidationError
from domain.payout.recurrence import WhenVersion, instants_between, parse_when, when_wire
from domain.rule.segment import parse_segment
from domain.wire import convert_value, number_problem, parse_client_id, parse_external_id

DEFAULT_CATCHUP_SECONDS = 86_400
MAX_LISTED_USERS = 10_000
MAX_TOP = 1_000_000


class Overlap(StrEnum):
    """What becomes of an instant that comes while the run of an earlier one is under way."""

    SKIP = "skip"
    BUFFER_ONE = "buffer_one"


class _Audience(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type"):
    """Whom a run pays."""


class LeaderboardTop(_Audience, frozen=True, kw_only=True, tag="leaderboard_top"):
    """The first `n` of a board: final in the latest window that ended by the instant, or as they stand in the present one."""

    leaderboard_id: Annotated[str, Meta(examples=["weekly-wins"])]
    n: Annotated[int, Meta(ge=1, le=MAX_TOP, examples=[10])]
    window: Literal["latest_closed", "current"] = "latest_closed"


class TierMembers(_Audience, frozen=True, kw_only=True, tag="tier"):
    """Everyone who has one of these tiers."""

    names: Annotated[list[Annotated[str, Meta(min_length=1, max_length=255)]], Meta(min_length=1, max_length=100)]


class AllUsers(_Audience, frozen=True, kw_only=True, tag="all_users"):
    """Every user, or those of a segment."""

    filter: dict[str, Any] | None = None


class ListedUsers(_Audience, frozen=True, kw_only=True, tag="users"):
    """These users; their place in the list is their rank."""

    external_ids: Annotated[list[str], Meta(min_length=1, max_length=MAX_LISTED_USERS)]


Audience = LeaderboardTop | TierMembers | AllUsers | ListedUsers

Name = Annotated[str, Meta(min_length=1, max_length=255, examples=["Every Monday morning"])]
Note = Annotated[str, Meta(max_length=1000, description="For staff", examples=["Agreed with marketing"])]


WhenForm = Annotated[
    dict[str, Any],
    Meta(
        description="`cron` with `timezone`, `calendar` or `every_seconds`; due where `starts_at` ≤ instant < `ends_at`",
        examples=[{"cron": "0 9 * * MON", "timezone": "Asia/Ho_Chi_Minh"}],
    ),
]


class ScheduleBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of POST, and what a PATCH makes of the present one. `budget` is in the units of the wire."""

    name: Name
    when: WhenForm
    audience: Audience
    reward_config_id: UUID | None = None
    item_ids: Annotated[
        Annotated[list[UUID], Meta(min_length=1, max_length=100)] | None,
        Meta(description="What each of the audience gets, instead of `reward_config_id`", examples=[None]),
    ] = None
    budget: Annotated[
        dict[str, int | float] | None,
        Meta(description="The most that a run gives: amounts by currency, counts by item id", examples=[{"points": 100_000}]),
    ] = None
    overlap: Overlap = Overlap.SKIP
    catchup_seconds: Annotated[int, Meta(ge=0, le=31_536_000)] = DEFAULT_CATCHUP_SECONDS
    paused: bool = False
    note: Note | None = None


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule as it is kept. `due` is its present `when`, `budget` is in smallest units; what is before `settled_until` is done with."""

    tenant_id: UUID
    schedule_id: UUID
    name: str
    due: dict[str, Any]
    audience: dict[str, Any]
    reward_config_id: UUID | None
    item_ids: list[UUID] | None
    budget: dict[str, int]
    overlap: Overlap
    catchup_seconds: int
    paused: bool
    note: str | None
    version: int
    settled_until: datetime
    created_at: datetime
    updated_at: datetime
    archived_at: datetime | None


class ScheduleInput(msgspec.Struct, frozen=True, kw_only=True):
    """Which schedule a workflow of Temporal's Schedule is about. All else stands in PostgreSQL."""

    tenant_id: UUID
    schedule_id: UUID


class InstantInput(msgspec.Struct, frozen=True, kw_only=True):
    """An instant that Temporal says has come."""

    tenant_id: UUID
    schedule_id: UUID
    instant: datetime


class InstantClaim(msgspec.Struct, frozen=True, kw_only=True):
    """The run of an instant; without one, why there is none. `leaderboard_id`: the board whose first ones it pays."""

    run_id: UUID | None = None
    reason: str | None = None
    leaderboard_id: str | None = None


class ScheduledRun(msgspec.Struct, frozen=True):
    """A run that its schedule started."""

    instant: datetime
    created_at: datetime
    finished_at: datetime | None

    def is_under_way(self, instant: datetime) -> bool:
        """Whether it was begun by then, and not over."""
        return self.instant != instant and self.created_at <= instant and (self.finished_at is None or self.finished_at > instant)


class InstantVerdict(StrEnum):
    """What becomes of an instant that has no run."""

    OWED = "owed"
    SKIPPED = "skipped"
    BUFFERED = "buffered"


def temporal_schedule_id(tenant_id: UUID, schedule_id: UUID) -> str:
    """The id of the Temporal Schedule (contract 4)."""
    return f"payout:{tenant_id}:{schedule_id}"


def parse_schedule(value: Any) -> ScheduleBody:
    """A decoded body as a checked schedule; ValidationError names the faulty field."""
    body = convert_value(value, ScheduleBody)
    parse_when(body.when)
    if (body.reward_config_id is None) == (body.item_ids is None):
        raise ValidationError.of("item_ids", "give either reward_config_id or item_ids")
    if body.item_ids is not None and len(set(body.item_ids)) < len(body.item_ids):
        raise ValidationError.of("item_ids", "contains an item twice")
    problem = number_problem(body.budget)
    if problem:
        raise ValidationError.of("budget", problem.message)
    _check_audience(body.audience)
    return body


def _check_audience(audience: Audience) -> None:
    if isinstance(audience, LeaderboardTop):
        parse_client_id(audience.leaderboard_id, "audience.leaderboard_id")
    elif isinstance(audience, AllUsers) and audience.filter is not None:
        parse_segment(audience.filter, "audience.filter")
    elif isinstance(audience, ListedUsers):
        for number, external_id in enumerate(audience.external_ids):
            parse_external_id(external_id, f"audience.external_ids[{number}]")
        if len(set(audience.external_ids)) < len(audience.external_ids):
            raise ValidationError.of("audience.external_ids", "contains a user twice")


def audience_wire(audience: Audience) -> dict[str, Any]:
    """The audience as JSON values, for the wire, the row and the run."""
    wire: dict[str, Any] = msgspec.to_builtins(audience)
    return wire


def due_wire(body: ScheduleBody) -> dict[str, Any]:
    """The `when` of a checked body, with its defaults."""
    return when_wire(parse_when(body.when))


def overlap_verdict(overlap: Overlap, history: Sequence[WhenVersion], runs: Sequence[ScheduledRun], instant: datetime) -> InstantVerdict:
    """What becomes of an instant, by the runs that were under way when it came.

    `buffer_one` keeps the first instant that comes during a run until the run is over, and skips those behind it.
    """
    under_way = [run for run in runs if run.is_under_way(instant)]
    if not under_way:
        return InstantVerdict.OWED
    if overlap is Overlap.SKIP:
        return InstantVerdict.SKIPPED
    begun = min(run.created_at for run in under_way)
    earlier = next((each for each in instants_between(history, begun, instant) if all(each != run.instant for run in under_way)), None)
    if earlier is not None:
        return InstantVerdict.SKIPPED
    return InstantVerdict.BUFFERED if any(run.finished_at is None for run in under_way) else InstantVerdict.OWED
