"""The platform's own chores, some pages in each activity: a run that is killed goes on where its last activity ended."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from time import monotonic
from uuid import UUID

from temporalio import activity

from domain.platform_task import PlatformRun, PlatformTask, added
from runtime.ids import utc_now
from runtime.postgres import Connection, Pool, transaction
from storage import outbox
from storage.delivery import forget_deliveries
from storage.idempotency import forget_answers
from storage.ledger_chore import FIRST, Cursor, activate_page, expire_page, notice_page
from storage.retention import EVENT_KEY_PARTITIONS, drop_event_partitions, forget_dead_letters, forget_event_keys
from storage.tier import end_periods, review_changed_sets

PAGE = 100
ROWS = 5000
SHIFT_SECONDS = 20.0
"""After that long an activity hands back what it did, so that the run's details show it."""

KEEP_SENT = timedelta(days=7)
KEEP_ANSWERS = timedelta(hours=48)
"""Contract 1 promises answers under idempotency keys for at least 24 h."""
KEEP_DELIVERIES = timedelta(days=30)

Walk = Callable[[Connection, Cursor], Awaitable[tuple[int, Cursor | None]]]
Pass = Callable[[Connection], Awaitable[int]]


class PlatformActivities:
    """Each page is a transaction of its own and safe to repeat: what was done is not due any more."""

    def __init__(self, pool: Pool, event_retention_days: int) -> None:
        self._pool = pool
        self._keep_events = timedelta(days=event_retention_days)

    @activity.defn(name="run_platform_task")
    async def run(self, given: PlatformRun) -> PlatformRun:
        """Go on with a run for a shift; answers where the next one goes on, or that it is over."""
        steps = self._steps(given.task)
        until, done = monotonic() + SHIFT_SECONDS, given.done
        number, after = int(given.cursor[0]) if given.cursor else 0, _cursor(given.cursor[1:])
        while number < len(steps):
            name, step = steps[number]
            async with transaction(self._pool) as connection:
                count, following = await step(connection, after)
            done = added(done, {name: count})
            number, after = (number + 1, (FIRST, FIRST)) if following is None else (number, following)
            cursor = [str(number), *map(str, after)]
            activity.heartbeat(cursor)
            if monotonic() > until and number < len(steps):
                return PlatformRun(task=given.task, cursor=cursor, done=done)
        return PlatformRun(task=given.task, done=done, is_over=True)

    def _steps(self, task: PlatformTask) -> list[tuple[str, Walk]]:
        if task is PlatformTask.PENDING_ACTIVATION:
            return [("accounts activated", _until_none(lambda c: activate_page(c, utc_now(), PAGE)))]
        if task is PlatformTask.POINTS_EXPIRY:
            return [
                ("accounts expired", lambda c, after: expire_page(c, after, utc_now(), PAGE)),
                ("notices sent", lambda c, after: notice_page(c, after, utc_now(), PAGE)),
            ]
        if task is PlatformTask.TIER_REVIEW:
            return [
                ("periods ended", _until_none(lambda c: end_periods(c, utc_now(), PAGE))),
                ("users reviewed", lambda c, after: review_changed_sets(c, after, utc_now(), PAGE)),
            ]
        return self._clean_up()

    def _clean_up(self) -> list[tuple[str, Walk]]:
        def old() -> timedelta:
            return self._keep_events

        keys: list[tuple[str, Walk]] = [
            ("event keys", _while_full(lambda c, part=part: forget_event_keys(c, utc_now() - old(), ROWS, part=part)))  # type: ignore[misc]
            for part in range(EVENT_KEY_PARTITIONS)
        ]
        return [
            ("days of events", _once(lambda c: drop_event_partitions(c, utc_now() - old()))),
            *keys,
            ("dead letters", _while_full(lambda c: forget_dead_letters(c, utc_now() - old(), ROWS))),
            ("sent commands", _while_full(lambda c: outbox.forget_sent(c, utc_now() - KEEP_SENT, ROWS))),
            ("idempotent answers", _while_full(lambda c: forget_answers(c, utc_now() - KEEP_ANSWERS, ROWS))),
            ("deliveries", _while_full(lambda c: forget_deliveries(c, utc_now() - KEEP_DELIVERIES, ROWS))),
        ]


def _cursor(words: list[str]) -> Cursor:
    return (UUID(words[0]), UUID(words[1])) if words else (FIRST, FIRST)


def _until_none(step: Pass) -> Walk:
    async def walk(connection: Connection, after: Cursor) -> tuple[int, Cursor | None]:
        count = await step(connection)
        return count, after if count else None

    return walk


def _while_full(step: Pass) -> Walk:
    async def walk(connection: Connection, after: Cursor) -> tuple[int, Cursor | None]:
        count = await step(connection)
        return count, after if count == ROWS else None

    return walk


def _once(step: Pass) -> Walk:
    async def walk(connection: Connection, _: Cursor) -> tuple[int, Cursor | None]:
        return await step(connection), None

    return walk
