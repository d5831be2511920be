"""Events that break scoring: what may be blamed on one, and how it is found among others."""

from collections.abc import Sequence

import msgspec

from domain.errors import DomainError
from domain.scoring.rules import PoisonEvent
from runtime.postgres import BAD_DATA
from storage.leaderboard.rankings import Publication
from storage.scoring.pump import LoggedEvent

POISON = (PoisonEvent, *BAD_DATA, DomainError, ArithmeticError, ValueError, TypeError, LookupError)
"""What may be an event's own fault. All else is the platform's, and is waited for."""


def parts_without(part: Sequence[LoggedEvent], error: Exception, poisoned: dict[int, str]) -> list[Sequence[LoggedEvent]]:
    """What is left to try, the last first, of a part that `error` has stopped. An event that is named or stands alone is condemned."""
    if isinstance(error, PoisonEvent):
        poisoned[error.position] = error.reason
    elif len(part) == 1:
        poisoned[part[0].position] = f"{type(error).__name__}: {error}"
    left = [event for event in part if event.position not in poisoned]
    middle = len(left) // 2
    return [half for half in (left[middle:], left[:middle]) if half]


def joined(first: Publication | None, then: Publication) -> Publication:
    """Two changes of one transaction to one board as one: it leads from where the board was before the first; a user has one entry."""
    if first is None:
        return then
    entries = dict(zip(first.entries[::2], first.entries[1::2], strict=True))
    entries.update(zip(then.entries[::2], then.entries[1::2], strict=True))
    return msgspec.structs.replace(first, entries=[each for entry in entries.items() for each in entry])
