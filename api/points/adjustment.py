"""Corrections by an admin: balances adjusted one by one and in bulk, transfers reversed (contract 4, Points ledger)."""

from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, Response, post
from msgspec import Meta

from api.auth import Principal, allow
from api.idempotency import once, write_of
from api.tenant.user import user_for
from domain.errors import DomainError, UserNotFound, ValidationFault
from domain.points.ledger import POINTS, Account, Adjustment, Currency, amount_from_wire, balance_wire, transfer_wire
from runtime.ids import new_id, utc_now
from runtime.postgres import Connection, Pool
from storage.points.adjustment import Adjusted, adjust, adjust_many
from storage.points.currency import currencies_of
from storage.points.due import balances_of
from storage.points.reversal import reverse_transfer
from storage.tenant.audit import record_figures
from storage.tenant.user import users_named

ADMIN = [allow("admin")]
Reason = Annotated[str, Meta(min_length=1, max_length=1000)]


class AdjustmentBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A correction: `amount` is signed and not 0."""

    amount: int | float
    reason: Reason
    currency: str = POINTS
    idempotency_key: str | None = None


class AdjustmentItem(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One correction among many; `reason` where it differs from that of all. `external_id` says the same as `external_user_id`."""

    amount: int | float
    external_user_id: str | None = None
    external_id: str | None = None
    currency: str = POINTS
    reason: Reason | None = None

    @property
    def user(self) -> str:
        """Whose balance."""
        return self.external_user_id or self.external_id or ""


class AdjustmentsBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Up to 1000 corrections, each with a reason, its own or that of all. With `atomic`, either all of them are made or none."""

    adjustments: Annotated[list[AdjustmentItem], Meta(min_length=1, max_length=1000)]
    reason: Reason | None = None
    atomic: bool = False
    idempotency_key: str | None = None


class ReversalBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why a transfer is undone."""

    reason: Reason
    idempotency_key: str | None = None


@post("/v1/admin/users/{external_id:str}/adjustments", guards=ADMIN, status_code=201)
async def adjust_balance(
    external_id: str, data: AdjustmentBody, request: Request[Any, Any, Any], principal: Principal, pool: Pool
) -> Response[bytes]:
    """Correct a user's balance. Returns the transfer and the balance after it. The points do not count as earned."""
    write = write_of(request, principal, data, data.idempotency_key, about=external_id)

    async def effect(connection: Connection) -> dict[str, Any]:
        user = await user_for(connection, principal, external_id)
        currencies = await currencies_of(connection, principal.tenant_id)
        wanted = _adjustment(user.user_id, data, data.reason, currencies=currencies, place="")
        adjusted = await adjust(connection, principal.tenant_id, wanted, utc_now())
        return await _adjusted_wire(connection, principal, adjusted, user.external_id, currency=currencies[data.currency])

    return await once(pool, write, effect)


@post("/v1/admin/adjustments", guards=ADMIN, status_code=200)
async def adjust_balances(data: AdjustmentsBody, request: Request[Any, Any, Any], principal: Principal, pool: Pool) -> Response[bytes]:
    """Correct many balances in one transaction. Answers each in order; a refused correction does not stop the others."""
    _check_items(data)
    write = write_of(request, principal, data, data.idempotency_key, status=200)

    async def effect(connection: Connection) -> dict[str, Any]:
        outcomes = await _adjust_all(connection, principal, data)
        if data.atomic:
            _refuse_all([outcome if isinstance(outcome, DomainError) else None for outcome in outcomes])
        results = []
        for item, outcome in zip(data.adjustments, outcomes, strict=True):
            if isinstance(outcome, DomainError):
                error = {"code": outcome.code, "message": outcome.message, **outcome.facts}
                results.append({"external_id": item.user, "external_user_id": item.user, "status": "refused", "error": error})
            else:
                results.append({"external_id": item.user, "status": "adjusted", **outcome})
        adjusted = sum(result["status"] == "adjusted" for result in results)
        return {"adjusted": adjusted, "refused": len(results) - adjusted, "results": results}

    return await once(pool, write, effect)


@post("/v1/admin/transfers/{transfer_id:uuid}/reverse", guards=ADMIN, status_code=201, operation_id="reverse_transfer")
async def reverse(
    transfer_id: UUID, data: ReversalBody, request: Request[Any, Any, Any], principal: Principal, pool: Pool
) -> Response[bytes]:
    """Reverse a transfer, once. Returns the reversing transfer and the balance after it."""
    write = write_of(request, principal, data, data.idempotency_key)

    async def effect(connection: Connection) -> dict[str, Any]:
        made = await reverse_transfer(connection, principal.tenant_id, transfer_id, reason=data.reason, now=utc_now())
        adjusted = Adjusted(transfer=made.transfer, before=made.before, after=made.after)
        return await _adjusted_wire(connection, principal, adjusted, made.first.external_id, currency=made.currency)

    return await once(pool, write, effect)


