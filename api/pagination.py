"""Lists in pages: `limit` and an opaque `cursor` (contract 1)."""

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar
from uuid import UUID

import msgspec
from litestar import Request
from msgspec import Meta

from api.query import query_as
from domain.errors import ValidationError

Item = TypeVar("Item")

DEFAULT_LIMIT = 50
MAXIMUM_LIMIT = 500


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Which part of a list is wanted. `cursor` is what an earlier answer gave as `next_cursor`."""

    limit: Annotated[int, Meta(ge=1, le=MAXIMUM_LIMIT, description="How many at most")] = DEFAULT_LIMIT
    cursor: Annotated[str, Meta(description="The `next_cursor` of the answer before; absent for the first page")] | None = None

    def after_id(self) -> UUID | None:
        """The id behind which the page starts, for lists that are ordered by one id; raises `ValidationError`."""
        if self.cursor is None:
            return None
        (text,) = decode_cursor(self.cursor, 1)
        try:
            return UUID(str(text))
        except ValueError:
            raise ValidationError.of("cursor", "is not a cursor for this list") from None

    def cursor_of(self, rows: list[Any], attribute: str) -> str | None:
        """The cursor that goes on behind the last of `rows` (read with `limit`), or None when the page is not full."""
        if len(rows) < self.limit:
            return None
        return encode_cursor(str(getattr(rows[-1], attribute)))


def part_of(items: Sequence[Item], page: Page, key: Callable[[Item], str]) -> tuple[list[Item], str | None]:
    """The page of a short list that is in memory as a whole, and its cursor; `key` tells its items apart."""
    start = 0
    if page.cursor is not None:
        (last,) = decode_cursor(page.cursor, 1)
        start = next((place for place, item in enumerate(items, 1) if key(item) == last), -1)
        if start < 0:
            raise ValidationError.of("cursor", "is not a cursor for this list")
    part = list(items[start : start + page.limit])
    return part, encode_cursor(key(part[-1])) if start + len(part) < len(items) else None


def encode_cursor(*values: str | int | float | None) -> str:
    """The values that order a list, as opaque text."""
    return base64.urlsafe_b64encode(msgspec.json.encode(values)).rstrip(b"=").decode()


def decode_cursor(cursor: str, length: int) -> list[Any]:
    """The `length` values that went into `encode_cursor`; raises `ValidationError` for any other text."""
    try:
        values = msgspec.json.decode(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)), type=list[Any])
    except (binascii.Error, msgspec.MsgspecError, UnicodeError, ValueError):
        values = []
    if len(values) != length:
        raise ValidationError.of("cursor", "is not a cursor for this list")
    return values


async def read_page(request: Request[Any, Any, Any]) -> Page:
    """The page that a request asks for; injected as `page`."""
    return query_as(request.query_params, Page)
