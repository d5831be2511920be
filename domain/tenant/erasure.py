"""What is taken out of stored JSON when a person is erased (contract 4, Users)."""

import re
from typing import Any
from uuid import UUID

import msgspec

PREFIX = "erased:"
PERSONAL = frozenset({"email", "display_name", "avatar_url", "attributes", "fields", "fulfillment_data", "fulfillmentData"})
"""Members of our own documents that hold what a person, or a partner about it, has told."""


class ErasureInput(msgspec.Struct, frozen=True, kw_only=True):
    """Which user is erased: ids only, for they stand in a workflow's history."""

    tenant_id: UUID
    user_id: UUID


def erased_id(user_id: UUID) -> str:
    """What stands in the place of the external id ever after."""
    return f"{PREFIX}{user_id}"


def erase_workflow_id(tenant_id: UUID, user_id: UUID) -> str:
    """The id of the workflow that erases the user."""
    return f"erase:{tenant_id}:{user_id}"


def scrubbed(value: Any, external_id: str, erased: str) -> Any:
    """The JSON value without personal members, and with `erased` wherever a text names the external id as a word of its own."""
    name = re.compile(rf"(?<![\w-]){re.escape(external_id)}(?![\w-])")
    return _scrub(value, name, erased)


def _scrub(value: Any, name: re.Pattern[str], erased: str) -> Any:
    if isinstance(value, dict):
        return {
            member: ({} if isinstance(item, dict) else None) if member in PERSONAL else _scrub(item, name, erased)
            for member, item in value.items()
        }
    if isinstance(value, list):
        return [_scrub(item, name, erased) for item in value]
    return name.sub(lambda _: erased, value) if isinstance(value, str) else value
