"""The erasure of a user: its name goes at once, everything else step by step (contract 4, Users).

Each step may run again: it looks for what is left. The external id is kept in `erasure` until nothing holds it any more.
"""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from psycopg.types.json import Jsonb

from domain.canonical_json import canonical_json
from domain.errors import UserNotFound
from domain.tenant.erasure import PREFIX, ErasureInput, erase_workflow_id, erased_id, scrubbed
from runtime.postgres import Connection, count_changed
from storage import outbox
from storage.tenant.erased_name import keep_erased_name
from storage.tenant.user import PROFILE_CHANNEL
from storage.walk import FIRST, Place, WalkPage, walk_page

WORKFLOW = "EraseUserWorkflow"
PRIORITY = 4


class Erasure(msgspec.Struct, frozen=True, kw_only=True):
    """Whom to erase: ours and the tenant's id of it, and since when there can be anything of it."""

    tenant_id: UUID
    user_id: UUID
    external_id: str
    created_at: datetime

    @property
    def erased(self) -> str:
        """What stands in the place of the external id."""
        return erased_id(self.user_id)


async def begin_erasure(connection: Connection, tenant_id: UUID, external_id: str, now: datetime) -> ErasureInput:
    """Take the user's name and profile away, and start the workflow at commit. UserNotFound.

    From the commit on the external id is free: who comes with it is a new user. Call `forget_known_users` after it.
    """
    cursor = await connection.execute(
        "SELECT user_id FROM app_user WHERE tenant_id = %s AND external_id = %s FOR UPDATE", (tenant_id, external_id)
    )
    row = await cursor.fetchone()
    if row is None or external_id.startswith(PREFIX):  # what is left of somebody is nobody any more
        raise UserNotFound(f"User '{external_id}' not found")
    given = ErasureInput(tenant_id=tenant_id, user_id=row["user_id"])
    await connection.execute(
        """
        UPDATE app_user SET external_id = %s, display_name = NULL, email = NULL, avatar_url = NULL, attributes = '{}', updated_at = %s
        WHERE tenant_id = %s AND user_id = %s
        """,
        (erased_id(given.user_id), now, tenant_id, given.user_id),
    )
    await connection.execute(
        "INSERT INTO erasure (tenant_id, user_id, external_id, requested_at) VALUES (%s, %s, %s, %s)",
        (tenant_id, given.user_id, external_id, now),
    )
    await keep_erased_name(connection, tenant_id, external_id, now)
    await connection.execute("SELECT pg_notify(%s, %s)", (PROFILE_CHANNEL, f"{tenant_id}:{external_id}"))
    await outbox.enqueue(connection, tenant_id, start_entry(given))
    return given


def start_entry(given: ErasureInput) -> outbox.OutboxCommand:
    """The command that starts the workflow: ids only."""
    return outbox.OutboxCommand(
        kind="start",
        workflow_id=erase_workflow_id(given.tenant_id, given.user_id),
        name=WORKFLOW,
        argument={
            "argument": {"tenant_id": str(given.tenant_id), "user_id": str(given.user_id)},
            "attributes": {"TenantId": str(given.tenant_id)},
            "summary": "A user is erased",
            "task_queue": "chores",
            "priority": PRIORITY,
        },
    )


async def forget_known_users(connection: Connection) -> None:
    """Let every event writer look its users up again. After the commit that erased one, in a transaction of its own."""
    await connection.execute("SELECT nextval('erasure_number')")


async def open_erasure(connection: Connection, given: ErasureInput) -> Erasure | None:
    """The erasure, or None when it is complete."""
    cursor = await connection.execute(
        """
        SELECT e.tenant_id, e.user_id, e.external_id, u.created_at FROM erasure AS e JOIN app_user AS u USING (tenant_id, user_id)
        WHERE e.tenant_id = %s AND e.user_id = %s AND e.completed_at IS NULL
        """,
        (given.tenant_id, given.user_id),
    )
    row = await cursor.fetchone()
    return None if row is None else msgspec.convert(row, Erasure)


