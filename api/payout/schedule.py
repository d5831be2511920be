"""Payout schedules over HTTP (contract 4, Payout schedules)."""

from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, Response, delete, get, patch, post
from msgspec import Meta, structs

from api.declared import As, PartOf
from api.idempotency import idempotent, write_of
from api.if_match import check_version
from api.pagination import Page
from api.principal import Principal
from api.rule import ADMIN, ADMIN_READING
from domain.errors import IdempotencyConflict, LimitReached, ValidationError, VersionConflict
from domain.leaderboard.definition import TimeframeType
from domain.payout.run import payout_workflow_id
from domain.payout.run_wire import ScheduleRunListAnswer, Total, run_answer
from domain.payout.schedule import (
    LeaderboardTop,
    Note,
    Schedule,
    ScheduleBody,
    TierMembers,
    audience_wire,
    due_wire,
    parse_schedule,
    temporal_schedule_id,
)
from domain.payout.schedule_wire import (
    ScheduleAnswer,
    ScheduleListAnswer,
    Upcoming,
    schedule_answer,
    schedule_body_wire,
    upcoming,
)
from domain.reward.config import kept_budget
from domain.wire import ExternalId, GivenInstant, Id, Instant, Number, convert_value, rfc3339, score_number
from loops.relay import Relay
from runtime.ids import new_id, utc_now
from runtime.postgres import Connection, Pool, transaction
from storage.leaderboard.definition import find_board
from storage.payout.run_list import RunFilter, list_runs
from storage.payout.schedule import (
    Definition,
    change_schedule,
    find_any_schedule,
    find_schedule,
    history_of,
    insert_schedule,
)
from storage.payout.schedule import archive_schedule as put_away
from storage.payout.schedule import list_schedules as stored_schedules
from storage.payout.schedule_preview import PlannedRun, preview
from storage.payout.schedule_run import backfill_runs, trigger_run
from storage.points.currency import currencies_of
from storage.points.tier import tier_set_of
from storage.reward.config import check_config, run_config_at
from storage.reward.item import items_by_id

AnyRequest = Request[Any, Any, Any]
SHOWN_RECIPIENTS = 100
MAX_SHOWN_RECIPIENTS = 1000
EARLIEST_YEAR = 1971


class PauseBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why; the schedule keeps it as its note."""

    note: Note | None = None


class PreviewBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which instant to imagine; without one, now."""

    instant: GivenInstant | None = None


class TriggerBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A trigger says nothing more."""


class BackfillBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"start": "from", "end": "to"}):
    """The instants with from ≤ instant < to."""

    start: Annotated[GivenInstant, Meta(examples=["2025-11-04T00:00:00Z"])]
    end: Annotated[GivenInstant, Meta(examples=["2025-11-18T00:00:00Z"])]


class PreviewParams(msgspec.Struct, frozen=True, kw_only=True):
    """How much of a preview."""

    limit: Annotated[int, Meta(ge=1, le=MAX_SHOWN_RECIPIENTS, description="How many recipients at most")] = SHOWN_RECIPIENTS


class PreviewItem(msgspec.Struct, frozen=True, kw_only=True):
    """An item that somebody would get."""

    item_id: Id
    name: str
    reward_type: str
    reward_value: Any


class PreviewEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who would get something."""

    user_id: Id
    external_user_id: ExternalId
    rank: Annotated[int | None, Meta(examples=[1])]
    score: Number | None
    tier: Annotated[str | None, Meta(description="The name of the config's tier")]
    items: list[PreviewItem]


class SchedulePreviewAnswer(Upcoming, frozen=True, kw_only=True):
    """Who would get what if the schedule ran at `instant`."""

    schedule_id: Id
    instant: Instant
    waiting: Annotated[bool, Meta(description="Whether the window that it would pay is still closing")]
    empty_reason: Annotated[str | None, Meta(description="Why nobody would get anything, where that can be said")]
    recipients: Annotated[int, Meta(examples=[120])]
    not_covered: Annotated[int, Meta(description="How many more would fit but for the budget", examples=[0])]
    total: Total
    entries: Annotated[list[PreviewEntry], Meta(description="The first recipients")]


class StartedRun(msgspec.Struct, frozen=True, kw_only=True):
    """The run that was started."""

    run_id: Id


class BackfilledInstants(msgspec.Struct, frozen=True, kw_only=True):
    """The instants that are run now, and those that the overlap skips."""

    instants: list[Instant]
    skipped: list[Instant]


