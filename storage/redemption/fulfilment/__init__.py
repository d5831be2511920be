"""The registry of the ways to fulfil a redemption: one file each."""

from collections.abc import Mapping
from typing import Any

from storage.redemption.fulfilment import codes, manual, wallet, webhook
from storage.redemption.fulfilment.kind import Kind

KINDS: Mapping[str, Kind] = {"webhook": webhook.KIND, "wallet": wallet.KIND, "codes": codes.KIND, "manual": manual.KIND}


def kind_of(fulfilment: Mapping[str, Any]) -> Kind:
    """The kind that a redemption's copied settings name; a redemption that names none is asked for by webhook."""
    return KINDS[fulfilment.get("type", "webhook")]