async def unfinished_erasures(connection: Connection, before: datetime, after: Place | None, limit: int) -> WalkPage[ErasureInput, Place]:
    """A page of the erasures of all tenants that were asked for before this instant and are not complete, by (tenant, user)."""
    cursor = await connection.execute(
        """
        SELECT tenant_id, user_id FROM erasure WHERE completed_at IS NULL AND requested_at < %s AND (tenant_id, user_id) > (%s, %s)
        ORDER BY tenant_id, user_id LIMIT %s
        """,
        (before, *(after or FIRST), limit),
    )
    return walk_page(await cursor.fetchall(), lambda row: ErasureInput(**row), lambda row: (row["tenant_id"], row["user_id"]))


async def scrub_events(connection: Connection, of: Erasure, day: datetime, partitions: int) -> int:
    """Leave of the user's events accepted within 24 h of `day` what says nothing of the person; how many there were."""
    return await count_changed(
        connection,
        """
        WITH mine AS (
            SELECT scoring_partition, position, accepted_at, event_id, sender FROM event_log
            WHERE scoring_partition = get_byte(uuid_send(%(user)s), 15) %% %(partitions)s AND accepted_at >= %(from)s
              AND accepted_at < %(to)s AND tenant_id = %(tenant)s AND user_id = %(user)s AND external_user_id <> %(erased)s
        ), keys AS (
            UPDATE event_key AS k SET sender = concat('g:', %(erased)s::text) FROM mine
            WHERE k.tenant_id = %(tenant)s AND k.event_id = mine.event_id AND k.sender = mine.sender AND mine.sender <> ''
        ), letters AS (
            UPDATE dead_letter AS d SET reason = 'erased' FROM mine WHERE d.tenant_id = %(tenant)s AND d.position = mine.position
        )
        UPDATE event_log AS e SET external_user_id = %(erased)s,
            sender = CASE WHEN e.sender = '' THEN '' ELSE concat('g:', %(erased)s::text) END,
            body = convert_to(json_build_object('event_id', e.event_id, 'type', e.type,
                                                'actor', json_build_object('user_id', %(erased)s::text),
                                                'occurred_at', to_char(e.occurred_at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))::text, 'UTF8')
        FROM mine WHERE e.scoring_partition = mine.scoring_partition AND e.position = mine.position AND e.accepted_at = mine.accepted_at
          AND e.tenant_id = %(tenant)s
        """,
        {
            "tenant": of.tenant_id,
            "user": of.user_id,
            "erased": of.erased,
            "partitions": partitions,
            "from": day,
            "to": day + timedelta(days=1),
        },
    )


RENAMED = ("redemption", "standing", "snapshot_entry", "payout_recipient")
"""Tables that hold a user's external id beside its uuid. The event log is scrubbed apart."""
LISTING = ("payout_schedule", "payout_run")
"""Tables whose audience may list users by their external ids."""