async def _shown(connection: Connection, schedule: Schedule) -> ScheduleAnswer:
    history = await history_of(connection, schedule.tenant_id, schedule.schedule_id)
    return schedule_answer(schedule, history, await _places(connection, schedule.tenant_id), utc_now())


async def _places(connection: Connection, tenant_id: UUID) -> dict[str, int]:
    currencies = await currencies_of(connection, tenant_id)
    return {name: currency.decimal_places for name, currency in currencies.items()}


async def _checked(connection: Connection, tenant_id: UUID, value: Any) -> Definition:
    """The body with all that it names found in the tenant; ValidationError names the field of what there is not."""
    body = parse_schedule(value)
    await _check_audience(connection, tenant_id, body)
    given = await _given_items(connection, tenant_id, body)
    budget = kept_budget(body.budget or {}, given, await currencies_of(connection, tenant_id))
    return Definition(
        name=body.name,
        due=due_wire(body),
        audience=audience_wire(body.audience),
        reward_config_id=body.reward_config_id,
        item_ids=body.item_ids,
        budget=budget,
        overlap=body.overlap,
        catchup_seconds=body.catchup_seconds,
        paused=body.paused,
        note=body.note,
    )


async def _check_audience(connection: Connection, tenant_id: UUID, body: ScheduleBody) -> None:
    audience = body.audience
    if isinstance(audience, LeaderboardTop):
        board = await find_board(connection, tenant_id, audience.leaderboard_id)
        if board is None:
            raise ValidationError.of("audience.leaderboard_id", "does not exist")
        if audience.window == "latest_closed" and board.config.timeframe.type is TimeframeType.ALL_TIME:
            raise ValidationError.of("audience.window", "must be current: an all-time board never closes")
    elif isinstance(audience, TierMembers):
        known = {tier.name for tier in (await tier_set_of(connection, tenant_id)).tiers}
        for number, name in enumerate(audience.names):
            if name not in known:
                raise ValidationError.of(f"audience.names[{number}]", "does not exist")


async def _given_items(connection: Connection, tenant_id: UUID, body: ScheduleBody) -> set[UUID]:
    """The items that a run may give, which its budget may limit."""
    if body.reward_config_id is not None:
        await check_config(connection, tenant_id, body.reward_config_id)
        return set((await run_config_at(connection, tenant_id, body.reward_config_id, utc_now())).items)
    wanted = body.item_ids or []
    found = await items_by_id(connection, tenant_id, wanted)
    for number, item_id in enumerate(wanted):
        if item_id not in found:
            raise ValidationError.of(f"item_ids[{number}]", "is not a reward item of this tenant")
    return set(found)


@post("/v1/admin/schedules", rule=ADMIN, status_code=201, refusals=(LimitReached,))
async def create_schedule(
    data: Annotated[dict[str, Any], As(ScheduleBody)], principal: Principal, pool: Pool, relay: Relay
) -> ScheduleAnswer:
    """Create a schedule. It pays instants from now on."""
    async with transaction(pool) as connection:
        definition = await _checked(connection, principal.tenant_id, data)
        schedule = await insert_schedule(connection, principal.tenant_id, new_id(), definition, now=utc_now())
        shown = await _shown(connection, schedule)
    relay.try_start(temporal_schedule_id(schedule.tenant_id, schedule.schedule_id))
    return shown


@get("/v1/admin/schedules", rule=ADMIN)
async def list_schedules(principal: Principal, pool: Pool, page: Page) -> ScheduleListAnswer:
    """List payout schedules, newest first."""
    async with transaction(pool) as connection:
        schedules = await stored_schedules(connection, principal.tenant_id, after=page.after_id(), limit=page.limit)
        shown = [await _shown(connection, schedule) for schedule in schedules]
    return ScheduleListAnswer(schedules=shown, next_cursor=page.cursor_of(schedules, "schedule_id"))


@get("/v1/admin/schedules/{schedule_id:uuid}", rule=ADMIN)
async def get_schedule(schedule_id: UUID, principal: Principal, pool: Pool) -> ScheduleAnswer:
    """Get a schedule with its next 10 instants."""
    async with transaction(pool) as connection:
        return await _shown(connection, await find_schedule(connection, principal.tenant_id, schedule_id))


