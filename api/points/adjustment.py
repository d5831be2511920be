"""Corrections by an admin: balances adjusted one by one and in bulk, transfers reversed (contract 4, Points ledger)."""

from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, Response, post
from msgspec import Meta, structs

from api.idempotency import idempotent, write_of
from api.principal import Principal
from api.rule import ADMIN
from api.tenant.user import user_for
from domain.errors import (
    DomainError,
    IdempotencyConflict,
    InsufficientPoints,
    InvalidState,
    LimitReached,
    UserNotFound,
    ValidationError,
)
from domain.points.ledger import POINTS, Account, Adjustment, Currency, amount_from_wire
from domain.points.ledger_wire import (
    AdjustedAnswer,
    AdjustmentError,
    CurrencyId,
    adjusted_answer,
    balance_answer,
)
from domain.wire import ExternalId
from runtime.ids import new_id, utc_now
from runtime.postgres import Connection, Pool
from storage.points.adjustment import Adjusted, adjust, adjust_many
from storage.points.currency import currencies_of
from storage.points.due import balances_of
from storage.points.reversal import undo_transfer
from storage.tenant.audit import record_figures
from storage.tenant.user import users_named

Reason = Annotated[str, Meta(min_length=1, max_length=1000, description="For the audit log", examples=["Compensation for Tuesday"])]
SignedAmount = Annotated[int | float, Meta(description="In units of the currency; negative takes points away", examples=[100])]
GivenKey = Annotated[str | None, Meta(description="Instead of the header Idempotency-Key", examples=["fix-4711"])]


class AdjustmentBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A correction: `amount` is signed and not 0."""

    amount: SignedAmount
    reason: Reason
    currency: CurrencyId = POINTS
    idempotency_key: GivenKey = None


class AdjustmentItem(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One correction among many; `reason` where it differs from that of all. `external_id` says the same as `external_user_id`."""

    amount: SignedAmount
    external_user_id: Annotated[str | None, Meta(examples=["player-42"])] = None
    external_id: Annotated[str | None, Meta(description="Instead of `external_user_id`", examples=[None])] = None
    currency: CurrencyId = POINTS
    reason: Reason | None = None

    @property
    def user(self) -> str:
        """Whose balance."""
        return self.external_user_id or self.external_id or ""


class AdjustmentsBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Up to 1000 corrections, each with a reason, its own or that of all. With `atomic`, either all of them are made or none."""

    adjustments: Annotated[list[AdjustmentItem], Meta(min_length=1, max_length=1000)]
    reason: Reason | None = None
    atomic: Annotated[bool, Meta(description="All or none")] = False
    idempotency_key: GivenKey = None


class ReversalBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why a transfer is undone."""

    reason: Reason
    idempotency_key: GivenKey = None


class AdjustmentDone(AdjustedAnswer, frozen=True, kw_only=True, tag_field="status", tag="adjusted"):
    """One correction among many that was made: the transfer and the balance after it."""

    external_id: ExternalId


class AdjustmentRefused(msgspec.Struct, frozen=True, kw_only=True, tag_field="status", tag="refused"):
    """One correction among many that was not made."""

    external_id: ExternalId
    external_user_id: ExternalId
    error: AdjustmentError


class AdjustmentResults(msgspec.Struct, frozen=True, kw_only=True):
    """What became of each correction, in the order of the request."""

    adjusted: int
    refused: int
    results: list[AdjustmentDone | AdjustmentRefused]


@post(
    "/v1/admin/users/{external_id:str}/adjustments",
    rule=ADMIN,
    status_code=201,
    refusals=(InsufficientPoints, IdempotencyConflict, LimitReached),
)
async def adjust_balance(
    external_id: str, data: AdjustmentBody, request: Request[Any, Any, Any], principal: Principal, pool: Pool
) -> Response[AdjustedAnswer]:
    """Correct a user's balance. Returns the transfer and the balance after it. The points do not count as earned."""
    write = write_of(request, principal, data, data.idempotency_key, about=external_id)

    async def effect(connection: Connection) -> AdjustedAnswer:
        user = await user_for(connection, principal, external_id)
        currencies = await currencies_of(connection, principal.tenant_id)
        wanted = _adjustment(user.user_id, data, data.reason, currencies=currencies, place="")
        adjusted = await adjust(connection, principal.tenant_id, wanted, utc_now())
        return await _adjusted(connection, principal, adjusted, user.external_id, currency=currencies[data.currency])

    return await idempotent(pool, write, effect)


@post("/v1/admin/adjustments", rule=ADMIN, status_code=200, refusals=(InsufficientPoints, IdempotencyConflict, LimitReached, UserNotFound))
async def adjust_balances(
    data: AdjustmentsBody, request: Request[Any, Any, Any], principal: Principal, pool: Pool
) -> Response[AdjustmentResults]:
    """Correct many balances in one transaction. Answers each in order; a refused correction does not stop the others."""
    _check_items(data)
    write = write_of(request, principal, data, data.idempotency_key, status=200)

    async def effect(connection: Connection) -> AdjustmentResults:
        outcomes = await _adjust_all(connection, principal, data)
        if data.atomic:
            _refuse_all([outcome if isinstance(outcome, DomainError) else None for outcome in outcomes])
        results = [_result(item, outcome) for item, outcome in zip(data.adjustments, outcomes, strict=True)]
        adjusted = sum(isinstance(result, AdjustmentDone) for result in results)
        return AdjustmentResults(adjusted=adjusted, refused=len(results) - adjusted, results=results)

    return await idempotent(pool, write, effect)