async def rename(connection: Connection, of: Erasure) -> None:
    """Put the erased id in the place of the external id in every table, and empty what the user filled in."""
    for table in RENAMED:
        within = f"AND window_id IN ({WINDOWS})" if table in ("standing", "snapshot_entry") else ""
        await connection.execute(
            f"UPDATE {table} SET external_user_id = %(erased)s WHERE tenant_id = %(tenant)s AND user_id = %(user)s"
            f" AND external_user_id <> %(erased)s {within}",
            {"tenant": of.tenant_id, "user": of.user_id, "erased": of.erased},
        )
    until = await _next_holder_since(connection, of)
    for table in LISTING:
        await connection.execute(
            f"""
            UPDATE {table} SET audience = jsonb_set(audience, '{{external_ids}}', (
                SELECT jsonb_agg(CASE WHEN listed = to_jsonb(%(external)s::text) THEN to_jsonb(%(erased)s::text) ELSE listed END)
                FROM jsonb_array_elements(audience -> 'external_ids') AS listed
            )) WHERE tenant_id = %(tenant)s AND audience -> 'external_ids' @> to_jsonb(%(external)s::text) AND created_at < %(until)s
            """,
            {"tenant": of.tenant_id, "external": of.external_id, "erased": of.erased, "until": until},
        )
    await connection.execute(
        """
        UPDATE redemption SET fields = '{}', fulfillment_data = '{}'
        WHERE tenant_id = %s AND user_id = %s AND (fields <> '{}' OR fulfillment_data <> '{}')
        """,
        (of.tenant_id, of.user_id),
    )
    await connection.execute(
        """
        UPDATE redemption_move AS m SET by = CASE WHEN m.by = %(gamer)s THEN concat('gamer:', %(erased)s::text) ELSE m.by END,
            note = CASE WHEN m.by = %(gamer)s THEN NULL ELSE m.note END
        FROM redemption AS r WHERE r.tenant_id = %(tenant)s AND r.user_id = %(user)s AND m.tenant_id = r.tenant_id
          AND m.redemption_id = r.redemption_id AND m.by = %(gamer)s
        """,
        {"tenant": of.tenant_id, "user": of.user_id, "erased": of.erased, "gamer": f"gamer:{of.external_id}"},
    )


WINDOWS = """SELECT window_id FROM leaderboard_window WHERE tenant_id = %(tenant)s
    UNION ALL SELECT standings_id FROM leaderboard_window WHERE tenant_id = %(tenant)s AND standings_id IS NOT NULL"""

DOCUMENTS = (
    (
        "webhook_delivery",
        ("delivery_id",),
        "convert_from(body, 'UTF8')",
        "body = convert_to(%(value)s, 'UTF8')",
        (
            "(position(convert_to(%(uuid)s, 'UTF8') IN body) > 0"
            " OR (event = 'leaderboard.window_closed' AND created_at < %(until)s"
            " AND position(convert_to(%(ranked)s, 'UTF8') IN body) > 0))"
        ),
    ),
    (
        "idempotency_record",
        ("scope", "key"),
        "convert_from(body, 'UTF8')",
        "body = convert_to(%(value)s, 'UTF8')",
        "(user_id::text = %(uuid)s OR position(convert_to(%(uuid)s, 'UTF8') IN body) > 0)",
    ),
    ("outbox", ("outbox_id",), "argument::text", "argument = %(value)s::jsonb", "argument @> %(attributes)s AND created_at < %(until)s"),
    (
        "audit_log",
        ("audit_id",),
        "jsonb_build_array(before, after, reason)::text",
        "before = nullif(%(value)s::jsonb -> 0, 'null'), after = nullif(%(value)s::jsonb -> 1, 'null'), reason = %(value)s::jsonb ->> 2",
        (
            "(subject_id = ANY(%(subjects)s) OR position(%(uuid)s IN concat(before, after)) > 0"
            " OR created_at < %(until)s AND (subject_id = %(external)s OR before @> ANY(%(named)s) OR after @> ANY(%(named)s)))"
        ),
    ),
)
"""Tables with documents about users: (table, key, the document as text, how it is written back, which rows are about the user).

What is told by the external id alone counts only from before `until`: who has had that id since is another user.
"""