async def _change(request: AnyRequest, principal: Principal, pool: Pool, schedule_id: UUID, *, changes: dict[str, Any]) -> ScheduleAnswer:
    """Change the given fields in one transaction; what is given is checked as in a new schedule."""
    async with transaction(pool) as connection:
        present = await find_schedule(connection, principal.tenant_id, schedule_id, lock=True)
        check_version(request, present.version)
        body = schedule_body_wire(present, await _places(connection, principal.tenant_id)) | changes
        for one, other in (("item_ids", "reward_config_id"), ("reward_config_id", "item_ids")):
            if changes.get(one) is not None and other not in changes:
                body[other] = None
        definition = await _checked(connection, principal.tenant_id, body)
        return await _shown(connection, await change_schedule(connection, present, definition, utc_now()))


@patch("/v1/admin/schedules/{schedule_id:uuid}", rule=ADMIN, refusals=(VersionConflict,))
async def update_schedule(  # its changes, and what makes them
    schedule_id: UUID,
    data: Annotated[dict[str, Any], PartOf(ScheduleBody)],
    request: AnyRequest,
    principal: Principal,
    pool: Pool,
    relay: Relay,
) -> ScheduleAnswer:
    """Change the given fields. Past instants do not change."""
    shown = await _change(request, principal, pool, schedule_id, changes=data)
    relay.try_start(shown.temporal_schedule_id)
    return shown


@delete("/v1/admin/schedules/{schedule_id:uuid}", rule=ADMIN, status_code=204, refusals=(VersionConflict,))
async def archive_schedule(schedule_id: UUID, request: AnyRequest, principal: Principal, pool: Pool, relay: Relay) -> None:
    """Archive a schedule. It pays no more; its runs remain, and runs in progress continue."""
    async with transaction(pool) as connection:
        present = await find_schedule(connection, principal.tenant_id, schedule_id, lock=True)
        check_version(request, present.version)
        await put_away(connection, present, utc_now())
    relay.try_start(temporal_schedule_id(principal.tenant_id, schedule_id))


async def _set_paused(paused: bool, schedule_id: UUID, request: AnyRequest, principal: Principal, *, pool: Pool) -> ScheduleAnswer:
    raw = await request.body()
    body = convert_value(await request.json() if raw else {}, PauseBody)
    note = {} if body.note is None else {"note": body.note}
    async with transaction(pool) as connection:
        present = await find_schedule(connection, principal.tenant_id, schedule_id, lock=True)
        check_version(request, present.version)
        values = {name: getattr(present, name) for name in Definition.__struct_fields__} | {"paused": paused} | note
        return await _shown(connection, await change_schedule(connection, present, Definition(**values), utc_now()))


@post("/v1/admin/schedules/{schedule_id:uuid}/pause", rule=ADMIN, status_code=200, body=PauseBody, refusals=(VersionConflict,))
async def pause_schedule(schedule_id: UUID, request: AnyRequest, principal: Principal, pool: Pool, relay: Relay) -> ScheduleAnswer:
    """Pause a schedule: instants are not paid from now on. `{"note"}` gives the reason."""
    shown = await _set_paused(True, schedule_id, request, principal, pool=pool)
    relay.try_start(shown.temporal_schedule_id)
    return shown


@post("/v1/admin/schedules/{schedule_id:uuid}/resume", rule=ADMIN, status_code=200, body=PauseBody, refusals=(VersionConflict,))
async def resume_schedule(schedule_id: UUID, request: AnyRequest, principal: Principal, pool: Pool, relay: Relay) -> ScheduleAnswer:
    """Resume a schedule: instants are paid from now on. Instants during the pause stay unpaid; a backfill pays them."""
    shown = await _set_paused(False, schedule_id, request, principal, pool=pool)
    relay.try_start(shown.temporal_schedule_id)
    return shown


@post("/v1/admin/schedules/{schedule_id:uuid}/preview", rule=ADMIN_READING, status_code=200, body=PreviewBody)
async def preview_schedule(
    schedule_id: UUID, params: PreviewParams, request: AnyRequest, principal: Principal, pool: Pool
) -> SchedulePreviewAnswer:
    """Preview who would get what if the schedule ran now, or at `instant`. Writes nothing. Shows the first `limit` recipients."""
    body = convert_value(await request.json() if await request.body() else {}, PreviewBody)
    now = utc_now()
    async with pool.connection() as connection:
        schedule = await find_schedule(connection, principal.tenant_id, schedule_id)
        found = await preview(connection, schedule, body.instant or now, limit=params.limit)
    return SchedulePreviewAnswer(
        schedule_id=schedule_id,
        instant=rfc3339(body.instant or now),
        waiting=found.is_waiting,
        empty_reason=found.empty_reason,
        recipients=found.recipients,
        not_covered=found.not_covered,
        total=found.total,
        entries=[_entry(found, row) for row in found.shown],
        **structs.asdict(upcoming(schedule, now)),
    )


