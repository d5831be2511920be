"""Columns of many rows as PostgreSQL's binary arrays, packed as wholes: a driver that looks at each element costs a pump as much as
evaluating its rules. Give them to statements as `%b::<type>[]`; results come back as the bytes and integers that were sent.
"""

import struct
import sys
from array import array
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg import AsyncCursor, postgres
from psycopg.adapt import Dumper
from psycopg.pq import Format
from psycopg.types.numeric import Int8BinaryLoader
from psycopg.types.string import ByteaBinaryLoader

_HEAD = struct.Struct(">iiIii")
_LENGTH = struct.Struct(">i")
_OIDS = {name: postgres.types[name].oid for name in ("int4", "int8", "uuid", "text", "timestamptz")}
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
UNIX_MICROSECONDS = 946_684_800_000_000
"""What PostgreSQL's microseconds lack to be those since 1970."""

NO_INSTANT = -(1 << 63)
"""How `-infinity` is sent: stands for an instant that is not there, so that a column needs no nulls."""


class Packed(bytes):
    """An array as it is sent."""


class PackedDumper(Dumper):
    """Sends a `Packed` as it is; its type is that of the cast in the statement."""

    format = Format.BINARY
    oid = 0

    def dump(self, obj: Packed) -> bytes:
        """The same."""
        return obj


class Instants(dict[datetime, int]):
    """PostgreSQL's microseconds of instants; each is worked out once."""

    def __missing__(self, instant: datetime) -> int:
        found = self[instant] = (instant - _EPOCH) // _MICROSECOND
        return found


def instant(microseconds: int) -> datetime:
    """The instant of PostgreSQL's microseconds."""
    return _EPOCH + microseconds * _MICROSECOND


def integers(values: Sequence[int], *, width: int = 8) -> Packed:
    """`bigint[]`, or `integer[]` when `width` is 4."""
    return _fixed("int8" if width == 8 else "int4", _big_endian(values, width), width)


def instants(microseconds: Sequence[int]) -> Packed:
    """`timestamptz[]` of PostgreSQL's microseconds."""
    return _fixed("timestamptz", _big_endian(microseconds, 8), 8)


def uuids(ids: Iterable[int]) -> Packed:
    """`uuid[]` of the ids' integers."""
    return _fixed("uuid", b"".join([each.to_bytes(16, "big") for each in ids]), 16)


def text(value: str) -> bytes:
    """An element of `texts`: make it once for what stands in many rows."""
    encoded = value.encode()
    return _LENGTH.pack(len(encoded)) + encoded


def texts(elements: Sequence[bytes]) -> Packed:
    """`text[]` of elements made by `text`."""
    return Packed(_head("text", len(elements)) + b"".join(elements))


def as_packed(cursor: AsyncCursor[Any]) -> None:
    """Let the cursor take packed arrays and answer ids and texts as bytes, instants as PostgreSQL's microseconds. It has to be binary."""
    cursor.adapters.register_dumper(Packed, PackedDumper)
    for name, loader in (("uuid", ByteaBinaryLoader), ("text", ByteaBinaryLoader), ("timestamptz", Int8BinaryLoader)):
        cursor.adapters.register_loader(name, loader)


def _big_endian(values: Sequence[int], width: int) -> bytes:
    column = array("q" if width == 8 else "i", values)
    if sys.byteorder == "little":
        column.byteswap()
    return column.tobytes()


def _head(element: str, size: int) -> bytes:
    return _HEAD.pack(1, 0, _OIDS[element], size, 1) if size else struct.pack(">iiI", 0, 0, _OIDS[element])


def _fixed(element: str, raw: bytes, width: int) -> Packed:
    """Each element behind its length: byte by byte for all elements at once, which is as fast as copying."""
    size, step = len(raw) // width, 4 + width
    out = bytearray(step * size)
    out[3::step] = bytes([width]) * size
    for place in range(width):
        out[4 + place :: step] = raw[place::width]
    return Packed(_head(element, size) + out)
