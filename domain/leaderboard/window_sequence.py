"""A board's windows over its whole life: each segment of time has a timeframe, an aggregation and a method of its own (contract 3).

A change of these takes effect with the first window that starts more than an hour later. Windows before it keep what they had; the first
one of the new kind begins where the last one of the old kind ended, so there is neither gap nor overlap. Which segment counts for an event
follows from its `occurred_at` alone.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise

import msgspec

from domain.leaderboard.definition import BoardVersion, LeaderboardConfig, TimeframeType, TimelineSegment
from domain.leaderboard.window import WindowIndex, WindowSpan, window_at, window_for_key

NOTICE = timedelta(hours=1)
"""A window takes events from an hour before its start, so by then it must be known what it is."""

_MICROSECOND = timedelta(microseconds=1)
_ONE_WINDOW = (TimeframeType.CUSTOM, TimeframeType.ALL_TIME)

Timeline = Sequence[TimelineSegment]


def segment_of(config: LeaderboardConfig) -> TimelineSegment:
    """What the config says of windows, aggregation and method."""
    timeframe = msgspec.structs.replace(config.timeframe, grace_seconds=0)
    return TimelineSegment(timeframe=timeframe, aggregation=config.scoring.aggregation, method=config.ranking.method)


def segments(config: LeaderboardConfig, timeline: Timeline) -> Timeline:
    """The board's segments; a board that never changed them has one."""
    return timeline or (segment_of(config),)


def in_force(config: LeaderboardConfig, segment: TimelineSegment) -> LeaderboardConfig:
    """The config with timeframe, aggregation and method of the segment."""
    return msgspec.structs.replace(
        config,
        timeframe=msgspec.structs.replace(segment.timeframe, grace_seconds=config.timeframe.grace_seconds),
        scoring=msgspec.structs.replace(config.scoring, aggregation=segment.aggregation),
        ranking=msgspec.structs.replace(config.ranking, method=segment.method),
    )


def segment_at(timeline: Timeline, instant: datetime | None) -> TimelineSegment:
    """The segment that holds the instant; None asks for the only segment of a board whose window has no start."""
    found = timeline[0]
    for segment in timeline[1:]:
        if instant is None or segment.starts_at is None or instant < segment.starts_at:
            break
        found = segment
    return found


def first_window(segment: TimelineSegment) -> WindowSpan | None:
    """The window with which a segment begins; None for that which has always been.

    It begins where the last one of the segment before ended, and has the end and the key of the window in which that instant lies. Where
    that key is one that the board has used, it runs on to the end of the first window whose key is new.
    """
    if segment.starts_at is None:
        return None
    span = window_at(segment.timeframe, segment.starts_at)
    while span is not None and segment.taken is not None and span.key <= segment.taken and span.ends_at is not None:
        span = window_at(segment.timeframe, span.ends_at)
    return None if span is None else WindowSpan(span.key, segment.starts_at, span.ends_at)


def find_window(timeline: Timeline, instant: datetime) -> WindowSpan | None:
    """The board's window that holds the instant; None only outside a custom timeframe."""
    segment = segment_at(timeline, instant)
    first = first_window(segment)
    if first is not None and (first.ends_at is None or instant < first.ends_at):
        return first
    return window_at(segment.timeframe, instant)


def find_window_by_key(timeline: Timeline, key: str) -> WindowSpan | None:
    """The board's window of this key; None if it never has one."""
    until = [segment.starts_at for segment in timeline[1:]] + [None]
    for segment, ends_at in zip(timeline, until, strict=True):
        first = first_window(segment)
        span = first if first is not None and first.key == key else window_for_key(segment.timeframe, key)
        if span is None or (ends_at is not None and span.starts_at is not None and span.starts_at >= ends_at):
            continue
        if first is None or span is first or (first.ends_at is not None and span.starts_at is not None and span.starts_at >= first.ends_at):
            return span
    return None


def following_window(timeline: Timeline, span: WindowSpan) -> WindowSpan | None:
    """The window that begins where this one ends; None for a window that has none after it."""
    if span.ends_at is None or timeline[-1].timeframe.type in _ONE_WINDOW:
        return None
    return find_window(timeline, span.ends_at)


def may_change(timeline: Timeline, wanted: TimelineSegment) -> bool:
    """Whether the board can get to what is wanted: boards with a single window stay what they are, and no other becomes one."""
    return _same(timeline[-1], wanted) or (timeline[-1].timeframe.type not in _ONE_WINDOW and wanted.timeframe.type not in _ONE_WINDOW)


def changed(timeline: Timeline, wanted: TimelineSegment, *, after: datetime) -> Timeline:
    """The timeline with what is wanted from the first window on that starts later than `after`: an hour from the change, or the start of
    the latest window that is there already. A change that had been announced and has not begun by then is replaced."""
    if _same(timeline[-1], wanted):
        return timeline
    last = find_window(timeline, after)
    if last is None or last.ends_at is None:
        raise ValueError("a board with a single window does not change")
    kept = tuple(each for each in timeline if each.starts_at is None or each.starts_at < last.ends_at)
    if _same(kept[-1], wanted):
        return kept
    return (*kept, msgspec.structs.replace(wanted, starts_at=last.ends_at, taken=_last_key(kept, wanted.timeframe.type, last.ends_at)))


def _last_key(timeline: Timeline, kind: TimeframeType, until: datetime) -> str | None:
    """The last key that windows of this type have had before `until`: keys of one type sort as their windows do."""
    ends = [segment.starts_at or until for segment in timeline[1:]] + [until]
    spans = [
        find_window(timeline, end - _MICROSECOND) for segment, end in zip(timeline, ends, strict=True) if segment.timeframe.type is kind
    ]
    return max((span.key for span in spans if span is not None), default=None)


def _same(one: TimelineSegment, other: TimelineSegment) -> bool:
    return (one.timeframe, one.aggregation, one.method) == (other.timeframe, other.aggregation, other.method)


class TimelinePart(msgspec.Struct, frozen=True, kw_only=True):
    """A version of a board in one segment: it counts events with `occurred_from ≤ occurred_at < occurred_until`."""

    board: BoardVersion
    segment: TimelineSegment
    occurred_from: datetime | None
    occurred_until: datetime | None


def parts_of(board: BoardVersion) -> list[TimelinePart]:
    """The version in each of the board's segments, with the config in force there."""
    timeline = segments(board.config, board.timeline)
    if len(timeline) == 1:
        return [TimelinePart(board=board, segment=timeline[0], occurred_from=None, occurred_until=None)]
    ends = [after.starts_at for _, after in pairwise(timeline)] + [None]
    return [
        TimelinePart(
            board=msgspec.structs.replace(board, config=in_force(board.config, segment)),
            segment=segment,
            occurred_from=segment.starts_at,
            occurred_until=end,
        )
        for segment, end in zip(timeline, ends, strict=True)
    ]


class SegmentIndex(WindowIndex):
    """The index of a segment that begins amid a board's life: its first window is one of its own."""

    def __init__(self, segment: TimelineSegment) -> None:
        super().__init__(segment.timeframe)
        self._first = first_window(segment)

    def find(self, instant: datetime) -> WindowSpan | None:
        """The same as `find_window` within the segment."""
        first = self._first
        if first is not None and (first.ends_at is None or instant < first.ends_at):
            return first
        return super().find(instant)