def _entry(found: PlannedRun, row: dict[str, Any]) -> PreviewEntry:
    items = [found.config.items[item_id] for item_id in found.config.tiers[row["number"]].item_ids]
    return PreviewEntry(
        user_id=UUID(row["user_id"]),
        external_user_id=row["external_user_id"],
        rank=row["rank"],
        score=None if row["score"] is None else score_number(row["score"]),
        tier=row["name"],
        items=[
            PreviewItem(item_id=item.item_id, name=item.name, reward_type=item.reward_type, reward_value=item.reward_value)
            for item in items
        ],
    )


@post("/v1/admin/schedules/{schedule_id:uuid}/trigger", rule=ADMIN, status_code=202, body=TriggerBody, refusals=(IdempotencyConflict,))
async def trigger_schedule(schedule_id: UUID, request: AnyRequest, principal: Principal, pool: Pool, relay: Relay) -> Response[StartedRun]:
    """Run a schedule now, even if it is paused or another run is in progress. Retry with the same idempotency key."""
    body = convert_value(await request.json() if await request.body() else {}, TriggerBody)
    made: list[UUID] = []

    async def effect(connection: Connection) -> StartedRun:
        schedule = await find_schedule(connection, principal.tenant_id, schedule_id, lock=True)
        made.append(await trigger_run(connection, schedule, utc_now()))
        return StartedRun(run_id=made[0])

    answer = await idempotent(pool, write_of(request, principal, msgspec.to_builtins(body), status=202), effect)
    for run_id in made:
        relay.try_start(payout_workflow_id(principal.tenant_id, run_id))
    return answer


@post("/v1/admin/schedules/{schedule_id:uuid}/backfill", rule=ADMIN, status_code=202, refusals=(IdempotencyConflict,))
async def backfill_schedule(
    schedule_id: UUID, data: Annotated[dict[str, Any], As(BackfillBody)], request: AnyRequest, principal: Principal, pool: Pool
) -> Response[BackfilledInstants]:
    """Run past instants with `from` ≤ instant < `to` that have no run, by the `when` in force at each, at most 1000."""
    body = convert_value(data, BackfillBody)
    if body.start >= body.end:
        raise ValidationError.of("to", "must be after from")
    if body.start.year < EARLIEST_YEAR:
        raise ValidationError.of("from", f"must be in {EARLIEST_YEAR} or later")

    async def effect(connection: Connection) -> BackfilledInstants:
        schedule = await find_schedule(connection, principal.tenant_id, schedule_id, lock=True)
        found = await backfill_runs(connection, schedule, body.start, body.end, now=utc_now())
        return BackfilledInstants(instants=[rfc3339(each) for each in found.instants], skipped=[rfc3339(each) for each in found.skipped])

    return await idempotent(pool, write_of(request, principal, data, status=202), effect)


@get("/v1/admin/schedules/{schedule_id:uuid}/runs", rule=ADMIN)
async def list_schedule_runs(schedule_id: UUID, principal: Principal, pool: Pool, page: Page) -> ScheduleRunListAnswer:
    """List a schedule's runs, newest first, even if it was deleted."""
    async with transaction(pool) as connection:
        if await find_any_schedule(connection, principal.tenant_id, schedule_id) is None:
            await find_schedule(connection, principal.tenant_id, schedule_id)
        wanted = RunFilter(schedule_id=schedule_id, before=page.after_id(), limit=page.limit)
        runs = await list_runs(connection, principal.tenant_id, wanted)
    return ScheduleRunListAnswer(runs=[run_answer(run) for run in runs], next_cursor=page.cursor_of(runs, "payout_run_id"))


routes: list[Any] = [
    create_schedule,
    list_schedules,
    get_schedule,
    update_schedule,
    archive_schedule,
    pause_schedule,
    resume_schedule,
    preview_schedule,
    trigger_schedule,
    backfill_schedule,
    list_schedule_runs,
]
