"""The definition of a leaderboard: Structs of contract 3 with their defaults, and what makes a definition wrong."""

import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
from msgspec import UNSET, Meta, UnsetType

from domain.errors import ValidationError
from domain.rule.condition import parse_conditions
from domain.rule.expression import parse_expression
from domain.wire import EARLIEST, EVENT_TYPE, LATEST, GivenInstant, convert_value, number_problem, parse_client_id

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
MAX_RULES = 100
_OF_THE_MACHINE = ("localtime", "posixrules", "posix/", "right/")
"""What a system's folder of zones may hold beside IANA's names: its own zone, and zones that count leap seconds."""

_TIME_OF_DAY = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")


class TimeframeType(StrEnum):
    """How a board's time is cut into windows."""

    HOURLY = "hourly"
    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    CUSTOM = "custom"
    ALL_TIME = "all_time"


class Aggregation(StrEnum):
    """How a user's counted events make one score."""

    SUM = "sum"
    MAX = "max"
    MIN = "min"
    COUNT = "count"
    AVG = "avg"


class Method(StrEnum):
    """Which score comes first."""

    SCORE_DESC = "score_desc"
    SCORE_ASC = "score_asc"


class BoardStatus(StrEnum):
    """Whether a board counts events."""

    ACTIVE = "active"
    INACTIVE = "inactive"
    ARCHIVED = "archived"


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the config."""


class Scope(_Part, frozen=True):
    """Which events concern the board at all."""

    filters: Annotated[dict[str, dict[str, Any]], Meta(examples=[{"attrs.mode": {"in": ["ranked", "cup"]}}])] = {}


OfCustom = Annotated[GivenInstant | None, Meta(description="For `custom` alone", examples=[None])]


class Timeframe(_Part, frozen=True):
    """The windows. `reset_day` is a weekday's name or a day of the month; `starts_at`, `ends_at` are for `custom` only."""

    type: Annotated[TimeframeType, Meta(examples=["weekly"])]
    timezone: Annotated[str, Meta(description="An IANA time zone", examples=["Asia/Ho_Chi_Minh"])] = "UTC"
    reset_day: Annotated[str | int, Meta(description="On which weeks or months begin", examples=["monday"])] | UnsetType = UNSET
    reset_time: Annotated[str, Meta(description="At which days, weeks and months begin")] = "00:00"
    grace_seconds: Annotated[int, Meta(ge=0, le=86_400, description="How long after its end a window takes late events")] = 60
    starts_at: OfCustom | UnsetType = UNSET
    ends_at: OfCustom | UnsetType = UNSET


class ScoringRule(_Part, frozen=True):
    """Points for an event of a type (or `*`) when the conditions hold."""

    event_type: Annotated[str, Meta(description="A type, or a pattern such as match.*", examples=["match.won"])]
    points_expression: Annotated[str, Meta(description="Computed for each event", examples=["10 + attrs.kills * 2"])]
    conditions: Annotated[dict[str, dict[str, Any]], Meta(examples=[{"attrs.mode": {"eq": "ranked"}}])] = {}


class Scoring(_Part, frozen=True):
    """Every matching rule counts; the points of one event are their sum."""

    rules: Annotated[tuple[ScoringRule, ...], Meta(min_length=1, max_length=MAX_RULES)]
    aggregation: Aggregation = Aggregation.SUM


class Ranking(_Part, frozen=True):
    """The order; `size` bounds snapshot and payout; a score below `min_score` (points) is not ranked."""

    method: Method = Method.SCORE_DESC
    size: Annotated[int, Meta(ge=1, le=1_000_000)] = 1000
    min_score: Annotated[float, Meta(ge=-1e15, le=1e15)] | int | None = None


class LeaderboardConfig(_Part, frozen=True):
    """What a version of a board keeps."""

    timeframe: Timeframe
    scoring: Scoring
    scope: Scope = Scope()
    ranking: Ranking = Ranking()


class LeaderboardDefinition(_Part, frozen=True):
    """The body of POST and PUT. `leaderboard_id` is missing when the path names it."""

    name: Annotated[str, Meta(min_length=1, max_length=255, examples=["Wins of the week"])]
    config: LeaderboardConfig
    leaderboard_id: Annotated[str | None, Meta(description="Your id of the board, for paths", examples=["weekly-wins"])] = None
    description: Annotated[str, Meta(max_length=4000, examples=["Ranked games only"])] | None = None
    status: BoardStatus = BoardStatus.ACTIVE
    reward_config_id: UUID | None = None


