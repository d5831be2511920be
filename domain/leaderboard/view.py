"""What a client of a board's WebSocket asks for, and how what it holds is brought up to date (contract 3, WebSocket)."""

from collections.abc import Sequence
from typing import Annotated, Protocol, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from domain.errors import ValidationError
from domain.wire import convert_value, decode_json

PAGE_SIZE, PAGE_SIZE_MAXIMUM = 100, 500
OFFSET_MAXIMUM = 100_000_000
USERS_MAXIMUM = 100
RANGE_MAXIMUM = (PAGE_SIZE_MAXIMUM - 1) // 2
CURRENT = "current"

UserId = Annotated[str, Meta(min_length=1, max_length=255)]
PageNumber = Annotated[int, Meta(ge=1, le=OFFSET_MAXIMUM)]
PageSize = Annotated[int, Meta(ge=1, le=PAGE_SIZE_MAXIMUM)]


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type"):
    """A part of a message of a client."""


class All(_Part, frozen=True, tag="all"):
    """The whole board."""


class TopN(_Part, frozen=True, tag="top_n"):
    """The best `n`."""

    n: Annotated[int, Meta(ge=1, le=OFFSET_MAXIMUM)]


class AroundUser(_Part, frozen=True, tag="around_user"):
    """A user with up to `range` before and after it; near an end of the board the other side has more, as REST has it."""

    user_id: UserId
    range: Annotated[int, Meta(ge=0, le=RANGE_MAXIMUM)] = 5

    @property
    def limit(self) -> int:
        """How many entries that is."""
        return 2 * self.range + 1


class Users(_Part, frozen=True, tag="users"):
    """These users, as far as they are ranked."""

    user_ids: Annotated[tuple[UserId, ...], Meta(max_length=USERS_MAXIMUM)]


Filter = All | TopN | AroundUser | Users


class Configure(_Part, frozen=True, tag="configure"):
    """From now on this view; what is missing stays as it was."""

    page: PageNumber | UnsetType = UNSET
    page_size: PageSize | UnsetType = UNSET
    filter: Filter | UnsetType = UNSET
    window_key: Annotated[str, Meta(min_length=1, max_length=64)] | UnsetType = UNSET


class RequestPage(_Part, frozen=True, tag="request_page"):
    """One page, once."""

    page: PageNumber
    page_size: PageSize | UnsetType = UNSET


class Ping(_Part, frozen=True, tag="ping"):
    """Are you there?"""


Request = Configure | RequestPage | Ping


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a client looks at. Two clients that want the same share one view."""

    filter: Filter = All()
    page: int = 1
    page_size: int = PAGE_SIZE
    window_key: str = CURRENT

    @property
    def first(self) -> int:
        """The 0-based place of the page's first entry; ValidationError when that is beyond every board."""
        first = (self.page - 1) * self.page_size
        if first > OFFSET_MAXIMUM:
            raise ValidationError.of("page", "is too large")
        return first

    @property
    def limit(self) -> int:
        """How many entries the page may have: pages of `top_n` end at the n-th."""
        if isinstance(self.filter, TopN):
            return max(0, min(self.page_size, self.filter.n - self.first))
        return self.page_size


def read_request(body: bytes) -> Request:
    """A client's message; ValidationError when it is none."""
    request: Request = convert_value(decode_json(body), Request)  # type: ignore[arg-type]
    return request


def wanted_after(wanted: Wanted, request: Configure | RequestPage) -> Wanted:
    """What the client looks at once the request is heard; ValidationError for a page beyond every board.

    A new filter begins at its first page unless the request names one.
    """
    given = {name: value for name in request.__struct_fields__ if (value := getattr(request, name)) is not UNSET}
    if "filter" in given and "page" not in given:
        given["page"] = 1
    after = msgspec.structs.replace(wanted, **given)
    assert after.first >= 0
    return after


class Ranked(Protocol):
    """An entry of a board as it is sent."""

    @property
    def user_id(self) -> str:
        """The external id."""
        ...

    @property
    def rank(self) -> int:
        """1-based."""
        ...


Entry = TypeVar("Entry", bound=Ranked)


def difference(before: Sequence[Entry], after: Sequence[Entry]) -> tuple[list[tuple[Entry, int | None]], list[str]]:
    """(entries that are new or not as they were, each with its previous rank in the view or None; users who left the view).

    Whoever removes the latter, puts the former in their users' place and sorts by rank has `after`.
    """
    held = {entry.user_id: entry for entry in before}
    changed: list[tuple[Entry, int | None]] = []
    for entry in after:
        old = held.pop(entry.user_id, None)
        if old != entry:
            changed.append((entry, None if old is None else old.rank))
    return changed, list(held)
