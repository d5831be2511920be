"""The entries of a page as they are sent, remembered by the bytes of their members: a page that nobody has asked for lately is then put
together of lines that are ready, which made up two thirds of its cost (docs/performance.md).
"""

import hashlib
import time
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from domain.leaderboard import Method
from domain.standing import decode_member
from domain.wire import score_number
from storage.live import LivePage
from storage.profile import Known, Profile, Profiles
from storage.standing import Entry

CAPACITY = 50_000
REMEMBERED_RANKS = 50_000
MARK_BYTES = 12
_ABSENT = Known(0.0, (None, None))


class EntryWire(msgspec.Struct, frozen=True, gc=False):
    """One entry as it is sent; `updated_at` is the instant at which the score was reached, which is what orders equal scores."""

    rank: int
    user_id: str
    score: int | float
    display_name: str | None
    avatar_url: str | None
    updated_at: datetime


def entry_wire(rank: int, entry: Entry, profile: Profile) -> EntryWire:
    """One entry."""
    return EntryWire(rank, entry.external_user_id, score_number(entry.score), profile[0], profile[1], entry.reached_at)


class Line(msgspec.Struct):
    """What follows the rank in an entry, good for as long as the profile in it may be believed."""

    entry: Entry
    known: Known
    text: bytes
    mark: bytes
    """A digest of `text`: what a page's ETag is made of, a tenth as long as the page."""


class BoardLines:
    """The lines that this process has sent lately, by tenant and ranking."""

    def __init__(self, profiles: Profiles) -> None:
        self._profiles = profiles
        self._lines: dict[tuple[bytes, Method], dict[bytes, Line]] = {}
        self._ranked: list[bytes] = []

    async def render(self, tenant_id: UUID, method: Method, page: LivePage) -> tuple[bytes, bytes]:
        """The page's entries, between the brackets of a JSON array; and the marks of their lines, which tell them from any others."""
        lines = self._lines.setdefault((tenant_id.bytes, method), {})
        now = time.monotonic()
        members = page.members
        found = list(map(lines.get, members))
        missing = [members[place] for place, line in enumerate(found) if line is None or line.known.until < now]
        if missing:
            fresh = await self._make(tenant_id, method, lines, missing)
            found = [fresh.get(member, line) for member, line in zip(members, found, strict=True)]
        entries = [b""] * (2 * len(found))
        entries[::2] = self._openings(page.first, len(found))
        entries[1::2] = [line.text for line in found if line is not None]
        return b"".join(entries)[1:], b"".join([line.mark for line in found if line is not None])

    def _openings(self, first: int, count: int) -> list[bytes]:
        """How entries begin, from the 0-based `first`; made once for the ranks that are read most."""
        end = first + count
        if end > REMEMBERED_RANKS:
            return [_opening(rank) for rank in range(first + 1, end + 1)]
        if end > len(self._ranked):
            self._ranked += [_opening(rank) for rank in range(len(self._ranked) + 1, end + 1)]
        return self._ranked[first:end]

    async def _make(self, tenant_id: UUID, method: Method, lines: dict[bytes, Line], members: Sequence[bytes]) -> dict[bytes, Line]:
        """The lines of these members, with their profiles of now."""
        if sum(map(len, self._lines.values())) > CAPACITY:
            for each in self._lines.values():
                each.clear()
        fresh = {}
        for member in members:
            score, reached_at, external_id = decode_member(method, member)
            fresh[member] = lines.get(member) or Line(Entry(external_id, score, reached_at), _ABSENT, b"", b"")
        profiles = await self._profiles.known(tenant_id, [line.entry.external_user_id for line in fresh.values()])
        for member, line in fresh.items():
            known = profiles[line.entry.external_user_id]
            if line.text and known.profile == line.known.profile:
                line.known = known
            else:
                text = msgspec.json.encode(entry_wire(0, line.entry, known.profile))[len(b'{"rank":0') :]
                fresh[member] = Line(line.entry, known, text, hashlib.blake2b(text, digest_size=MARK_BYTES).digest())
        lines.update(fresh)
        return fresh


def _opening(rank: int) -> bytes:
    return b',{"rank":%d' % rank
