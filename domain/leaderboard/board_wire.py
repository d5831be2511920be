"""Boards, their pages and what an event would do to them, as they are shown (contract 3)."""

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from domain.leaderboard.definition import Aggregation, BoardStatus, LeaderboardConfig, Method, Ranking, Timeframe
from domain.leaderboard.rescore import RescoreStatus
from domain.leaderboard.window_messages import WindowStatus
from domain.wire import ExternalId, Id, Instant, NextCursor, Number

LeaderboardId = Annotated[str, Meta(examples=["weekly-wins"])]
WindowKey = Annotated[str, Meta(examples=["2025-W47"])]
Rank = Annotated[int, Meta(description="1 is the best", examples=[1])]
RankedTotal = Annotated[int, Meta(description="How many users are ranked", examples=[1250])]
Percentile = Annotated[float, Meta(description="How many of a hundred ranked users are below", examples=[99.92])]


class LeaderboardEntry(msgspec.Struct, frozen=True, gc=False):
    """A user's place on a board; `updated_at` is the instant at which the score was reached, which is what orders equal scores."""

    rank: Rank
    user_id: ExternalId
    score: Number
    display_name: Annotated[str | None, Meta(examples=["Ada"])]
    avatar_url: str | None
    updated_at: Annotated[datetime, Meta(tz=True, examples=["2025-11-18T12:00:00Z"])]


class LeaderboardPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of a window, best first."""

    leaderboard_id: LeaderboardId
    tenant_id: Id
    window_key: WindowKey
    status: WindowStatus
    starts_at: Annotated[Instant | None, Meta(description="null for all-time")]
    ends_at: Annotated[Instant | None, Meta(description="null for all-time")]
    total: RankedTotal
    limit: Annotated[int, Meta(examples=[100])]
    offset: Annotated[int, Meta(examples=[0])]
    entries: list[LeaderboardEntry]


class EntriesAroundUser(LeaderboardPage, frozen=True, kw_only=True):
    """The entries around a user, with the user's own."""

    user: LeaderboardEntry


class SnapshotPage(LeaderboardPage, frozen=True, kw_only=True):
    """A page of the final standings of a window. `total` counts all ranked users; the snapshot holds the top `size`."""

    snapshot_time: Annotated[Instant | None, Meta(description="The planned end of the window")]


class SnapshotAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The final standings of a window, without their entries."""

    snapshot_time: Annotated[Instant | None, Meta(description="The planned end of the window")]
    window_key: WindowKey
    starts_at: Instant | None
    ends_at: Instant | None
    total: RankedTotal | None
    closed_at: Instant | None


class SnapshotListAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A board's snapshots, newest first."""

    snapshots: list[SnapshotAnswer]
    next_cursor: NextCursor


class LeaderboardRank(msgspec.Struct, frozen=True, kw_only=True):
    """A user's rank and score."""

    leaderboard_id: LeaderboardId
    window_key: WindowKey
    user_id: ExternalId
    rank: Rank
    score: Number
    total: RankedTotal
    percentile: Percentile


class SnapshotEntry(LeaderboardRank, frozen=True, kw_only=True):
    """A user's final rank and score."""

    snapshot_time: Instant | None
    updated_at: Annotated[Instant, Meta(description="When the score was reached")]


class UserPlace(msgspec.Struct, frozen=True, kw_only=True):
    """A user's place on one of the boards."""

    leaderboard_id: LeaderboardId
    name: str
    window_key: WindowKey
    rank: Rank
    score: Number
    total: RankedTotal


class UserPlaces(msgspec.Struct, frozen=True, kw_only=True):
    """The boards on which a user has an entry."""

    leaderboards: list[UserPlace]


class LeaderboardSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A board as players see it."""

    leaderboard_id: LeaderboardId
    tenant_id: Id
    name: Annotated[str, Meta(examples=["Weekly wins"])]
    description: str | None
    status: BoardStatus
    timeframe: Timeframe
    aggregation: Aggregation
    ranking: Ranking
    created_at: Instant
    updated_at: Instant


class LeaderboardSummaryListAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The active boards, in the order of creation."""

    total: Annotated[int, Meta(description="Of active boards", examples=[1])]
    leaderboards: list[LeaderboardSummary]
    next_cursor: NextCursor


class SegmentInForce(msgspec.Struct, frozen=True, kw_only=True):
    """How a board's windows are cut and ranked."""

    timeframe: Timeframe
    aggregation: Aggregation
    method: Method


class ComingSegment(SegmentInForce, frozen=True, kw_only=True):
    """How they will be, from `takes_effect_at` on."""

    takes_effect_at: Instant | None


class LeaderboardAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The definition of a board. `config` is what was asked for: its rules count at once, its timeframe, aggregation and method with a
    window."""

    leaderboard_id: LeaderboardId
    tenant_id: Id
    name: Annotated[str, Meta(examples=["Weekly wins"])]
    description: str | None
    status: BoardStatus
    version: Annotated[int, Meta(description="For If-Match", examples=[1])]
    config: LeaderboardConfig
    in_force: SegmentInForce
    coming: list[ComingSegment]
    reward_config_id: Annotated[Id | None, Meta(description="What is given by rank when a window closes")]
    created_at: Instant
    updated_at: Instant


class LeaderboardListAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Definitions, in the order of creation."""

    total: Annotated[int, Meta(description="Of boards with the status asked for", examples=[1])]
    leaderboards: list[LeaderboardAnswer]
    next_cursor: NextCursor


class ExplainedRule(msgspec.Struct, frozen=True, kw_only=True):
    """What one rule of a board would give for an event, or why it gives nothing."""

    rule: Annotated[int, Meta(description="Its place in the list of rules, from 0", examples=[0])]
    event_type: str
    matched: bool
    points: Number | None
    reason: str | None


class ExplainedWindow(msgspec.Struct, frozen=True, kw_only=True):
    """The window in which an event would count."""

    window_key: WindowKey
    status: WindowStatus
    starts_at: Instant | None
    ends_at: Instant | None
    closes_at: Instant | None


class ExplainedEntry(msgspec.Struct, frozen=True, kw_only=True):
    """The user's entry with the event on top of what counts already."""

    user_id: ExternalId
    score: Number
    score_before: Annotated[Number | None, Meta(description="null without an entry so far")]
    updated_at: Instant
    ranked: Annotated[bool, Meta(description="Whether the score reaches min_score")]


class EventExplanation(msgspec.Struct, frozen=True, kw_only=True):
    """What an event would score on a board if it was accepted now."""

    leaderboard_id: LeaderboardId
    version: int
    in_force: SegmentInForce
    coming: list[ComingSegment]
    event_id: str
    matched: bool
    reason: Annotated[str | None, Meta(description="Why it would not count")]
    points: Number | None
    rules: list[ExplainedRule]
    window: ExplainedWindow | None
    entry: ExplainedEntry | None


class RescoreAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A window that is built anew from the event log."""

    rescore_id: Id
    leaderboard_id: LeaderboardId
    window_key: WindowKey
    version: Annotated[int, Meta(description="Of the definition whose rules count", examples=[1])]
    status: RescoreStatus
    progress: Annotated[float, Meta(description="0 to 1; 1 when the board shows the new standings", examples=[1.0])]
    positions_read: int
    positions_total: int
    events_read: Annotated[int, Meta(description="Events of the tenant among them")]
    reason: Annotated[str | None, Meta(description="Why it failed")]
    workflow_id: Annotated[str, Meta(description="For the Temporal UI")]
    progress_url: Annotated[str, Meta(description="Where to ask how far it is")]
    created_at: Instant
    completed_at: Instant | None


class RescoreListAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A board's rescores, newest first."""

    rescores: list[RescoreAnswer]
    next_cursor: NextCursor
