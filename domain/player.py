"""What a player sees of its own things: the one place that leaves out what is only for the tenant's staff.

Staff are people and keys of the tenant: their names, e-mail addresses, public ids of keys, notes and reasons, and how an order is
delivered to a partner, are none of the player's business. What the player did itself, and what became of its order, is.
"""

from typing import TypeVar

from msgspec import UNSET, structs

from domain.payout.grant_wire import GrantAnswer
from domain.points.ledger import TransferKind
from domain.points.ledger_wire import TransferAnswer
from domain.points.tier_wire import TierChangeAnswer
from domain.redemption.redemption import RedemptionState
from domain.redemption.redemption_wire import RedemptionFacts

Shown = TypeVar("Shown", bound=RedemptionFacts)

TENANT = "tenant"
"""Stands for whoever of the tenant's side acted: a person, a key, the partner."""
OWN_WORDS = frozenset({"workflow", "sweep", "payout run"})
"""How Laurel's own parts sign."""
PUBLIC_NOTES = frozenset({TransferKind.EARN, TransferKind.GRANT})
"""Transfers whose note is the name of the rule or of the item; the others' notes are reasons that staff gave."""


def order_for_player(order: Shown) -> Shown:
    """A redemption or an order, without flags, deliveries, notes and names of staff.

    A partner's `failure_reason` stays, what staff wrote when they failed it by hand goes.
    """
    moves = [row for row in order.timeline if row.from_status != row.to_status]  # the others: refused callbacks, and what was sent again
    failed_by_hand = any(row.to_status is RedemptionState.FAILED and row.note is not None and row.by not in OWN_WORDS for row in moves)
    return structs.replace(
        order,
        flags=[],
        failure_reason=None if failed_by_hand else order.failure_reason,
        timeline=[structs.replace(row, by=_who(row.by), note=row.note if _is_player(row.by) else None) for row in moves],
        deliveries=[],
    )


def grant_for_player(grant: GrantAnswer) -> GrantAnswer:
    """A grant without who gave it and why they say so."""
    return structs.replace(grant, granted_by=UNSET, reason=None)


def transfer_for_player(transfer: TransferAnswer) -> TransferAnswer:
    """A line of the transactions; the reason of an adjustment or a reversal is left out."""
    return structs.replace(transfer, note=transfer.note if transfer.kind in PUBLIC_NOTES else None)


def tier_change_for_player(change: TierChangeAnswer) -> TierChangeAnswer:
    """A change of tier without the reason, and without who made it."""
    return structs.replace(change, by=change.by and _who(change.by), reason=None)


def _is_player(by: str | None) -> bool:
    return by is not None and by.startswith("gamer:")


def _who(by: str | None) -> str | None:
    return by if by is None or by in OWN_WORDS or _is_player(by) else TENANT
