"""Stuck work: what does not move on by itself, and what to do about each."""

from datetime import timedelta

from litestar import Response, get, post
from litestar.response import Redirect

from console.i18n import _
from console.redemption.redemption_timeline import flag_word
from console.request import LATE, Visit
from console.temporal_link import workflow_link
from console.webhook.labels import ERRORS
from domain.redemption.redemption import RedemptionFlag
from runtime.visibility import TemporalAway, Troubled, troubled_workflows
from storage.programme.stuck_work import (
    LOOKED_AT,
    Heap,
    UnsentCommand,
    flagged_redemptions,
    late_redemptions,
    open_dead_letters,
    stuck_deliveries,
    unsent_commands,
)

ROWS = 20
UNSENT = timedelta(seconds=30)
"""A command that is younger is on its way."""


async def _troubled(visit: Visit) -> tuple[list[Troubled], str]:
    """The workflows with problems, and why that is not known: `away`, `unknown` or nothing."""
    try:
        found = await troubled_workflows(visit.parts.temporal(), visit.tenant_id, ROWS)
    except TemporalAway:
        return [], "away"
    return found or [], "unknown" if found is None else ""


def why(heap: Heap) -> str:
    """What the last attempt of a heap came to."""
    if heap.last_status is not None:
        return str(heap.last_status)
    return _(ERRORS.get(heap.last_error or "", heap.last_error or "–"))


def redemption_in(command: UnsentCommand) -> str:
    """The redemption that a command is about; empty for other workflows."""
    kind, _colon, named = command.workflow_id.partition(":")
    return named.rpartition(":")[2] if kind == "redemption" else ""


@get("/stuck-work")
async def show_stuck_work(visit: Visit) -> Response[bytes]:
    """Every kind of stuck work, or that there is none."""
    async with visit.pool.connection() as connection:
        tenant_id = visit.tenant_id
        exhausted = await stuck_deliveries(connection, tenant_id, "exhausted")
        held = await stuck_deliveries(connection, tenant_id, "held")
        flagged = await flagged_redemptions(connection, tenant_id, ROWS)
        late = await late_redemptions(connection, tenant_id, visit.now - LATE, ROWS)
        letters = await open_dead_letters(connection, tenant_id, ROWS)
        unsent = await unsent_commands(connection, tenant_id, visit.now - UNSENT, ROWS)
    approvals = await visit.api.read("/v1/admin/redemptions", {"status": "pending_approval", "limit": ROWS})
    troubled, silent = await _troubled(visit)
    kinds = (exhausted, held, flagged, late, letters, unsent, troubled, approvals["redemptions"])
    return visit.page(
        "stuck_work.html",
        approvals=approvals["redemptions"],
        exhausted=exhausted,
        held=[heap for heap in held if not heap.enabled],
        flagged=flagged,
        late=late,
        letters=letters,
        unsent=unsent,
        troubled=troubled,
        silent=silent,
        nothing=not any(kinds),
        looked_at=LOOKED_AT,
        why=why,
        flag_word=flag_word,
        no_endpoint=RedemptionFlag.NO_ENDPOINT.value,
        redemption_in=redemption_in,
        link=lambda workflow_id: workflow_link(visit.settings, workflow_id),
        rows=ROWS,
    )


@post("/stuck-work/dead-letters/{position:int}/replay")
async def replay_letter(visit: Visit, position: int) -> Redirect:
    """Send an event through scoring once more."""
    answer = await visit.api.post(f"/v1/admin/dead-letters/{position}/replay", reason=visit.form.text("reason"))
    return visit.done("/stuck-work", answer.error, _("The event is being scored again."))


routes = [show_stuck_work, replay_letter]
