"""One scoring transaction: the next events of a partition become standings, earnings and a moved cursor, or nothing at all."""

import logging
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from domain import limits
from domain.leaderboard.definition import Aggregation
from domain.points import ledger
from domain.scoring.rules import NEVER, ScoringOutcome
from domain.tenant.erasure import PREFIX
from loops.scoring.backlogs import Backlogs
from loops.scoring.earning_limit import settle_wishes
from loops.scoring.known import KnownTenants
from loops.scoring.poison import POISON, joined, parts_without
from loops.scoring.rule_books import Books
from loops.scoring.rule_run import run_rules, window_scores
from loops.scoring.shares import ScoringShares, Share
from loops.scoring.values import Found, ScoringBatch, Touched, WindowKey, earnings, keep, latest, new_window, scored
from runtime.ids import utc_now
from runtime.postgres import Connection, Pool, transaction
from storage import binary_columns
from storage.leaderboard import scored_window
from storage.leaderboard.definition import ShownWindow, ranked_boards
from storage.leaderboard.rankings import Publication, RankedBoard
from storage.leaderboard.rankings_repair import merged_entries
from storage.leaderboard.scored_window import Window
from storage.leaderboard.standing import Merged, WindowDeltas, merge_windows
from storage.points.ledger import post_earnings
from storage.points.tier import review_tiers
from storage.rules_lock import lock_rules_shared
from storage.scoring import pump as scoring
from storage.scoring.pump import LoggedEvent, Stretch

log = logging.getLogger(__name__)

CLOCK_STEP_SECONDS = 600.0
EMPTY_ADVANCE_SECONDS = 1.0
"""A partition without events of its own follows the log's head this often: each step is a commit that scores nothing."""


Act = Callable[[Connection, int, bool, Found], Awaitable[ScoringBatch]]


