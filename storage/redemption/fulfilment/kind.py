"""What a kind of fulfilment is: what happens to its redemptions at each step, inside the transaction of that step."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec

from domain.redemption.redemption import NewRedemption, Redemption
from runtime.postgres import Connection


async def nothing_to_reserve(connection: Connection, tenant_id: UUID, new: NewRedemption) -> None:
    """Nothing is reserved when the user redeems."""


async def nothing_to_hand_over(connection: Connection, redemption: Redemption, now: datetime) -> dict[str, Any]:
    """What the user gets is not ours: nothing to add to the fulfilment data."""
    return {}


async def nothing_to_undo(connection: Connection, redemption: Redemption, now: datetime) -> None:
    """Nothing of ours is given or taken back."""


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """One way of fulfilment.

    `begins`: what `pending` means. `delivery`: a partner is asked by webhook; `at_once`: the workflow fulfils it; `by_hand`: a person
    does. `reserve` runs when the user redeems, behind the hold of the points; `hand_over` before the redemption becomes `fulfilled`,
    and answers what to add to its fulfilment data; `give_back` when it becomes failed, cancelled or expired; `take_back` before it
    becomes `reversed`.
    """

    begins: Literal["delivery", "at_once", "by_hand"]
    reserve: Callable[[Connection, UUID, NewRedemption], Awaitable[None]] = nothing_to_reserve
    hand_over: Callable[[Connection, Redemption, datetime], Awaitable[dict[str, Any]]] = nothing_to_hand_over
    give_back: Callable[[Connection, Redemption, datetime], Awaitable[None]] = nothing_to_undo
    take_back: Callable[[Connection, Redemption, datetime], Awaitable[None]] = nothing_to_undo
