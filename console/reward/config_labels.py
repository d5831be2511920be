"""Reward configs in plain words: who gets what, what a run may cost, and what a person may have overlooked."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from console.format import listed, number, share
from console.i18n import _

KINDS = ("rank", "top_percent", "min_score", "everyone")
Names = Mapping[str, str]


def kind_of(tier: Mapping[str, Any]) -> str:
    """By what a tier chooses: one of `KINDS`."""
    if "min_rank" in tier or "max_rank" in tier:
        return "rank"
    return next((kind for kind in ("top_percent", "min_score") if kind in tier), "everyone")


def who(tier: Mapping[str, Any], *, first: bool = True) -> str:
    """Whom a tier means: “Ranks 1–3”, “The top 10 %”."""
    kind = kind_of(tier)
    if kind == "rank":
        low, high = tier.get("min_rank") or 1, tier.get("max_rank")
        if high is None:
            return _("Everybody from rank %(low)s on", low=number(low))
        return _("Rank %(low)s", low=number(low)) if low == high else _("Ranks %(low)s–%(high)s", low=number(low), high=number(high))
    if kind == "top_percent":
        return _("The top %(share)s", share=share(tier["top_percent"] / 100))
    if kind == "min_score":
        return _("Whoever scores %(n)s or more", n=number(tier["min_score"]))
    return _("Everybody") if first else _("Everybody else")


def what(item: Mapping[str, Any] | None, item_id: str, currencies: Names) -> str:
    """One item: its amount where it is credited, else its name."""
    if item is None:
        return item_id[:13]
    if item["fulfilment"]["type"] == "wallet":
        currency = "points" if item["reward_type"] == "points" else str(item["payload"].get("currency", ""))
        return f"{number(item['reward_value'])} {currencies.get(currency, currency)}"
    return str(item["name"])


def _gap(low: int, high: int) -> str:
    if low == high:
        return _("Rank %(low)s gets nothing.", low=low)
    return _("Ranks %(low)s–%(high)s get nothing.", low=low, high=high)


def lines(tiers: list[dict[str, Any]], items: Mapping[str, dict[str, Any]], currencies: Names) -> list[tuple[str, str, str]]:
    """(tier's name, who, what) of each tier, in the order in which they are tried."""
    said = []
    for place, tier in enumerate(tiers):
        given = listed(what(items.get(each), each, currencies) for each in tier["item_ids"]) or "–"
        said.append((tier.get("name") or "", who(tier, first=place == 0), given))
    return said


def costs(tiers: list[dict[str, Any]], items: Mapping[str, dict[str, Any]]) -> dict[str, Decimal] | None:
    """What a run gives when every rank is taken: by currency the sum, by item the count. None where that depends on how many come."""
    total: dict[str, Decimal] = {}
    taken = 0
    for tier in tiers:
        if kind_of(tier) != "rank" or tier.get("max_rank") is None:
            return None
        low, high = max(tier.get("min_rank") or 1, taken + 1), tier["max_rank"]
        places, taken = max(0, high - low + 1), max(taken, high)
        for item_id in tier["item_ids"]:
            item = items.get(item_id)
            if item is not None and item["fulfilment"]["type"] == "wallet":
                key = "points" if item["reward_type"] == "points" else str(item["payload"].get("currency", ""))
                total[key] = total.get(key, Decimal(0)) + Decimal(str(item["reward_value"])) * places
            else:
                total[item_id] = total.get(item_id, Decimal(0)) + places
    return total


def plain(value: Decimal) -> int | float:
    """The number as a page shows it."""
    return int(value) if value == value.to_integral_value() else float(value)


def warnings(tiers: list[dict[str, Any]], budget: Mapping[str, Any], items: Mapping[str, dict[str, Any]], names: Names) -> list[str]:
    """What may not be meant: tiers that nobody reaches, ranks between tiers that get nothing, a budget that does not suffice."""
    said = []
    all_from, highest = False, 0
    for place, tier in enumerate(tiers):
        if all_from:
            said.append(_("Nobody reaches line %(n)s: everybody fits a line above it.", n=place + 1))
            break
        if kind_of(tier) == "rank":
            low, high = tier.get("min_rank") or 1, tier.get("max_rank")
            if high is not None and high <= highest:
                said.append(_("Nobody reaches line %(n)s: its ranks fit a line above it.", n=place + 1))
            elif highest and low > highest + 1 and all(kind_of(each) == "rank" for each in tiers):
                said.append(_gap(highest + 1, low - 1))
            highest = max(highest, high or highest)
            all_from = high is None and low <= highest + 1
        elif kind_of(tier) == "everyone":
            all_from = True
    for key, cost in (costs(tiers, items) or {}).items():
        limit = budget.get(key)
        if isinstance(limit, int | float) and cost > Decimal(str(limit)):
            text = _(
                "%(name)s: the budget of %(limit)s is less than %(cost)s; whoever comes last gets none.",
                limit=number(limit),
                name=names.get(key, key[:13]),
                cost=number(plain(cost)),
            )
            said.append(text)
    return said