class Scorer:
    """A partition's owner for one epoch. It keeps between transactions only what can be read again: rules, windows, boards."""

    def __init__(self, pool: Pool, partition: int, epoch: int, books: Books | None = None, *, shares: ScoringShares | None = None) -> None:
        self.pool, self.partition, self.epoch = pool, partition, epoch
        self._shares, self._backlogs = shares or ScoringShares(), Backlogs(partition)
        self._advance_at = 0.0
        self._caught_up = False
        self._clock: float | None = None
        self._known = KnownTenants(books or Books())

    @property
    def lags(self) -> bool:
        """Whether tenants are behind, so that `catch_up` has something to do."""
        return self._backlogs.any and self._backlogs.any_but(self._known.waiting)

    async def score(self, limit: int, *, careful: bool = False) -> ScoringBatch:
        """Score up to `limit` events of the tenants that are not behind; a tenant with more than its share of them is put behind.

        One of `POISON` when an event breaks scoring, StaleOwner when another owner has the partition: nothing has changed then. With
        `careful` it costs more, and events that break scoring go to the dead letters.
        """
        return await self._commit(self._score, limit, careful)

    async def catch_up(self, limit: int, *, careful: bool = False) -> ScoringBatch:
        """The same for one of the tenants that are behind, each in turn, up to where the others are."""
        return await self._commit(self._catch_up, limit, careful)

    async def _commit(self, act: Act, limit: int, careful: bool) -> ScoringBatch:
        found: Found = defaultdict(dict)
        try:
            async with transaction(self.pool) as connection:
                batch = await act(connection, limit, careful, found)
        except BaseException:
            self._caught_up = False
            self._backlogs.forget()
            self._known.clear()  # what was read in a transaction that failed may name rows that were never committed
            raise
        for tenant_id, rows in found.items():
            known, settled = self._known[tenant_id], {key: window for key, window in rows.items() if not window.hollow}
            known.windows.update(settled)
            known.closings.update((key, window.closes_at) for key, window in settled.items())
        return batch

    async def _score(self, connection: Connection, limit: int, careful: bool, found: Found) -> ScoringBatch:
        cursor = await scoring.lock_cursor(connection, self.partition, self.epoch)
        await self._backlogs.learn(connection)
        horizon = await scoring.event_horizon(connection)
        if horizon <= cursor.position:
            return ScoringBatch(0, cursor.position, False, [])
        await self._look_at_clock(connection)
        wanted = Stretch(cursor, horizon, anywhere=not self._caught_up, but=self._backlogs.tenants)
        events, position = await self._read(connection, wanted, limit)
        lagging, kept = await self._reckon(events, self._shares.of_batch(limit))
        if lagging:
            await self._backlogs.add(connection, lagging, cursor)
            events = [event for event in events if event.tenant_id not in lagging]
        if len(kept) < len(events):
            position = kept[-1].position
        behind = position < horizon
        self._caught_up = self._caught_up or not behind
        if not kept and not lagging:
            if time.monotonic() < self._advance_at:
                return ScoringBatch(0, cursor.position, False, [])
            self._advance_at = time.monotonic() + EMPTY_ADVANCE_SECONDS
        batch = await self._apply_all(connection, kept, position, careful, found=found)
        await scoring.advance_cursor(
            connection, self.partition, position=position, accepted_at=latest(cursor, kept) if kept else None, scored=len(kept)
        )
        return msgspec.structs.replace(batch, behind=behind)

    async def _catch_up(self, connection: Connection, limit: int, careful: bool, found: Found) -> ScoringBatch:
        cursor = await scoring.lock_cursor(connection, self.partition, self.epoch)
        await self._backlogs.learn(connection)
        backlog = self._backlogs.next(self._known.waiting)
        if backlog is None:
            return ScoringBatch(0, cursor.position, False, [])
        await self._look_at_clock(connection)
        tenant_id, anywhere = backlog.tenant_id, self._backlogs.anywhere(backlog)
        events, position = await self._read(connection, Stretch(backlog.cursor, cursor.position, anywhere, only=tenant_id), limit)
        kept = await self._affordable(events, self._shares.of_turn(limit))
        if events and not kept:
            return ScoringBatch(0, cursor.position, True, [])  # its rules are being compiled: the next tenant's turn comes first
        if len(kept) < len(events):
            position = kept[-1].position
        batch = await self._apply_all(connection, kept, position, careful, found=found)
        accepted_at = latest(backlog.cursor, kept)
        await self._backlogs.advance(connection, tenant_id, position=position, accepted_at=accepted_at, end=cursor.position)
        await scoring.advance_cursor(connection, self.partition, position=cursor.position, accepted_at=None, scored=len(kept))
        return msgspec.structs.replace(batch, position=cursor.position, behind=self._backlogs.any)

    async def _apply_all(
        self, connection: Connection, events: Sequence[LoggedEvent], position: int, careful: bool, *, found: Found
    ) -> ScoringBatch:
        """Apply the events, with `careful` all that do not break scoring; those that do are buried."""
        known = [event for event in events if not event.external_user_id.startswith(PREFIX)]
        poisoned: dict[int, str] = {}
        if careful:
            publications = await self._apply_what_can_be(connection, known, position, found, poisoned=poisoned)
        else:
            publications = await self._apply(connection, known, position, found) if known else []
        for event in known:
            if event.position in poisoned:
                await scoring.add_dead_letter(connection, event, partition=self.partition, reason=poisoned[event.position])
        return ScoringBatch(len(events), position, False, publications, poisoned)

    async def _read(self, connection: Connection, wanted: Stretch, limit: int) -> tuple[list[LoggedEvent], int]:
        """The next events, with the definitions of their tenants locked and known, and the position that the reader comes to.

        Whose they are is known only once they are read, so the locks come after. A change of one of these tenants that got its lock in
        between may have been an erasure, which rewrites events: they are then read again, and no others.
        """
        events = await scoring.events_of(connection, self.partition, wanted, limit=limit)
        position = events[-1].position if len(events) == limit else wanted.until
        if events:
            oldest: dict[UUID, datetime] = {}
            for event in events:
                oldest[event.tenant_id] = min(event.accepted_at, oldest.get(event.tenant_id, NEVER))
            self._shares.note(oldest)
            await lock_rules_shared(connection, oldest)
            if await self._known.load(connection, oldest):
                again = msgspec.structs.replace(wanted, until=position)
                events = await scoring.events_of(connection, self.partition, again, limit=limit)
        return events, position

    async def _reckon(self, events: Sequence[LoggedEvent], share: Share) -> tuple[list[UUID], list[LoggedEvent]]:
        """Which tenants have more than their share of these events, or rules that are being compiled; and of the others' events as many as
        one transaction may score."""
        work: dict[UUID, int] = dict.fromkeys({event.tenant_id for event in events}, 0)
        for event in events:
            if work[event.tenant_id] <= share.work:
                work[event.tenant_id] += share.work + 1 if (found := await self._known.work(event)) is None else found
        full = len(events) >= share.events and len(work) == 1
        lagging = sorted(tenant_id for tenant_id, done in work.items() if done > share.work or full)
        left = [event for event in events if event.tenant_id not in lagging] if lagging else events
        return lagging, await self._affordable(left, Share(limits.BATCH_WORK.value, share.events))

    async def _affordable(self, events: Sequence[LoggedEvent], share: Share) -> list[LoggedEvent]:
        """As many of the events as are no more work than this: others wait no longer for them, whatever their rules are.

        One at least, unless its rules are being compiled.
        """
        work = 0
        for number, event in enumerate(events):
            found = await self._known.work(event)
            if found is None or (work + found > share.work and number):
                return list(events[:number])
            work += found
        return list(events)

    async def _look_at_clock(self, connection: Connection) -> None:
        """When the server's clock has stepped, what waits may have been accepted at any time: the next events are looked for everywhere,
        as a new owner does, until there is none left. Where they were looked for too late in time they would be passed over for ever."""
        clock = (await scoring.server_clock(connection)).timestamp() - time.monotonic()
        if self._clock is not None and abs(clock - self._clock) > CLOCK_STEP_SECONDS:
            log.warning("PostgreSQL's clock has stepped by %.0f s", clock - self._clock)
            self._caught_up = False
            self._backlogs.doubt()
        self._clock = clock

    async def _apply_what_can_be(
        self, connection: Connection, events: Sequence[LoggedEvent], position: int, found: Found, *, poisoned: dict[int, str]
    ) -> list[Publication]:
        """Apply all but the events that break scoring. They are found by halving, in order, and each part is undone to a savepoint: what
        was read is not read again, and the others' events are committed with the rest."""
        made: dict[RankedBoard, Publication] = {}
        parts = [events]
        while parts:
            part, mine = parts.pop(), defaultdict[UUID, dict[WindowKey, Window]](dict)
            try:
                async with connection.transaction():
                    publications = await self._apply(connection, part, position, mine)
            except POISON as error:
                parts += parts_without(part, error, poisoned)
                continue
            for tenant_id, rows in mine.items():
                found[tenant_id].update(rows)
            for publication in publications:
                made[publication.board] = joined(made.get(publication.board), publication)
        return list(made.values())

    async def _apply(self, connection: Connection, events: Sequence[LoggedEvent], position: int, found: Found) -> list[Publication]:
        by_tenant: dict[UUID, list[LoggedEvent]] = defaultdict(list)
        for event in events:
            by_tenant[event.tenant_id].append(event)
        externals = {
            user: binary_columns.text(name) for user, name in {event.user_id.int: event.external_user_id for event in events}.items()
        }
        outcomes = {tenant_id: self._evaluate(tenant_id, mine, {}) for tenant_id, mine in by_tenant.items()}
        rows = await self._settle_windows(connection, by_tenant, outcomes, found)
        touched = [Touched(t, key[0], rows[key].standings, scores) for t, key, scores in scored(outcomes) if scores.by_user]
        touched += self._hidden(by_tenant, outcomes)
        publications = await self._write_standings(connection, touched, externals, position)
        wishes = {tenant_id: outcome.wishes for tenant_id, outcome in outcomes.items() if outcome.wishes}
        if wishes:
            for tenant_id, given in (await settle_wishes(connection, wishes)).items():
                outcomes[tenant_id].earnings += given
        now = utc_now()
        await post_earnings(connection, earnings(outcomes), now)
        for tenant_id in sorted(outcomes):
            tiers = self._known[tenant_id].tiers
            if tiers is None:
                continue
            earners = {earning.user_id for earning in outcomes[tenant_id].earnings if earning.currency == ledger.POINTS}
            if earners:
                await review_tiers(connection, tenant_id, list(earners), now, known=tiers)
        late = [(t, rows[key].window_id, scores.late) for t, key, scores in scored(outcomes) if scores.late and key in rows]
        if late:
            await scored_window.count_late(connection, late)
        return publications

    def _evaluate(self, tenant_id: UUID, events: Sequence[LoggedEvent], more: Mapping[WindowKey, datetime | None]) -> ScoringOutcome:
        """Run each event through the rules that were in force when it was accepted."""
        known = self._known[tenant_id]
        return run_rules(known.book, tenant_id, events, {**known.closings, **more} if more else known.closings)

    async def _settle_windows(
        self,
        connection: Connection,
        by_tenant: Mapping[UUID, Sequence[LoggedEvent]],
        outcomes: dict[UUID, ScoringOutcome],
        found: Found,
    ) -> dict[WindowKey, Window]:
        """The rows of all touched windows. Where a row closes at another instant than was planned, its tenant's events are scored again."""
        unknown = [(t, key, scores) for t, key, scores in scored(outcomes) if key not in self._known[t].windows]
        tenant_of = {key: t for t, key, _ in unknown}
        wanted = [new_window(t, scores) for t, _, scores in unknown if scores.by_user]
        rows = await scored_window.ensure_windows(connection, wanted) if wanted else []
        only_late = [new_window(t, scores) for t, _, scores in unknown if scores.late and not scores.by_user]
        rows += await scored_window.ensure_late_windows(connection, only_late) if only_late else []
        keep(found, rows, tenant_of)
        planned = {key: scores.closes_at for _, key, scores in unknown}
        for tenant_id, mine in list(found.items()):
            if any(row.closes_at is not None and row.closes_at != planned[key] for key, row in mine.items()):
                closings = {key: row.closes_at for key, row in mine.items()}
                outcomes[tenant_id] = self._evaluate(tenant_id, by_tenant[tenant_id], closings)
        reopened = [(t, key, s) for t, key, s in scored(outcomes) if s.by_user and key in found[t] and found[t][key].hollow]
        if reopened:
            keep(found, await scored_window.ensure_windows(connection, [new_window(t, s) for t, _, s in reopened]), tenant_of)
        touched = [(key, found[t].get(key) or self._known[t].windows.get(key)) for t, key, _ in scored(outcomes)]
        return {key: row for key, row in touched if row is not None}

    async def _write_standings(
        self,
        connection: Connection,
        touched: list[Touched],
        externals: Mapping[int, bytes],
        position: int,
    ) -> list[Publication]:
        if not touched:
            return []
        touched.sort(key=lambda each: (each.tenant_id.int, each.standings_id.int))
        deltas: dict[Aggregation, list[WindowDeltas]] = defaultdict(list)
        for each in touched:
            users = sorted(each.scores.by_user)
            names = [externals[user] for user in users]
            contributions = [each.scores.by_user[user] for user in users]
            window = WindowDeltas(each.tenant_id, each.standings_id, users, names, contributions)
            deltas[each.scores.config.scoring.aggregation].append(window)
        merged: dict[bytes, list[Merged]] = defaultdict(list)
        for aggregation, part in deltas.items():
            for row in await merge_windows(connection, aggregation, part, partition=self.partition, position=position):
                merged[row[0]].append(row)
        before = await scored_window.move_live_positions(
            connection, [(each.tenant_id, each.standings_id) for each in touched], partition=self.partition, position=position
        )
        await self._learn_boards(connection, touched)
        publications = []
        for each in touched:
            board = self._known[each.tenant_id].boards[each.standings_id]
            entries, since = merged_entries(board, merged[each.standings_id.bytes]), before[each.standings_id]
            publications.append(Publication(board, self.partition, self.epoch, since, position, entries, each.hidden))
        return publications

    def _hidden(self, by_tenant: Mapping[UUID, Sequence[LoggedEvent]], outcomes: Mapping[UUID, ScoringOutcome]) -> list[Touched]:
        """What the events add to the standings that rescores build beside those that are shown.

        It is the same, but for events that were accepted before the rescore began and are scored after: these count by its rules.
        """
        found = []
        for tenant_id, events in by_tenant.items():
            for rescore in self._known[tenant_id].rescores:
                if all(event.accepted_at >= rescore.valid_from for event in events):
                    scores = outcomes[tenant_id].boards.get(rescore.board_id, {}).get(rescore.window_key)
                else:
                    book = self._known[tenant_id].rescore_book(rescore)
                    scores = window_scores(book, events, rescore, rescore.closes_at or NEVER)
                if scores is not None and scores.by_user:
                    found.append(Touched(tenant_id, rescore.board_id, rescore.rescore_id, scores, hidden=True))
        return found

    async def _learn_boards(self, connection: Connection, touched: Sequence[Touched]) -> None:
        unknown: dict[UUID, list[ShownWindow]] = defaultdict(list)
        for each in touched:
            if each.standings_id not in self._known[each.tenant_id].boards:
                unknown[each.tenant_id].append(ShownWindow(each.board_id, each.standings_id, each.scores.span.starts_at))
        for tenant_id, wanted in unknown.items():
            self._known[tenant_id].boards |= await ranked_boards(connection, tenant_id, wanted)
