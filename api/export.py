"""Exports under way: how many there are, what they put aside on disk, and how long a reader may take.

An export is as long as what it tells of, and its reader as slow as it likes. So a tenant has few of them at a time, and so has the process.
"""

import asyncio
import tempfile
import weakref
import zlib
from collections import Counter
from collections.abc import AsyncIterator
from typing import IO
from uuid import UUID

from domain import limits
from domain.errors import RateLimited, Unavailable

RETRY_SECONDS = 10
IN_MEMORY_BYTES = 1_048_576
PIECE_BYTES = 65_536


class Export:
    """One export of a tenant, from its beginning to the end of its last piece. What it puts aside is compressed."""

    def __init__(self, exports: "Exports", tenant_id: UUID) -> None:
        """Counts, until `end`."""
        self._exports, self._tenant_id = exports, tenant_id
        self._file: IO[bytes] | None = None
        self._packer = zlib.compressobj(level=1)
        self._is_under_way = True
        self._bytes = 0

    def put_aside(self, piece: bytes) -> None:
        """Keep a piece on disk; raises `RateLimited` or `Unavailable` when too much lies there already."""
        self._write(self._packer.compress(piece))

    def _write(self, packed: bytes) -> None:
        if self._file is None:
            self._file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES)  # noqa: SIM115  closed by `end`
        self._exports.grow(self._tenant_id, len(packed))
        self._bytes += len(packed)
        self._file.write(packed)

    def pieces(self) -> AsyncIterator[bytes]:
        """What was put aside, to be sent; the export ends with it."""
        self._write(self._packer.flush())
        return self.sent(self._unpacked())

    async def _unpacked(self) -> AsyncIterator[bytes]:
        assert self._file is not None
        self._file.seek(0)
        unpacker = zlib.decompressobj()
        rest = self._file.read(PIECE_BYTES)
        while rest:
            if piece := unpacker.decompress(rest, PIECE_BYTES):
                yield piece
            rest = unpacker.unconsumed_tail or self._file.read(PIECE_BYTES)

    def sent(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """These pieces as the answer. The export ends with the last one, or when the client goes away or does not take one in time."""
        watched = self._watched(pieces)
        weakref.finalize(watched, self.end)  # also when nobody has begun to read
        return watched

    async def _watched(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        try:
            async for piece in pieces:
                # While the client takes nothing the request stands still in the sending of this piece: only its task can be ended.
                patience = loop.call_later(limits.EXPORT_PIECE_SECONDS.value, self._cut_off, task)
                try:
                    yield piece
                finally:
                    patience.cancel()
        finally:
            self.end()

    def _cut_off(self, task: "asyncio.Task[object]") -> None:
        """End it for a client that does not read. At once: what is left of the request may be long in going away."""
        self.end()
        task.cancel()

    def end(self) -> None:
        """Make room for the next one, once."""
        if self._is_under_way:
            self._is_under_way = False
            self._exports.ended(self._tenant_id, self._bytes)
            if self._file is not None:
                self._file.close()


class Exports:
    """All exports of this process."""

    def __init__(self) -> None:
        """None is under way."""
        self._under_way: Counter[UUID] = Counter()
        self._bytes: Counter[UUID] = Counter()

    def begin(self, tenant_id: UUID) -> Export:
        """An export of this tenant; raises `RateLimited` when it has too many, `Unavailable` when the process has."""
        if self._under_way[tenant_id] >= limits.EXPORTS_OF_TENANT.value:
            raise RateLimited(f"This tenant has {self._under_way[tenant_id]} exports under way; try again", retry_after=RETRY_SECONDS)
        if self._under_way.total() >= limits.EXPORTS_UNDER_WAY.value:
            raise Unavailable("Too many exports are under way; try again", retry_after=RETRY_SECONDS)
        self._under_way[tenant_id] += 1
        return Export(self, tenant_id)

    def grow(self, tenant_id: UUID, count: int) -> None:
        """Count what is put aside; raises `RateLimited` or `Unavailable` when there is no room for it."""
        if self._bytes[tenant_id] + count > limits.EXPORT_BYTES_OF_TENANT.value:
            raise RateLimited("This tenant's exports under way are too large; try again", retry_after=RETRY_SECONDS)
        if self._bytes.total() + count > limits.EXPORT_BYTES.value:
            raise Unavailable("Exports have put aside as much as this process may; try again", retry_after=RETRY_SECONDS)
        self._bytes[tenant_id] += count

    def ended(self, tenant_id: UUID, count: int) -> None:
        """One is over, with so many bytes put aside."""
        for counter, less in ((self._under_way, 1), (self._bytes, count)):
            counter[tenant_id] -= less
            if counter[tenant_id] <= 0:
                del counter[tenant_id]
