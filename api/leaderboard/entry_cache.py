"""The entries of a page as they are sent, remembered by the bytes of their members: a page that nobody has asked for lately is then put
together of lines that are ready, which made up two thirds of its cost (docs/performance.md).
"""

import asyncio
import hashlib
import time
from collections.abc import Sequence
from uuid import UUID

import msgspec

from domain import limits
from domain.leaderboard.board_wire import LeaderboardEntry
from domain.leaderboard.definition import Method
from domain.leaderboard.standing import decode_member
from domain.wire import score_number
from storage.leaderboard.profile import KnownProfile, Profile, Profiles
from storage.leaderboard.rankings import RankingPage
from storage.leaderboard.standing import RankedEntry

TABLE_SECONDS = 300.0
LINE_OVERHEAD_BYTES = 600
"""What a line takes beside its text: its member, its entry, its digest, the objects."""
REMEMBERED_RANKS = 50_000
MARK_BYTES = 12
_ABSENT = KnownProfile(0.0, (None, None))


def leaderboard_entry(rank: int, entry: RankedEntry, profile: Profile) -> LeaderboardEntry:
    """The entry as it is sent."""
    return LeaderboardEntry(rank, entry.external_user_id, score_number(entry.score), profile[0], profile[1], entry.reached_at)


class CachedEntry(msgspec.Struct):
    """What follows the rank in an entry, good for as long as the profile in it may be believed."""

    entry: RankedEntry
    known: KnownProfile
    text: bytes
    mark: bytes
    """A digest of `text`: what a page's ETag is made of, a tenth as long as the page."""


class Table:
    """The lines of one tenant's boards of one method, and what they take in bytes. It is begun anew after `TABLE_SECONDS`."""

    __slots__ = ("began", "lines", "size")

    def __init__(self) -> None:
        """There are none yet."""
        self.lines: dict[bytes, CachedEntry] = {}
        self.size, self.began = 0, time.monotonic()

    def put(self, member: bytes, line: CachedEntry) -> int:
        """Keep a line; by how much the table has grown."""
        before = self.lines.get(member)
        grown = len(line.text) - len(before.text) if before is not None else len(line.text) + LINE_OVERHEAD_BYTES
        self.lines[member] = line
        self.size += grown
        return grown


class BoardLines:
    """The lines that this process has sent lately, by tenant and ranking."""

    def __init__(self, profiles: Profiles) -> None:
        self._profiles = profiles
        self._tables: dict[tuple[bytes, Method], Table] = {}
        self._ranked: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None
        self.size = 0

    async def render(self, tenant_id: UUID, method: Method, page: RankingPage) -> tuple[bytes, bytes]:
        """The page's entries, between the brackets of a JSON array; and the marks of their lines, which tell them from any others."""
        table = self._table(tenant_id, method)
        lines, now = table.lines, time.monotonic()
        members = page.members
        found = list(map(lines.get, members))
        missing = [members[place] for place, line in enumerate(found) if line is None or line.known.until < now]
        if missing:
            fresh = await self._make(tenant_id, method, table, missing)
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

    def _table(self, tenant_id: UUID, method: Method) -> Table:
        table = self._tables.get((tenant_id.bytes, method))
        if table is None:
            table = self._tables[tenant_id.bytes, method] = Table()
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(TABLE_SECONDS, self._sweep)
        return table

    def _sweep(self) -> None:
        """Begin old tables anew, also when nobody asks any more."""
        self._timer, old = None, time.monotonic() - TABLE_SECONDS
        for key in [key for key, table in self._tables.items() if table.began <= old]:
            self._drop(key)
        if self._tables:
            self._timer = asyncio.get_running_loop().call_later(TABLE_SECONDS, self._sweep)

    def _drop(self, key: tuple[bytes, Method]) -> None:
        self.size -= self._tables.pop(key).size

    def _keep(self, key: tuple[bytes, Method], table: Table, fresh: dict[bytes, CachedEntry]) -> None:
        """Whoever has most gives way, so that a tenant with many entries does not cost the others theirs."""
        if self._tables.get(key) is not table:
            return  # dropped meanwhile
        self.size += sum(table.put(member, line) for member, line in fresh.items())
        while self.size > limits.LINE_BYTES.value:
            self._drop(max(self._tables, key=lambda each: self._tables[each].size))

    async def _make(self, tenant_id: UUID, method: Method, table: Table, members: Sequence[bytes]) -> dict[bytes, CachedEntry]:
        """The lines of these members, with their profiles of now."""
        lines, fresh = table.lines, dict[bytes, CachedEntry]()
        for member in members:
            score, reached_at, external_id = decode_member(method, member)
            fresh[member] = lines.get(member) or CachedEntry(RankedEntry(external_id, score, reached_at), _ABSENT, b"", b"")
        profiles = await self._profiles.known(tenant_id, [line.entry.external_user_id for line in fresh.values()])
        for member, line in fresh.items():
            known = profiles[line.entry.external_user_id]
            if line.text and known.profile == line.known.profile:
                line.known = known
            else:
                text = msgspec.json.encode(leaderboard_entry(0, line.entry, known.profile))[len(b'{"rank":0') :]
                fresh[member] = CachedEntry(line.entry, known, text, hashlib.blake2b(text, digest_size=MARK_BYTES).digest())
        self._keep((tenant_id.bytes, method), table, fresh)
        return fresh


def _opening(rank: int) -> bytes:
    return b',{"rank":%d' % rank
