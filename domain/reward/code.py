"""What may be a code of a pool."""

from typing import Annotated

import msgspec
from msgspec import Meta

from domain.errors import ValidationError
from domain.reward.reward import Reward
from domain.wire import Id

MAX_CODE_CHARACTERS = 255

Total = Annotated[int, Meta(description="How many codes were imported", examples=[500])]
Added = Annotated[int, Meta(description="How many codes were new", examples=[20])]
Known = Annotated[int, Meta(description="How many had been in the pool before", examples=[0])]
Left = Annotated[int, Meta(description="How many of them nobody has", examples=[480])]


class VariantPool(msgspec.Struct, frozen=True, kw_only=True):
    """How large the pool of one variant is."""

    variant_id: str
    total: Total
    left: Left


class CodePool(msgspec.Struct, frozen=True, kw_only=True):
    """How large the pools of a reward or an item are, in all and by variant."""

    total: Total
    left: Left
    variants: list[VariantPool]


class ItemCodePool(CodePool, frozen=True, kw_only=True):
    """The codes of a reward item."""

    item_id: Id


class ItemCodeImport(ItemCodePool, frozen=True, kw_only=True):
    """What an import brought, and the pool after it."""

    added: Added
    known: Known


class RewardCodePool(CodePool, frozen=True, kw_only=True):
    """The codes of a reward."""

    reward_id: Id


class RewardCodeImport(RewardCodePool, frozen=True, kw_only=True):
    """What an import brought, and the pool after it."""

    added: Added
    known: Known


def code_problem(code: str) -> str | None:
    """Why this cannot be a code; None if it can."""
    if not code:
        return "cannot be empty"
    if len(code) > MAX_CODE_CHARACTERS:
        return f"is longer than {MAX_CODE_CHARACTERS} characters"
    return None if code.isprintable() and code == code.strip() else "contains a control character, or a space at an end"


def check_pool(reward: Reward, variant_id: str | None) -> None:
    """ValidationError unless this names a pool of the reward: that of one of its variants, or its only one."""
    known = [variant.id for variant in reward.variants]
    if known and variant_id is None:
        raise ValidationError.of("variant_id", f"is required: each variant has its own pool ({', '.join(known)})")
    if variant_id is not None and variant_id not in known:
        raise ValidationError.of("variant_id", "is not a variant of this reward")


def check_codes(codes: list[str]) -> None:
    """ValidationError that names the first code that cannot be one."""
    for place, code in enumerate(codes):
        if problem := code_problem(code):
            raise ValidationError.of(f"codes[{place}]", problem)
