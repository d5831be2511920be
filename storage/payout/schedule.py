"""Payout schedules: kept with every `when` that they had. Each change tells Temporal through the outbox; PostgreSQL is the truth."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from psycopg.types.json import Jsonb

from domain import limits
from domain.errors import NotFound
from domain.payout.recurrence import WhenVersion, load_when
from domain.payout.schedule import Overlap, Schedule, temporal_schedule_id
from runtime.postgres import Connection
from storage import outbox
from storage.limit import check_room
from storage.walk import Place, WalkPage, walk_page

COLUMNS = """tenant_id, schedule_id, name, due, audience, reward_config_id, item_ids, budget, overlap, catchup_seconds, paused, note,
    version, settled_until, created_at, updated_at, archived_at"""
_MICROSECOND = timedelta(microseconds=1)


class Definition(msgspec.Struct, frozen=True, kw_only=True):
    """What a schedule is made of, checked. `due` is the `when`, `budget` in smallest units."""

    name: str
    due: dict[str, Any]
    audience: dict[str, Any]
    reward_config_id: UUID | None
    item_ids: list[UUID] | None
    budget: dict[str, int]
    overlap: Overlap
    catchup_seconds: int
    paused: bool
    note: str | None


def _values(definition: Definition) -> dict[str, Any]:
    values = {name: getattr(definition, name) for name in definition.__struct_fields__}
    jsons = {name: Jsonb(values[name]) for name in ("due", "audience", "budget")}
    return values | jsons | {"overlap": definition.overlap.value}


async def insert_schedule(connection: Connection, tenant_id: UUID, schedule_id: UUID, definition: Definition, *, now: datetime) -> Schedule:
    """Keep a new schedule; Temporal is told at commit. It owes the instants from now on."""
    await check_room(connection, tenant_id, limits.SCHEDULES)
    cursor = await connection.execute(
        f"""
        INSERT INTO payout_schedule (tenant_id, schedule_id, name, due, audience, reward_config_id, item_ids, budget, overlap,
                                     catchup_seconds, paused, note, settled_until, created_at, updated_at)
        VALUES (%(tenant_id)s, %(schedule_id)s, %(name)s, %(due)s, %(audience)s, %(reward_config_id)s, %(item_ids)s, %(budget)s,
                %(overlap)s, %(catchup_seconds)s, %(paused)s, %(note)s, %(now)s, %(now)s, %(now)s)
        RETURNING {COLUMNS}
        """,
        {"tenant_id": tenant_id, "schedule_id": schedule_id, "now": now, **_values(definition)},
    )
    schedule = msgspec.convert(await cursor.fetchone(), Schedule)
    await _remember_when(connection, schedule, now)
    await _tell_temporal(connection, schedule)
    return schedule


async def find_schedule(connection: Connection, tenant_id: UUID, schedule_id: UUID, *, lock: bool = False) -> Schedule:
    """The schedule; NotFound, also for one that was deleted. `lock` keeps it until the end of the transaction."""
    schedule = await find_any_schedule(connection, tenant_id, schedule_id, lock=lock)
    if schedule is None or schedule.archived_at is not None:
        raise NotFound("Schedule not found")
    return schedule


async def find_any_schedule(connection: Connection, tenant_id: UUID, schedule_id: UUID, *, lock: bool = False) -> Schedule | None:
    """The schedule, deleted or not, or None."""
    cursor = await connection.execute(
        f"SELECT {COLUMNS} FROM payout_schedule WHERE tenant_id = %s AND schedule_id = %s" + (" FOR NO KEY UPDATE" if lock else ""),
        (tenant_id, schedule_id),
    )
    row = await cursor.fetchone()
    return None if row is None else msgspec.convert(row, Schedule)


async def list_schedules(connection: Connection, tenant_id: UUID, *, after: UUID | None, limit: int) -> list[Schedule]:
    """The tenant's schedules newest first, behind `after`."""
    cursor = await connection.execute(
        f"""
        SELECT {COLUMNS} FROM payout_schedule
        WHERE tenant_id = %(tenant_id)s AND archived_at IS NULL AND (%(after)s::uuid IS NULL OR schedule_id < %(after)s)
        ORDER BY schedule_id DESC LIMIT %(limit)s
        """,
        {"tenant_id": tenant_id, "after": after, "limit": limit},
    )
    return [msgspec.convert(row, Schedule) for row in await cursor.fetchall()]


async def change_schedule(connection: Connection, present: Schedule, definition: Definition, now: datetime) -> Schedule:
    """Write the changed schedule (lock it before); a changed `when` or pause holds from now on. Temporal is told at commit."""
    if all(getattr(present, name) == getattr(definition, name) for name in definition.__struct_fields__):
        return present
    cursor = await connection.execute(
        f"""
        UPDATE payout_schedule SET name = %(name)s, due = %(due)s, audience = %(audience)s, reward_config_id = %(reward_config_id)s,
            item_ids = %(item_ids)s, budget = %(budget)s, overlap = %(overlap)s, catchup_seconds = %(catchup_seconds)s, paused = %(paused)s,
            note = %(note)s, version = version + 1, settled_until = least(settled_until, %(now)s), updated_at = %(now)s
        WHERE tenant_id = %(tenant_id)s AND schedule_id = %(schedule_id)s RETURNING {COLUMNS}
        """,
        {"tenant_id": present.tenant_id, "schedule_id": present.schedule_id, "now": now, **_values(definition)},
    )
    changed = msgspec.convert(await cursor.fetchone(), Schedule)
    if (changed.due, changed.paused) != (present.due, present.paused):
        last = (await history_of(connection, present.tenant_id, present.schedule_id))[-1]
        await _remember_when(connection, changed, max(now, last.valid_from + _MICROSECOND))
    await _tell_temporal(connection, changed)
    return changed


