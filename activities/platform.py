"""The platform's maintenance, some pages in each activity: a run that is killed goes on where its last activity ended."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from time import monotonic
from uuid import UUID

from temporalio import activity

from activities.heartbeat import heartbeats
from domain import limits
from domain.maintenance import PlatformRun, PlatformTask, added
from runtime.ids import utc_now
from runtime.postgres import Connection, Pool, transaction
from storage import outbox
from storage.event.retention import EVENT_KEYS, USAGE, drop_event_partitions, forget_dead_letters, forget_in_blocks
from storage.idempotency import forget_answers
from storage.points.maintenance import AccountPlace, PendingPlace, activate_page, expire_page, notice_page
from storage.points.tier import NOBODY, end_periods, review_changed_sets
from storage.tenant.audit import forget_token_entries
from storage.tenant.erased_name import forget_erased_names
from storage.webhook.delivery import forget_deliveries

PAGE = 100
ROWS = 5000
SHIFT_SECONDS = 20.0
"""After that long an activity hands back what it did, so that the run's details show it."""

KEEP_SENT = timedelta(days=7)
KEEP_ANSWERS = timedelta(hours=48)
"""Contract 1 promises answers under idempotency keys for at least 24 h."""
KEEP_DELIVERIES = timedelta(days=30)
KEEP_TOKEN_ENTRIES = timedelta(days=limits.TOKEN_ENTRY_DAYS.value)
KEEP_NAMES = timedelta(days=2)
"""Tokens of the platform live for a day at most."""

DAYS_DROPPED = "days of events"

Walk = Callable[[Connection, Sequence[str]], Awaitable[tuple[int, Sequence[str] | None]]]
"""One page of a step behind a place, () at first: how many it did, and the place where the next one goes on, None at the end."""
Pass = Callable[[Connection], Awaitable[int]]


class PlatformActivities:
    """Each page is a transaction of its own and safe to repeat: what was done is not due any more."""

    def __init__(self, pool: Pool, event_retention_days: int) -> None:
        self._pool = pool
        self._keep_events = timedelta(days=event_retention_days)

    @activity.defn(name="run_platform_task")
    async def run(self, given: PlatformRun) -> PlatformRun:
        """Go on with a run for a shift; answers where the next one goes on, or that it is over."""
        async with heartbeats():
            return await self._shift(given)

    async def _shift(self, given: PlatformRun) -> PlatformRun:
        steps = self._steps(given.task)
        until, done = monotonic() + SHIFT_SECONDS, given.done
        number, after = int(given.cursor[0]) if given.cursor else 0, given.cursor[1:]
        while number < len(steps):
            name, step = steps[number]
            async with transaction(self._pool) as connection:
                count, following = await step(connection, after)
            done = added(done, {name: count})
            number, after = (number + 1, []) if following is None else (number, list(following))
            if given.task is PlatformTask.CLEAN_UP and name == DAYS_DROPPED and not done[name]:
                number += len(self._along_with_days())
            cursor = [str(number), *after]
            if monotonic() > until and number < len(steps):
                return PlatformRun(task=given.task, cursor=cursor, done=done)
        return PlatformRun(task=given.task, done=done, is_over=True)

    def _steps(self, task: PlatformTask) -> list[tuple[str, Walk]]:
        if task is PlatformTask.PENDING_ACTIVATION:
            return [("accounts activated", _activate)]
        if task is PlatformTask.POINTS_EXPIRY:
            return [("accounts expired", _by_account(expire_page)), ("notices sent", _by_account(notice_page))]
        if task is PlatformTask.TIER_REVIEW:
            return [
                ("periods ended", _until_none(lambda c: end_periods(c, utc_now(), PAGE))),
                ("users reviewed", _review),
            ]
        return self._clean_up()

    def _old(self) -> datetime:
        return utc_now() - self._keep_events

    def _along_with_days(self) -> list[tuple[str, Walk]]:
        """What is kept as long as events are. It has no index by age, which every event would pay for: read once when a day has gone."""
        return [("event keys", self._in_blocks(table)) for table in EVENT_KEYS] + [("uses of caps", self._in_blocks(USAGE))]

    def _in_blocks(self, table: str) -> Walk:
        async def walk(connection: Connection, after: Sequence[str]) -> tuple[int, Sequence[str] | None]:
            count, following = await forget_in_blocks(connection, table, self._old(), int(after[0]) if after else 0)
            return count, None if following is None else [str(following)]

        return walk

    def _clean_up(self) -> list[tuple[str, Walk]]:
        return [
            (DAYS_DROPPED, _once(lambda c: drop_event_partitions(c, self._old()))),
            *self._along_with_days(),
            ("dead letters", _while_full(lambda c: forget_dead_letters(c, self._old(), ROWS))),
            ("sent commands", _while_full(lambda c: outbox.forget_sent(c, utc_now() - KEEP_SENT, ROWS))),
            ("idempotent answers", _while_full(lambda c: forget_answers(c, utc_now() - KEEP_ANSWERS, ROWS))),
            ("erased names", _while_full(lambda c: forget_erased_names(c, utc_now() - KEEP_NAMES, ROWS))),
            ("deliveries", _while_full(lambda c: forget_deliveries(c, utc_now() - KEEP_DELIVERIES, ROWS))),
            ("entries of tokens", _while_full(lambda c: forget_token_entries(c, utc_now() - KEEP_TOKEN_ENTRIES, ROWS))),
        ]


AccountPage = Callable[[Connection, AccountPlace | None, datetime, int], Awaitable[tuple[int, AccountPlace | None]]]


def _by_account(page: AccountPage) -> Walk:
    async def walk(connection: Connection, after: Sequence[str]) -> tuple[int, Sequence[str] | None]:
        count, following = await page(connection, AccountPlace.of(after) if after else None, utc_now(), PAGE)
        return count, None if following is None else following.words()

    return walk


async def _activate(connection: Connection, after: Sequence[str]) -> tuple[int, Sequence[str] | None]:
    place = PendingPlace.of(after) if after else None
    count, following = await activate_page(connection, place, utc_now(), PAGE)
    return count, None if following is None else following.words()


async def _review(connection: Connection, after: Sequence[str]) -> tuple[int, Sequence[str] | None]:
    place = (UUID(after[0]), UUID(after[1])) if after else (NOBODY, NOBODY)
    count, following = await review_changed_sets(connection, place, utc_now(), PAGE)
    return count, None if following is None else [str(each) for each in following]


def _until_none(step: Pass) -> Walk:
    async def walk(connection: Connection, after: Sequence[str]) -> tuple[int, Sequence[str] | None]:
        count = await step(connection)
        return count, after if count else None

    return walk


def _while_full(step: Pass) -> Walk:
    async def walk(connection: Connection, after: Sequence[str]) -> tuple[int, Sequence[str] | None]:
        count = await step(connection)
        return count, after if count == ROWS else None

    return walk


def _once(step: Pass) -> Walk:
    async def walk(connection: Connection, _: Sequence[str]) -> tuple[int, Sequence[str] | None]:
        return await step(connection), None

    return walk
