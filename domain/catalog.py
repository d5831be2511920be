"""The catalog: a reward as buyers see it, with what they can afford (contract 4, Store)."""

from collections.abc import Mapping
from typing import Any

import msgspec

from domain.ledger import POINTS, Currency
from domain.reward import Price, Reward, prices_wire, variants_wire
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


def catalog_entry(
    reward: Reward, currencies: Mapping[str, Currency], balances: Mapping[str, int] | None, currency: str | None = None
) -> dict[str, Any]:
    """The reward as the catalog shows it; without balances `affordable` and `points_needed` are null.

    What is missing is told in `currency`, else in points, where the reward has such a price.
    """
    needed = None if balances is None else points_needed(reward, balances, currency or POINTS)
    return {
        "id": str(reward.reward_id),
        "slug": reward.slug,
        "name": reward.name,
        "description": reward.description,
        "image_url": reward.image_url,
        "type": reward.type,
        "value": reward.value,
        "fields": msgspec.to_builtins(reward.fields),
        "purchase": {"prices": prices_wire(reward.prices, currencies)},
        "variants": variants_wire(reward, currencies),
        "stock": reward.stock,
        "available_from": optional_rfc3339(reward.available_from),
        "available_until": optional_rfc3339(reward.available_until),
        "affordable": None if needed is None else needed.amount == 0,
        "points_needed": None if needed is None else amount_number(needed.amount, currencies[needed.currency].decimal_places),
    }
