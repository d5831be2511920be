"""The entries of a page as they are sent, remembered by the bytes of their members: a page that nobody has asked for lately is then put
together of lines that are ready, which made up two thirds of its cost (docs/performance.md).
"""

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


class BoardLines:
    """The lines that this process has sent lately, by tenant and ranking."""

    def __init__(self, profiles: Profiles) -> None:
        self._profiles = profiles
        self._lines: dict[tuple[bytes, Method], dict[bytes, Line]] = {}

    async def render(self, tenant_id: UUID, method: Method, page: LivePage) -> bytes:
        """The page's entries, between the brackets of a JSON array."""
        lines = self._lines.setdefault((tenant_id.bytes, method), {})
        now = time.monotonic()
        members = page.members
        found = [lines.get(member) for member in members]
        missing = [members[place] for place, line in enumerate(found) if line is None or line.known.until < now]
        if missing:
            fresh = await self._make(tenant_id, method, lines, missing)
            found = [fresh.get(member, line) for member, line in zip(members, found, strict=True)]
        entries = [b""] * (2 * len(found))
        entries[::2] = [b',{"rank":%d' % rank for rank in range(page.first + 1, page.first + 1 + len(found))]
        entries[1::2] = [line.text for line in found if line is not None]
        return b"".join(entries)[1:]

    async def _make(self, tenant_id: UUID, method: Method, lines: dict[bytes, Line], members: Sequence[bytes]) -> dict[bytes, Line]:
        """The lines of these members, with their profiles of now."""
        if sum(map(len, self._lines.values())) > CAPACITY:
            for each in self._lines.values():
                each.clear()
        fresh = {}
        for member in members:
            score, reached_at, external_id = decode_member(method, member)
            fresh[member] = lines.get(member) or Line(Entry(external_id, score, reached_at), _ABSENT, b"")
        profiles = await self._profiles.known(tenant_id, [line.entry.external_user_id for line in fresh.values()])
        for member, line in fresh.items():
            known = profiles[line.entry.external_user_id]
            if line.text and known.profile == line.known.profile:
                line.known = known
            else:
                encoded = msgspec.json.encode(entry_wire(0, line.entry, known.profile))
                fresh[member] = Line(line.entry, known, encoded[len(b'{"rank":0') :])
        lines.update(fresh)
        return fresh
