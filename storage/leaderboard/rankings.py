"""Live rankings in Redis: speed, never truth. Every answer that is not certain is None, and the caller asks PostgreSQL.

An entry is `order key + external id`; the order key (`standing.py`) holds score and `reached_at`, so one ZRANGE is a whole page
and a rank is one ZRANK.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, Literal
from uuid import UUID, uuid4

import msgspec

from domain.leaderboard.definition import Method
from runtime.postgres import Connection
from runtime.redis import Redis, RedisError
from storage.leaderboard import rankings_script
from storage.leaderboard.rankings_script import Script
from storage.platform.installation import database_life

__all__ = ["Held", "Mark", "Publication", "RankedBoard", "RankingPage", "Rankings", "RedisError", "UserRank"]

FILL_CHUNK = 2000
FILL_EXPIRES_SECONDS = 60
"""After the last entry that was added: a fill whose maker died leaves nothing behind."""

CLAIM_SECONDS = 30
RETIRED_SECONDS = 600
Outcome = Literal["done", "stale", "absent", "gap", "newer"]


class RankedBoard(msgspec.Struct, frozen=True):
    """One window of one board as the rankings know it; `min_score` in 1/10 000 point, None for no bound."""

    tenant_id: UUID
    board_id: UUID
    window_id: UUID
    method: Method
    min_score: int | None

    @property
    def shape(self) -> str:
        """What decides who is ranked and in which order; entries made with another shape are not usable."""
        return f"{self.method}:{self.min_score}"

    def keys(self, life: str) -> tuple[str, str, str]:
        """Sorted set, hash of users, hash of marks, for one life of the database (`storage/platform/installation.py`)."""
        prefix = f"board:{{{self.tenant_id.hex}:{self.board_id.hex}}}:{self.window_id.hex}" + (life and f":{life}")
        return f"{prefix}:z", f"{prefix}:u", f"{prefix}:m"


WINDOWS_CHANGED = b"windows"


def changed_channel(tenant_id: UUID, board_id: UUID) -> str:
    """Where a message says that something of a board has changed; the scripts make the same name.

    Without content it is about entries, with `WINDOWS_CHANGED` about the state of a window.
    """
    return f"board:{{{tenant_id.hex}:{board_id.hex}}}:changed"


class Publication(msgspec.Struct):
    """What one scoring transaction changed in one window: external id and order key (empty: no longer ranked), alternating.

    `hidden`: nobody reads these standings yet (a rescore is at work), so nobody has to repair them.
    """

    board: RankedBoard
    partition: int
    epoch: int
    from_position: int
    to_position: int
    entries: list[bytes]
    hidden: bool = False


class Mark(msgspec.Struct, frozen=True):
    """How far a partition has been published in a window, and by which owner."""

    partition: int
    epoch: int
    position: int


class RankingPage(msgspec.Struct):
    """Entries from the 0-based `first`, best first, and how many are ranked in all."""

    total: int
    first: int
    members: list[bytes]


class UserRank(msgspec.Struct):
    """A user's place: `rank` is 0-based and None when the user is not ranked."""

    total: int
    rank: int | None
    order_key: bytes


class Held(msgspec.Struct, frozen=True):
    """What the rankings hold of some users at one instant: each partition's mark, and each user's order key and its member's score."""

    marks: dict[int, int]
    entries: dict[bytes, tuple[bytes, bytes]]


