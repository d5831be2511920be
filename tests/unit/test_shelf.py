"""What a process remembers for moments has a bound in size and in age."""

import asyncio
import time
from collections.abc import Callable

from runtime.shelf import Recent, Shelf


async def test_the_oldest_give_way_and_what_is_too_large_is_not_kept() -> None:
    shelf = Shelf[str, bytes](100, 60.0)
    for name in "abcd":
        shelf.put(name, b"", 40)
    assert (shelf.size, shelf.get("a"), shelf.get("d")) == (80, None, b"")
    shelf.put("d", b"", 10)
    assert (shelf.size, len(shelf)) == (50, 2)
    shelf.put("e", b"", 101)
    assert (shelf.size, shelf.get("e")) == (50, None)


async def test_what_is_old_goes_though_nobody_asks() -> None:
    shelf = Shelf[str, bytes](100, 0.05)
    shelf.put("a", b"", 40)
    async with asyncio.timeout(60.0):
        while shelf.size:
            await asyncio.sleep(0.01)
    assert len(shelf) == 0


def test_the_one_kept_longest_ago_goes_first_and_to_keep_it_again_is_to_keep_it_now() -> None:
    recent = Recent[str, int](2)
    for number, name in enumerate("abacc"):
        recent.keep(name, number)
    assert dict(recent) == {"a": 2, "c": 4}
    assert (recent.get("b"), len(recent)) == (None, 2)


def test_what_gives_way_is_found_at_once_however_much_is_kept() -> None:
    """A dict looks for its first key past all that have gone: beside it, a thousand of the oldest give way in next to no time."""
    plain, recent = dict.fromkeys(range(100_000)), Recent[int, None](100_000)
    recent.update(plain)

    def seconds(replace: Callable[[int], object]) -> float:
        began = time.perf_counter()
        for number in range(100_000, 110_000):
            replace(number)
        return time.perf_counter() - began

    def replace(number: int) -> None:
        plain[number] = None
        plain.pop(next(iter(plain)))

    assert seconds(lambda number: recent.keep(number, None)) * 2 < seconds(replace)