async def archive_schedule(connection: Connection, present: Schedule, now: datetime) -> None:
    """Delete the schedule: it is due no more. Its runs stay, and those under way go on."""
    await connection.execute(
        "UPDATE payout_schedule SET archived_at = %s, updated_at = %s, version = version + 1 WHERE tenant_id = %s AND schedule_id = %s",
        (now, now, present.tenant_id, present.schedule_id),
    )
    await _tell_temporal(connection, msgspec.structs.replace(present, version=present.version + 1))


async def _remember_when(connection: Connection, schedule: Schedule, valid_from: datetime) -> None:
    await connection.execute(
        "INSERT INTO payout_schedule_when (tenant_id, schedule_id, valid_from, due, paused) VALUES (%s, %s, %s, %s, %s)",
        (schedule.tenant_id, schedule.schedule_id, valid_from, Jsonb(schedule.due), schedule.paused),
    )


async def _tell_temporal(connection: Connection, schedule: Schedule) -> None:
    """The relay reads the schedule as it is then, so the command says no more than which one."""
    entry = outbox.OutboxCommand(
        kind="schedule",
        workflow_id=temporal_schedule_id(schedule.tenant_id, schedule.schedule_id),
        name=f"version:{schedule.version}",
        argument={"schedule_id": str(schedule.schedule_id)},
    )
    await outbox.enqueue(connection, schedule.tenant_id, entry)


async def history_of(connection: Connection, tenant_id: UUID, schedule_id: UUID) -> list[WhenVersion]:
    """Every `when` of the schedule, the oldest first, and when it was paused."""
    cursor = await connection.execute(
        """
        SELECT valid_from, due, paused FROM payout_schedule_when WHERE tenant_id = %s AND schedule_id = %s ORDER BY valid_from
        """,
        (tenant_id, schedule_id),
    )
    return [WhenVersion(valid_from=row["valid_from"], when=load_when(row["due"]), paused=row["paused"]) for row in await cursor.fetchall()]


async def live_schedules(connection: Connection, after: Place | None, limit: int) -> WalkPage[Schedule, Place]:
    """Schedules of all tenants that are not deleted, behind (tenant, schedule): what Temporal should have."""
    cursor = await connection.execute(
        f"""
        SELECT {COLUMNS} FROM payout_schedule
        WHERE archived_at IS NULL AND (%(tenant)s::uuid IS NULL OR (tenant_id, schedule_id) > (%(tenant)s, %(schedule)s))
        ORDER BY tenant_id, schedule_id LIMIT %(limit)s
        """,
        {"tenant": after and after[0], "schedule": after and after[1], "limit": limit},
    )
    return walk_page(
        await cursor.fetchall(), lambda row: msgspec.convert(row, Schedule), lambda row: (row["tenant_id"], row["schedule_id"])
    )


async def unsettled_schedules(
    connection: Connection, before: datetime, after: tuple[datetime, UUID] | None, limit: int
) -> WalkPage[Schedule, tuple[datetime, UUID]]:
    """A page of the schedules of all tenants that may have been due before this instant without anybody having looked, the oldest first.

    Those of suspended tenants wait. `after` is (`settled_until`, id) of the last one of the page before: a walk comes past each once,
    whatever settling it did.
    """
    cursor = await connection.execute(
        f"""
        SELECT {COLUMNS} FROM payout_schedule
        WHERE archived_at IS NULL AND settled_until < %(before)s
          AND NOT EXISTS (SELECT FROM tenant WHERE tenant.tenant_id = payout_schedule.tenant_id AND tenant.status = 'suspended')
          AND (%(settled)s::timestamptz IS NULL OR (settled_until, schedule_id) > (%(settled)s, %(last)s))
        ORDER BY settled_until, schedule_id LIMIT %(limit)s
        """,
        {"before": before, "settled": after and after[0], "last": after and after[1], "limit": limit},
    )
    return walk_page(
        await cursor.fetchall(), lambda row: msgspec.convert(row, Schedule), lambda row: (row["settled_until"], row["schedule_id"])
    )


async def settle_until(connection: Connection, schedule: Schedule, until: datetime) -> None:
    """Every instant before this one is done with, or does not exist."""
    await connection.execute(
        "UPDATE payout_schedule SET settled_until = greatest(settled_until, %s) WHERE tenant_id = %s AND schedule_id = %s",
        (until, schedule.tenant_id, schedule.schedule_id),
    )


def schedule_ids(schedules: Sequence[Schedule]) -> set[str]:
    """Their ids in Temporal."""
    return {temporal_schedule_id(each.tenant_id, each.schedule_id) for each in schedules}