@post(
    "/v1/admin/transfers/{transfer_id:uuid}/reverse",
    rule=ADMIN,
    status_code=201,
    refusals=(InsufficientPoints, IdempotencyConflict, InvalidState, LimitReached),
)
async def reverse_transfer(
    transfer_id: UUID, data: ReversalBody, request: Request[Any, Any, Any], principal: Principal, pool: Pool
) -> Response[AdjustedAnswer]:
    """Reverse a transfer, once. Returns the reversing transfer and the balance after it."""
    write = write_of(request, principal, data, data.idempotency_key)

    async def effect(connection: Connection) -> AdjustedAnswer:
        made = await undo_transfer(connection, principal.tenant_id, transfer_id, reason=data.reason, now=utc_now())
        adjusted = Adjusted(transfer=made.transfer, before=made.before, after=made.after)
        return await _adjusted(connection, principal, adjusted, made.first.external_id, currency=made.currency)

    return await idempotent(pool, write, effect)


def _result(item: AdjustmentItem, outcome: AdjustedAnswer | DomainError) -> AdjustmentDone | AdjustmentRefused:
    if isinstance(outcome, DomainError):
        error = AdjustmentError(code=outcome.code, message=outcome.message, **outcome.facts)
        return AdjustmentRefused(external_id=item.user, external_user_id=item.user, error=error)
    return AdjustmentDone(external_id=item.user, **structs.asdict(outcome))


def _check_items(data: AdjustmentsBody) -> None:
    """ValidationError for a correction that does not say whose it is, or why."""
    for number, item in enumerate(data.adjustments):
        if (item.external_user_id is None) == (item.external_id is None):
            raise ValidationError.of(
                f"adjustments[{number}].external_user_id", "either external_user_id or external_id is required, not both"
            )
        if item.reason is None and data.reason is None:
            raise ValidationError.of("reason", "is required, once for all or in each adjustment")


def _adjustment(
    user_id: UUID, body: AdjustmentBody | AdjustmentItem, reason: str, *, currencies: dict[str, Currency], place: str
) -> Adjustment:
    """The correction in the currency's smallest unit; ValidationError names the field, which stands at `place`."""
    currency = currencies.get(body.currency)
    if currency is None:
        raise ValidationError.of(f"{place}currency", "is not a currency of this tenant")
    amount = amount_from_wire(body.amount, currency.decimal_places, f"{place}amount")
    if amount == 0:
        raise ValidationError.of(f"{place}amount", "cannot be 0")
    return Adjustment(user_id=user_id, currency_id=body.currency, amount=amount, reason=reason, cause_id=str(new_id()))


async def _adjust_all(connection: Connection, principal: Principal, data: AdjustmentsBody) -> list[AdjustedAnswer | DomainError]:
    currencies = await currencies_of(connection, principal.tenant_id)
    users = await users_named(connection, principal.tenant_id, [item.user for item in data.adjustments])
    outcomes: list[AdjustedAnswer | DomainError] = []
    wanted: dict[int, Adjustment] = {}
    for number, item in enumerate(data.adjustments):
        outcomes.append(UserNotFound(f"User '{item.user}' not found"))
        if item.user in users:
            reason, place = item.reason or data.reason or "", f"adjustments[{number}]."
            try:
                wanted[number] = _adjustment(users[item.user], item, reason, currencies=currencies, place=place)
            except ValidationError as error:
                outcomes[number] = error
    made = await adjust_many(connection, principal.tenant_id, list(wanted.values()), utc_now())
    for number, outcome in zip(wanted, made, strict=True):
        item = data.adjustments[number]
        if isinstance(outcome, DomainError):
            outcomes[number] = outcome
        else:
            outcomes[number] = await _adjusted(connection, principal, outcome, item.user, currency=currencies[item.currency])
    return outcomes


def _refuse_all(refusals: list[DomainError | None]) -> None:
    """Raise the first refusal, with all of them as its details; nothing when there is none."""
    details = [{"field": f"adjustments[{n}]", "message": error.message} for n, error in enumerate(refusals) if error is not None]
    first = next((error for error in refusals if error is not None), None)
    if first is not None:
        raise type(first)(f"{details[0]['field']}: {first.message}; nothing was adjusted", details=details, **first.facts)


async def _adjusted(
    connection: Connection, principal: Principal, adjusted: Adjusted, external_id: str, *, currency: Currency
) -> AdjustedAnswer:
    """What was done, and its line in the audit log."""
    transfer, after = adjusted.transfer, adjusted.after
    shown = await balances_of(
        connection, principal.tenant_id, [after], currencies={currency.currency_id: currency}, now=transfer.created_at
    )
    answer = adjusted_answer(transfer, currency, shown[currency.currency_id], user_id=after.user_id, external_user_id=external_id)
    await record_figures(
        connection,
        principal.tenant_id,
        action=transfer.kind.value,
        subject=("account", str(after.user_id)),
        before=_figures(currency, adjusted.before),
        after=_figures(currency, after) | {"transfer_id": str(answer.transfer_id), "amount": answer.amount},
        reason=transfer.note,
    )
    return answer


def _figures(currency: Currency, account: Account) -> dict[str, Any]:
    balance = balance_answer(currency, account)
    return {"currency": balance.currency, "available": balance.available, "held": balance.held, "pending": balance.pending}


routes: list[Any] = [adjust_balance, adjust_balances, reverse_transfer]