class Rankings:
    """All commands that the product sends to Redis for boards. Methods raise RedisError; the reads of `board.py` catch it."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self.life = ""

    async def learn(self, connection: Connection) -> bool:
        """Note which life of the database is the present one; whether it is another than before.

        Keys carry it: what was published from rows that a failover or a restore has undone is not found any more, and boards are read
        from PostgreSQL until they are rebuilt.
        """
        before, self.life = self.life, await database_life(connection)
        return self.life != before

    def keys(self, board: RankedBoard) -> tuple[str, str, str]:
        """The board's keys in the database's present life."""
        return board.keys(self.life)

    async def publish(self, publications: Sequence[Publication]) -> list[Outcome]:
        """Apply each change, in one round trip; the outcome of each, in order."""
        if not publications:
            return []
        calls = [(rankings_script.publish, self.keys(each.board), _publish_arguments(each)) for each in publications]
        return [_outcome(answer) for answer in await self._run(calls)]

    async def page(self, board: RankedBoard, first: int, limit: int) -> RankingPage | None:
        """The entries `first` … `first + limit - 1`, or None when the board is not complete here."""
        answer = await self._call(rankings_script.page, self.keys(board), (board.shape, first, first + limit - 1))
        return None if answer is None else RankingPage(answer[0], first, answer[1])

    async def rank(self, board: RankedBoard, external_id: str) -> UserRank | None:
        """Where a user stands, or None when the board is not complete here."""
        answer = await self._call(rankings_script.rank, self.keys(board), (board.shape, external_id.encode()))
        return None if answer is None else _rank(answer)

    async def around(self, board: RankedBoard, external_id: str, limit: int) -> tuple[UserRank, RankingPage] | None:
        """Where a user stands and the `limit` entries nearest to it (none if it is not ranked); None when not complete here."""
        answer = await self._call(rankings_script.around, self.keys(board), (board.shape, external_id.encode(), limit))
        if answer is None:
            return None
        return _rank(answer), RankingPage(answer[0], answer[3], answer[4]) if len(answer) > 3 else RankingPage(answer[0], 0, [])

    async def ranks(self, board: RankedBoard, external_ids: Sequence[str]) -> tuple[int, list[UserRank]] | None:
        """How many are ranked, and where each of these users stands; None when the board is not complete here."""
        arguments = (board.shape, *(external_id.encode() for external_id in external_ids))
        answer = await self._call(rankings_script.ranks, self.keys(board), arguments)
        if answer is None:
            return None
        total = answer[0]
        return total, [UserRank(total, rank if rank >= 0 else None, key) for rank, key in zip(answer[1::2], answer[2::2], strict=True)]

    async def marks(self, boards: Sequence[RankedBoard], partition: int) -> list[int | None]:
        """Up to which position each window holds what `partition` committed; None where it is absent, damaged or of another shape."""
        if not boards:
            return []
        return await self._run([(rankings_script.mark, self.keys(board), (board.shape, partition)) for board in boards])

    async def held(self, board: RankedBoard, users: Sequence[bytes]) -> "Held | None":
        """What there is of these users, at one instant (at most some thousands); None when the board is not complete here."""
        answer = await self._call(rankings_script.held, self.keys(board), (board.shape, *users))
        if answer is None:
            return None
        marks, found = answer
        entries = dict(zip(users, zip(found[::2], found[1::2], strict=True), strict=True))
        return Held(dict(zip(marks[::2], marks[1::2], strict=True)), entries)

    async def users(self, board: RankedBoard, chunk: int) -> AsyncIterator[list[bytes]]:
        """All users with an order key, in chunks; somebody who comes or goes meanwhile may be missing."""
        position: int = 0
        while True:
            position, found = await self._command("HSCAN", self.keys(board)[1], position, "COUNT", chunk)
            if found:
                yield list(found)
            if position == 0:
                return

    async def forget(self, board: RankedBoard) -> None:
        """Make the window absent, so that reads go to PostgreSQL until it is rebuilt."""
        await self.redis.unlink(*self.keys(board))

    async def retire(self, board: RankedBoard, seconds: int = RETIRED_SECONDS) -> None:
        """Let a closed window go after a while: it is read from its snapshot, but what was read before may still be asked for."""
        pipeline = self.redis.pipeline(transaction=True)
        for key_name in self.keys(board):
            _queue(pipeline, "EXPIRE", key_name, seconds)
        await pipeline.execute()

    async def announce(self, tenant_id: UUID, board_id: UUID) -> None:
        """Wake those who watch the board: the state of a window has changed, or its standings have been replaced."""
        await self.redis.publish(changed_channel(tenant_id, board_id), WINDOWS_CHANGED)

    @contextlib.asynccontextmanager
    async def rebuild_claim(self, board: RankedBoard, seconds: int = CLAIM_SECONDS) -> AsyncIterator[bool]:
        """Whether the caller may rebuild the window, for as long as the block runs: the claim is renewed, and ends with its holder."""
        name, holder = f"{self.keys(board)[2]}:rebuild", uuid4().hex
        if not await self.redis.set(name, holder, nx=True, ex=seconds):
            yield False
            return
        renewing = asyncio.create_task(self._renew(name, holder, seconds), name="rebuild-claim")
        try:
            yield True
        finally:
            renewing.cancel()
            with contextlib.suppress(RedisError, OSError):
                await self._call(rankings_script.claim, [name], (holder, 0))

    async def _renew(self, name: str, holder: str, seconds: int) -> None:
        while True:
            await asyncio.sleep(seconds / 3)
            with contextlib.suppress(RedisError, OSError):
                await self._call(rankings_script.claim, [name], (holder, seconds))

    def begin_fill(self, board: RankedBoard) -> "Fill":
        """Start to fill a window anew, beside what is there."""
        return Fill(self, board)

    async def _call(self, script: Script, keys: Sequence[str], arguments: Iterable[Any]) -> Any:
        return (await self._run([(script, keys, arguments)]))[0]

    async def _command(self, *parts: Any) -> Any:
        return await self.redis.execute_command(*parts)

    async def _run(self, calls: Sequence[tuple[Script, Sequence[str], Iterable[Any]]]) -> list[Any]:
        """Many script calls in one round trip; once more where the server did not know a script."""
        for verb in ("EVALSHA", "EVAL"):
            known = verb == "EVALSHA"
            commands = [(verb, call[0].digest if known else call[0].text, len(call[1]), *call[1], *call[2]) for call in calls]
            answers = await self.redis.line.ask(commands)
            errors = [answer for answer in answers if isinstance(answer, Exception)]
            if not errors:
                return answers
            if verb == "EVAL" or not all(_unknown_script(error) for error in errors):
                raise errors[0]
        raise RedisError("unreachable")


class Fill:
    """A window's entries being written beside the live ones; they take their place in one step."""

    def __init__(self, store: Rankings, board: RankedBoard) -> None:
        self._store = store
        self._board = board
        self._place = store.keys(board)
        suffix = f":fill:{uuid4().hex}"
        self._keys = (self._place[0] + suffix, self._place[1] + suffix)
        self._count = 0

    async def add(self, entries: Sequence[tuple[bytes, bytes]]) -> None:
        """Write (external id, order key) pairs."""
        if not entries:
            return
        pipeline = self._store.redis.pipeline(transaction=False)
        for start in range(0, len(entries), FILL_CHUNK):
            chunk = entries[start : start + FILL_CHUNK]
            _queue(pipeline, "ZADD", self._keys[0], *[part for user, key in chunk for part in (b"0", key + user)])
            _queue(pipeline, "HSET", self._keys[1], *[part for user, key in chunk for part in (user, key)])
        for key_name in self._keys:
            _queue(pipeline, "EXPIRE", key_name, FILL_EXPIRES_SECONDS)
        await pipeline.execute()
        self._count += len(entries)

    async def discard(self) -> None:
        """Give the memory back, of a fill that will not take its place."""
        with contextlib.suppress(RedisError, OSError):
            await self._store.redis.unlink(*self._keys)

    async def swap(self, marks: Sequence[Mark]) -> Outcome:
        """Put the new entries in the place of the old ones; `newer` when the live ones already hold more than these, `absent` when some of
        the new ones are lost."""
        arguments: list[Any] = [self._board.shape, self._count]
        for mark in marks:
            arguments += (mark.partition, mark.epoch, mark.position)
        return _outcome(await self._store._call(rankings_script.swap, (*self._place, *self._keys), arguments))


def _queue(pipeline: Any, *parts: Any) -> None:
    """Put a command into a pipeline: its own methods are typed as if they answered at once."""
    pipeline.execute_command(*parts)


def _publish_arguments(publication: Publication) -> list[Any]:
    head = (publication.partition, publication.epoch, publication.from_position, publication.to_position, publication.board.shape)
    return [*head, *publication.entries]


def _outcome(answer: Any) -> Outcome:
    outcome: Outcome = answer.decode()
    return outcome


def _rank(answer: list[Any]) -> UserRank:
    return UserRank(answer[0], answer[1], answer[2]) if len(answer) > 1 else UserRank(answer[0], None, b"")


def _unknown_script(error: BaseException) -> bool:
    return str(error).startswith("NOSCRIPT")
