"""New ids and the wall clock: read here, at the edge, and handed to `domain/` as arguments."""

import os
import threading
import time
import uuid
from datetime import UTC, datetime

_lock = threading.Lock()
_last = 0


def new_id() -> uuid.UUID:
    """A UUIDv7 (RFC 9562, section 6.2, method 3): Unix time in 1/4096 milliseconds, then 62 random bits.

    Ids of one process sort in the order in which they were made, also those of one millisecond, for lists are read in that order.
    """
    global _last
    milliseconds, rest = divmod(time.time_ns(), 1_000_000)
    instant = milliseconds << 12 | rest * 4096 // 1_000_000
    with _lock:
        instant = _last = max(instant, _last + 1)
    value = (instant >> 12 & (1 << 48) - 1) << 80
    value |= 0x7 << 76 | (instant & 0xFFF) << 64
    value |= 0b10 << 62 | int.from_bytes(os.urandom(8), "big") >> 2
    return uuid.UUID(int=value)


def utc_now() -> datetime:
    """The current instant, aware, in UTC."""
    return datetime.now(UTC)
