"""New ids and the wall clock: read here, at the edge, and handed to `domain/` as arguments.

There is one clock for all processes, PostgreSQL's: each corrects its own machine's by what it last saw there. So an order is not made
past its deadline, and a good event not refused, because one host's clock is wrong."""

import os
import threading
import time
import uuid
from datetime import UTC, datetime, timedelta

_lock = threading.Lock()
_last = 0
_difference = timedelta()
_correction = timedelta()

CLOCK_NOISE = timedelta(milliseconds=100)
"""A difference below this, beside the time of asking, is left alone: NTP does better, and a clock that is not touched never jumps."""


def new_id() -> uuid.UUID:
    """A UUIDv7 (RFC 9562, section 6.2, method 3): Unix time in 1/4096 milliseconds, then 62 random bits.

    Ids of one process sort in the order in which they were made, also those of one millisecond, for lists are read in that order.
    """
    global _last
    milliseconds, rest = divmod(time.time_ns() + _correction // timedelta(microseconds=1) * 1_000, 1_000_000)
    instant = milliseconds << 12 | rest * 4096 // 1_000_000
    with _lock:
        instant = _last = max(instant, _last + 1)
    value = (instant >> 12 & (1 << 48) - 1) << 80
    value |= 0x7 << 76 | (instant & 0xFFF) << 64
    value |= 0b10 << 62 | int.from_bytes(os.urandom(8), "big") >> 2
    return uuid.UUID(int=value)


def first_id(instant: datetime) -> uuid.UUID:
    """A UUID that is not above any UUIDv7 made at this instant or later."""
    return uuid.UUID(int=int(instant.timestamp() * 1000) << 80)


def utc_now() -> datetime:
    """The current instant by PostgreSQL's clock, aware, in UTC."""
    return datetime.now(UTC) + _correction if _correction else datetime.now(UTC)


def set_clock(database_now: datetime, round_trip: timedelta) -> None:
    """Follow PostgreSQL's clock, which said `database_now` somewhere within the `round_trip` that has just ended."""
    global _difference, _correction
    _difference = database_now + round_trip / 2 - datetime.now(UTC)
    _correction = _difference if abs(_difference) > CLOCK_NOISE + round_trip else timedelta()


def clock_difference() -> timedelta:
    """How far PostgreSQL's clock was ahead of this machine's when it was last looked at."""
    return _difference
