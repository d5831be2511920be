"""What a process remembers for moments has a bound in size and in age."""

import asyncio

from runtime.shelf import Shelf


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
