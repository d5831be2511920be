"""The catalog: a reward as buyers see it, with what they can afford (contract 4, Store)."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from msgspec import structs

from domain.errors import DomainError, NotEligible, OutOfStock, UserLimitReached
from domain.points.ledger import POINTS, Currency, insufficient_points
from domain.reward.catalog_wire import BuyerView, CatalogEntryAnswer, CatalogVariantAnswer, ObstacleAnswer, ObstacleCode, PurchaseTerms
from domain.reward.offer import chosen_variant, obstacles
from domain.reward.reward import Price, Reward
from domain.reward.reward_wire import prices_shown, variants_shown
from domain.wire import amount_number, optional_rfc3339


def _forms(reward: Reward) -> list[list[Price]]:
    """The prices of each form that it can be bought in: of its variants, or its own."""
    return [reward.prices if variant.prices is None else variant.prices for variant in reward.variants] or [reward.prices]


def points_needed(reward: Reward, balances: Mapping[str, int], currency: str = POINTS) -> Price | None:
    """How much is missing for the price that is nearest to the balances (available, by currency); None when nothing can buy it.

    Amounts of different currencies cannot be compared: while no price can be paid, those in `currency` count, if there are any.
    """
    prices = [price for each in _forms(reward) for price in each]
    missing = [Price(currency=price.currency, amount=max(0, price.amount - balances.get(price.currency, 0))) for price in prices]
    asked = [price for price in missing if price.currency == currency or price.amount == 0]
    return min(asked or missing, key=lambda price: price.amount, default=None)


class Buyer(msgspec.Struct, frozen=True, kw_only=True):
    """Who looks at the catalog: what its rewards ask of a user. `used`: how many it had of a reward in its present period."""

    attributes: Mapping[str, Any] = {}
    tier: str | None = None
    used: Mapping[UUID, int] = {}


def refusals(
    reward: Reward,
    variant_id: str | None,
    buyer: Buyer,
    *,
    currencies: Mapping[str, Currency],
    balances: Mapping[str, int] | None,
    now: datetime,
) -> list[DomainError]:
    """Everything that buying this form of the reward would be refused for now; empty when it can be bought."""
    form = chosen_variant(reward, variant_id)
    found: list[DomainError] = list(obstacles(form, buyer.attributes, now, tier=buyer.tier))
    payable = [price for price in form.prices if currencies[price.currency].is_spendable]
    if not form.prices:
        found.append(NotEligible("This reward can only be granted", condition="prices"))
    elif not payable:
        found.append(NotEligible(f"'{form.prices[0].currency}' cannot be spent", condition="currency"))
    if form.max_per_user is not None and buyer.used.get(form.reward_id, 0) >= form.max_per_user:
        found.append(UserLimitReached(f"This user can have at most {form.max_per_user} of this reward", limit=form.max_per_user))
    if balances is not None and payable and all(price.amount > balances.get(price.currency, 0) for price in payable):
        nearest = min(payable, key=lambda price: price.amount - balances.get(price.currency, 0))
        places = currencies[nearest.currency].decimal_places
        found.append(insufficient_points(balances.get(nearest.currency, 0), nearest.amount, places))
    if form.stock == 0:
        found.append(OutOfStock("This reward is out of stock"))
    return found


def _offer(found: Sequence[DomainError]) -> BuyerView:
    """Points and stock apart from the rest: whoever lacks them may have it, and can see what is missing."""
    return BuyerView(
        eligible=not any(isinstance(each, NotEligible | UserLimitReached) for each in found),
        why_not=[ObstacleAnswer(code=ObstacleCode(each.code), message=each.message, **each.facts) for each in found],
    )


def catalog_entry(
    reward: Reward,
    currencies: Mapping[str, Currency],
    balances: Mapping[str, int] | None,
    *,
    currency: str | None = None,
    buyer: Buyer | None = None,
    now: datetime,
) -> CatalogEntryAnswer:
    """The reward as the catalog shows it; without balances `affordable` and `points_needed` are null, without a buyer `eligible` and
    `why_not` are.

    What is missing is told in `currency`, else in points, where the reward has such a price. A reward with variants is as near as its
    nearest one.
    """
    offers = _offers(reward, buyer, currencies=currencies, balances=balances, now=now)
    offer = min(offers, key=lambda each: (not each.eligible, len(each.why_not or ())))
    needed = None if balances is None else points_needed(reward, balances, currency or POINTS)
    return CatalogEntryAnswer(
        id=reward.reward_id,
        slug=reward.slug,
        name=reward.name,
        description=reward.description,
        image_url=reward.image_url,
        type=reward.type,
        value=reward.value,
        fields=reward.fields,
        purchase=PurchaseTerms(prices=prices_shown(reward.prices, currencies)),
        variants=[
            CatalogVariantAnswer(**structs.asdict(variant), **structs.asdict(each))
            for variant, each in zip(variants_shown(reward, currencies), offers, strict=False)
        ],
        stock=reward.stock,
        available_from=optional_rfc3339(reward.available_from),
        available_until=optional_rfc3339(reward.available_until),
        affordable=None if needed is None else needed.amount == 0,
        points_needed=None if needed is None else amount_number(needed.amount, currencies[needed.currency].decimal_places),
        **structs.asdict(offer),
    )


def _offers(
    reward: Reward, buyer: Buyer | None, *, currencies: Mapping[str, Currency], balances: Mapping[str, int] | None, now: datetime
) -> list[BuyerView]:
    """What each form of the reward is to whoever asks: its variants, or the reward itself."""
    forms: list[str | None] = [variant.id for variant in reward.variants] or [None]
    if buyer is None:
        return [BuyerView(eligible=None, why_not=None) for _ in forms]
    return [_offer(refusals(reward, form, buyer, currencies=currencies, balances=balances, now=now)) for form in forms]


def can_be_bought(entry: CatalogEntryAnswer) -> bool:
    """Whether nothing stands in the way of the user who asked, or nobody did."""
    return not entry.why_not
