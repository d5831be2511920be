"""What a process remembers for moments: bounded by size and by age, so that nobody can fill its memory with questions."""

import asyncio
import time
from collections import OrderedDict
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class Recent(OrderedDict[Key, Value]):
    """The values that were kept last, at most `capacity` of them: the one kept longest ago goes first. Their age is the caller's matter.

    No plain dict, which looks for its first key past all those that have gone: 30 µs for each value of 100 000, where this takes less
    than one.
    """

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self._capacity = capacity

    def keep(self, key: Key, value: Value) -> None:
        """Remember a value as the newest."""
        self[key] = value
        self.move_to_end(key)
        if len(self) > self._capacity:
            self.popitem(last=False)


class Shelf(Generic[Key, Value]):
    """Values that are good for `seconds`, at most `capacity` of them in the caller's unit (bytes, or 1 for each); the oldest go first.

    What is too old is dropped by a timer of the event loop, also when nobody asks any more.
    """

    def __init__(self, capacity: int, seconds: float) -> None:
        self._capacity, self._seconds = capacity, seconds
        self._kept = OrderedDict[Key, tuple[float, int, Value]]()
        self._timer: asyncio.TimerHandle | None = None
        self.size = 0

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Key) -> Value | None:
        """The value, unless it is too old or was never kept."""
        kept = self._kept.get(key)
        return kept[2] if kept is not None and kept[0] > time.monotonic() else None

    def put(self, key: Key, value: Value, size: int = 1, *, began: float | None = None) -> None:
        """Keep the value, whose age counts from `began` (monotonic; now if not given). One that is too large for the shelf is not kept."""
        self.drop(key)
        if size > self._capacity:
            return
        self._kept[key] = ((time.monotonic() if began is None else began) + self._seconds, size, value)
        self.size += size
        while self.size > self._capacity:
            self.drop(next(iter(self._kept)))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self._sweep)

    def drop(self, key: Key) -> None:
        """Forget a value, if it is kept."""
        if (kept := self._kept.pop(key, None)) is not None:
            self.size -= kept[1]

    def clear(self) -> None:
        """Forget everything."""
        self._kept.clear()
        self.size = 0

    def _sweep(self) -> None:
        """Values stand in the order in which they were put, which is nearly that of their ends."""
        self._timer, now = None, time.monotonic()
        for key, (until, _, _) in list(self._kept.items()):
            if until > now:
                break
            self.drop(key)
        if self._kept:
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self._sweep)
