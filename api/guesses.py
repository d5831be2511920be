"""Credentials that nobody has: whoever goes on guessing from an address is told to wait (docs/limits.md)."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from domain import limits
from domain.errors import RateLimited
from runtime.shelf import Recent


class Guesses:
    """Credentials that nobody has, counted for each address: whoever goes on guessing is told to wait.

    The operator's key, and keys that were good before, pass all the same. Any other key is looked up when none of that address is being
    looked up: many clients may share an address, and a process that has just started knows none of their keys. So nobody keeps others
    out by guessing from their address.
    """

    def __init__(self) -> None:
        """Nobody has guessed."""
        self._counted = Recent[str, tuple[int, int]](limits.GUESSING_ADDRESSES.value)
        self._looked_up: set[str] = set()
        """Addresses beyond their bound, one key of each of which is being looked up."""

    def check(self, address: str) -> None:
        """Raise `RateLimited` when this address has guessed too often in the present period."""
        if self._is_guessing(address):
            raise RateLimited("Too many invalid credentials from this address; try again later", retry_after=limits.GUESS_SECONDS.value)

    @contextmanager
    def look_up(self, address: str) -> Iterator[None]:
        """Around the look-up of a key never seen before; raises `RateLimited` for a second one at a time of an address that guesses."""
        if not self._is_guessing(address):
            yield
            return
        if address in self._looked_up:
            raise RateLimited("Too many invalid credentials from this address; try again later", retry_after=1)
        self._looked_up.add(address)
        try:
            yield
        finally:
            self._looked_up.discard(address)

    def _is_guessing(self, address: str) -> bool:
        period, count = self._counted.get(address, (0, 0))
        return count >= limits.GUESSES.value and period == self._period()

    def note(self, address: str) -> None:
        """Count a wrong one."""
        (period, count), now = self._counted.get(address, (0, 0)), self._period()
        self._counted.keep(address, (now, count + 1 if period == now else 1))

    @staticmethod
    def _period() -> int:
        return int(time.monotonic() // limits.GUESS_SECONDS.value) + 1