async def scrub_documents(connection: Connection, of: Erasure) -> None:
    """Take the person out of deliveries, stored answers, commands and the audit log."""
    cursor = await connection.execute(
        "SELECT redemption_id FROM redemption WHERE tenant_id = %s AND user_id = %s", (of.tenant_id, of.user_id)
    )
    subjects = [str(of.user_id), *(str(row["redemption_id"]) for row in await cursor.fetchall())]
    names = ("external_id", "external_user_id")
    known = {
        "tenant": of.tenant_id,
        "external": of.external_id,
        "uuid": str(of.user_id),
        "until": await _next_holder_since(connection, of),
        "subjects": subjects,
        "ranked": f'"user_id":{canonical_json(of.external_id).decode()}',
        "attributes": Jsonb({"attributes": {"ExternalUserId": of.external_id}}),
        "named": [*(Jsonb({name: of.external_id}) for name in names), Jsonb({"audience": {"external_ids": [of.external_id]}})],
    }
    for table, key, read, write, about in DOCUMENTS:
        columns = ", ".join(key)
        rows = await (
            await connection.execute(f"SELECT {columns}, {read} AS document FROM {table} WHERE tenant_id = %(tenant)s AND {about}", known)
        ).fetchall()
        same = " AND ".join(f"{column} = %({column})s" for column in key)
        for row in rows:
            value = _scrubbed_text(row["document"], of)
            if value != row["document"]:
                await connection.execute(
                    f"UPDATE {table} SET {write} WHERE tenant_id = %(tenant)s AND {same}", {**row, "tenant": of.tenant_id, "value": value}
                )
    await _scrub_names(connection, of, subjects)


async def _next_holder_since(connection: Connection, of: Erasure) -> datetime:
    """Since when the external id is another user's: from then on it tells of that one, and `datetime.max` while it is nobody's."""
    cursor = await connection.execute(
        "SELECT created_at FROM app_user WHERE tenant_id = %s AND external_id = %s AND user_id <> %s",
        (of.tenant_id, of.external_id, of.user_id),
    )
    row = await cursor.fetchone()
    return datetime.max.replace(tzinfo=UTC) if row is None else row["created_at"]


def _scrubbed_text(document: str, of: Erasure) -> str:
    return msgspec.json.encode(scrubbed(msgspec.json.decode(document), of.external_id, of.erased)).decode()


async def _scrub_names(connection: Connection, of: Erasure, subjects: list[str]) -> None:
    known: dict[str, Any] = {
        "tenant": of.tenant_id,
        "external": of.external_id,
        "erased": of.erased,
        "uuid": str(of.user_id),
        "until": await _next_holder_since(connection, of),
    }
    await connection.execute(
        "UPDATE audit_log SET subject_id = %(erased)s"
        " WHERE tenant_id = %(tenant)s AND subject_id = %(external)s AND created_at < %(until)s",
        known,
    )
    await connection.execute(
        """
        UPDATE idempotency_record SET scope = regexp_replace(replace(concat(scope, '/'), concat('/', %(external)s::text, '/'),
                                                                     concat('/', %(erased)s::text, '/')), '/$', '')
        WHERE tenant_id = %(tenant)s AND (user_id::text = %(uuid)s OR user_id IS NULL AND created_at < %(until)s)
          AND position(concat('/', %(external)s::text, '/') IN concat(scope, '/')) > 0
        """,
        known,
    )
    await connection.execute(
        """
        UPDATE idempotency_record SET scope = concat(left(scope, -char_length(%(external)s::text)), %(erased)s::text)
        WHERE tenant_id = %(tenant)s AND (user_id::text = %(uuid)s OR user_id IS NULL AND created_at < %(until)s)
          AND right(scope, char_length(%(external)s::text) + 1) = concat(' ', %(external)s::text)
        """,
        known,
    )
    await connection.execute(
        """
        UPDATE webhook_attempt AS a SET answer_head = NULL FROM webhook_delivery AS d
        WHERE d.tenant_id = %(tenant)s AND a.tenant_id = d.tenant_id AND a.delivery_id = d.delivery_id AND a.answer_head IS NOT NULL
          AND (d.redemption_id::text = ANY(%(subjects)s) OR position(convert_to(%(uuid)s, 'UTF8') IN d.body) > 0)
        """,
        {**known, "subjects": subjects},
    )


async def complete(connection: Connection, of: Erasure, now: datetime) -> None:
    """The last trace: forget what was looked for."""
    await connection.execute(
        "UPDATE erasure SET external_id = NULL, completed_at = %s WHERE tenant_id = %s AND user_id = %s", (now, of.tenant_id, of.user_id)
    )