def _check_items(data: AdjustmentsBody) -> None:
    """ValidationFault for a correction that does not say whose it is, or why."""
    for number, item in enumerate(data.adjustments):
        if (item.external_user_id is None) == (item.external_id is None):
            raise ValidationFault.of(
                f"adjustments[{number}].external_user_id", "either external_user_id or external_id is required, not both"
            )
        if item.reason is None and data.reason is None:
            raise ValidationFault.of("reason", "is required, once for all or in each adjustment")


def _adjustment(
    user_id: UUID, body: AdjustmentBody | AdjustmentItem, reason: str, *, currencies: dict[str, Currency], place: str
) -> Adjustment:
    """The correction in the currency's smallest unit; ValidationFault names the field, which stands at `place`."""
    currency = currencies.get(body.currency)
    if currency is None:
        raise ValidationFault.of(f"{place}currency", "is not a currency of this tenant")
    amount = amount_from_wire(body.amount, currency.decimal_places, f"{place}amount")
    if amount == 0:
        raise ValidationFault.of(f"{place}amount", "cannot be 0")
    return Adjustment(user_id=user_id, currency_id=body.currency, amount=amount, reason=reason, cause_id=str(new_id()))


async def _adjust_all(connection: Connection, principal: Principal, data: AdjustmentsBody) -> list[dict[str, Any] | DomainError]:
    currencies = await currencies_of(connection, principal.tenant_id)
    users = await users_named(connection, principal.tenant_id, [item.user for item in data.adjustments])
    outcomes: list[dict[str, Any] | DomainError] = []
    wanted: dict[int, Adjustment] = {}
    for number, item in enumerate(data.adjustments):
        outcomes.append(UserNotFound(f"User '{item.user}' not found"))
        if item.user in users:
            reason, place = item.reason or data.reason or "", f"adjustments[{number}]."
            try:
                wanted[number] = _adjustment(users[item.user], item, reason, currencies=currencies, place=place)
            except ValidationFault as fault:
                outcomes[number] = fault
    made = await adjust_many(connection, principal.tenant_id, list(wanted.values()), utc_now())
    for number, outcome in zip(wanted, made, strict=True):
        item = data.adjustments[number]
        if isinstance(outcome, DomainError):
            outcomes[number] = outcome
        else:
            outcomes[number] = await _adjusted_wire(connection, principal, outcome, item.user, currency=currencies[item.currency])
    return outcomes


def _refuse_all(refusals: list[DomainError | None]) -> None:
    """Raise the first refusal, with all of them as its details; nothing when there is none."""
    details = [{"field": f"adjustments[{n}]", "message": fault.message} for n, fault in enumerate(refusals) if fault is not None]
    first = next((fault for fault in refusals if fault is not None), None)
    if first is not None:
        raise type(first)(f"{details[0]['field']}: {first.message}; nothing was adjusted", details=details, **first.facts)


async def _adjusted_wire(
    connection: Connection, principal: Principal, adjusted: Adjusted, external_id: str, *, currency: Currency
) -> dict[str, Any]:
    """What was done, and its line in the audit log."""
    transfer, after = adjusted.transfer, adjusted.after
    shown = await balances_of(
        connection, principal.tenant_id, [after], currencies={currency.currency_id: currency}, now=transfer.created_at
    )
    balance = balance_wire(currency, shown[currency.currency_id])
    wire = transfer_wire(transfer, currency.decimal_places)
    await record_figures(
        connection,
        principal.tenant_id,
        action=transfer.kind.value,
        subject=("account", str(after.user_id)),
        before=_figures(currency, adjusted.before),
        after=_figures(currency, after) | {"transfer_id": wire["transfer_id"], "amount": wire["amount"]},
        reason=transfer.note,
    )
    return {**wire, "user_id": str(after.user_id), "external_user_id": external_id, "reason": transfer.note, "balance": balance}


def _figures(currency: Currency, account: Account) -> dict[str, Any]:
    wire = balance_wire(currency, account)
    return {name: wire[name] for name in ("currency", "available", "held", "pending")}


routes: list[Any] = [adjust_balance, adjust_balances, reverse]
