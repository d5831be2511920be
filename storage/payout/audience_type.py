"""The types of audiences that a payout run can have, by the name that its row holds."""

from collections.abc import Mapping
from uuid import UUID

from domain.payout.run import Run
from runtime.postgres import Connection
from storage.payout.audience import Audience, NotYet, Selection, of_window
from storage.payout.schedule_audience import SCHEDULE_SELECTIONS

SELECTIONS: Mapping[str, Selection] = {"window": of_window, **SCHEDULE_SELECTIONS}


async def audience_of(connection: Connection, tenant_id: UUID, run: Run) -> Audience | NotYet:
    """The audience of a run, by its type."""
    return await SELECTIONS[run.audience["type"]](connection, tenant_id, run)