class TimelineSegment(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a board's windows are, from the one on that begins at `starts_at`; without it, ever since (window_sequence.py).

    `taken` is the last key of a window of this type before that. The timeframe's grace is not in it: that belongs to the versions.
    """

    timeframe: Timeframe
    aggregation: Aggregation
    method: Method
    starts_at: datetime | None = None
    taken: str | None = None


class BoardVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A board as it was in force from `valid_from` on. `timeline` (empty: as in the config) is that of the whole board: which windows
    there are, and how they add up, follows from when an event occurred."""

    board_id: UUID
    version: int
    status: BoardStatus
    config: LeaderboardConfig
    valid_from: datetime
    timeline: tuple[TimelineSegment, ...] = ()


def parse_definition(value: Any) -> LeaderboardDefinition:
    """A decoded request body as a checked definition with all defaults; ValidationError names the faulty field."""
    definition = convert_value(value, LeaderboardDefinition)
    if definition.leaderboard_id is not None:
        parse_client_id(definition.leaderboard_id, "leaderboard_id")
    if definition.status is BoardStatus.ARCHIVED:
        raise ValidationError.of("status", "must be active or inactive; DELETE archives")
    return msgspec.structs.replace(definition, config=_checked(definition.config))


def parse_config(value: Any) -> LeaderboardConfig:
    """A decoded `config` (of a request or of a stored row) as a checked one; ValidationError names the faulty field."""
    return _checked(convert_value(value, LeaderboardConfig, "config"))


def load_config(value: Any) -> LeaderboardConfig:
    """A stored `config` as it is, without checking its expressions again."""
    return msgspec.convert(value, LeaderboardConfig)


def load_timeline(value: Any) -> tuple[TimelineSegment, ...]:
    """A stored `timeline`: the board's segments, empty when it has never changed them."""
    return msgspec.convert(value, tuple[TimelineSegment, ...])


def config_wire(config: LeaderboardConfig) -> dict[str, Any]:
    """The config as JSON values, for the wire and the row; `parse_config` gives it back."""
    wire: dict[str, Any] = msgspec.to_builtins(config)
    return wire


def _checked(config: LeaderboardConfig) -> LeaderboardConfig:
    parse_conditions(config.scope.filters, "config.scope.filters")
    for number, rule in enumerate(config.scoring.rules):
        where = f"config.scoring.rules[{number}]"
        parse_event_type_pattern(rule.event_type, f"{where}.event_type")
        parse_expression(rule.points_expression, f"{where}.points_expression")
        parse_conditions(rule.conditions, f"{where}.conditions")
    problem = number_problem([config.ranking.min_score])
    if problem:
        raise ValidationError.of("config.ranking.min_score", problem.message)
    return msgspec.structs.replace(config, timeframe=_checked_timeframe(config.timeframe))


def parse_event_type_pattern(value: str, field: str) -> str:
    """An event type, or `*` for all; ValidationError otherwise."""
    if value != "*" and not EVENT_TYPE.fullmatch(value):
        raise ValidationError.of(field, "must be * or 1 to 100 characters of A-Z a-z 0-9 _ . : -")
    return value


def zone_of(name: str, field: str = "timezone") -> ZoneInfo:
    """The zone of that name; ValidationError if there is none."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValidationError.of(field, f"{name!r} is not an IANA time zone, such as Asia/Ho_Chi_Minh or UTC") from None


def check_zone(name: str, field: str) -> None:
    """Refuse what is not an IANA zone of that name everywhere. What was taken once is read by `zone_of` as long as it can be."""
    if name.startswith(_OF_THE_MACHINE):
        raise ValidationError.of(field, f"{name!r} is not an IANA time zone, such as Asia/Ho_Chi_Minh or UTC")
    zone_of(name, field)


def _checked_timeframe(timeframe: Timeframe) -> Timeframe:
    """The same with the defaults of its type filled in, and without what its type does not use."""
    field = "config.timeframe"
    check_zone(timeframe.timezone, f"{field}.timezone")
    if not _TIME_OF_DAY.fullmatch(timeframe.reset_time):
        raise ValidationError.of(f"{field}.reset_time", "must be HH:MM")
    starts_at, ends_at = timeframe.starts_at or UNSET, timeframe.ends_at or UNSET
    if timeframe.type is TimeframeType.CUSTOM:
        starts_at, ends_at = (_bound(each, f"{field}.{name}") for each, name in ((starts_at, "starts_at"), (ends_at, "ends_at")))
        if starts_at >= ends_at:
            raise ValidationError.of(f"{field}.ends_at", "must be after starts_at")
    else:
        for name, value in (("starts_at", starts_at), ("ends_at", ends_at)):
            if value is not UNSET:
                raise ValidationError.of(f"{field}.{name}", "is for custom only")
    return msgspec.structs.replace(timeframe, reset_day=_reset_day(timeframe), starts_at=starts_at, ends_at=ends_at)


def _bound(value: datetime | UnsetType, field: str) -> datetime:
    """A bound of a custom window, in UTC as it is shown."""
    if not isinstance(value, datetime):
        raise ValidationError.of(field, "is required for custom")
    if not EARLIEST <= value < LATEST:
        raise ValidationError.of(field, "must be from the year 2 to the year 9998")
    return value.astimezone(UTC)


def _reset_day(timeframe: Timeframe) -> str | int | UnsetType:
    field, day = "config.timeframe.reset_day", timeframe.reset_day
    if timeframe.type is TimeframeType.WEEKLY:
        if day is UNSET:
            return WEEKDAYS[0]
        if day not in WEEKDAYS:
            raise ValidationError.of(field, f"must be one of {', '.join(WEEKDAYS)}")
        return day
    if timeframe.type is TimeframeType.MONTHLY:
        if day is UNSET:
            return 1
        if not isinstance(day, int) or not 1 <= day <= 28:
            raise ValidationError.of(field, "must be a day from 1 to 28")
        return day
    return UNSET
