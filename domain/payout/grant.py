"""Grants: one item to one user for one cause (contract 4, Grant), and how they are shown."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta

from domain.errors import ValidationError
from domain.wire import parse_external_id, rfc3339

MAX_USERS = 1000


class GrantBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A grant by hand: an item for up to 1000 users, with a reason that stays."""

    item_id: UUID
    external_ids: Annotated[list[str], Meta(min_length=1, max_length=MAX_USERS)]
    reason: Annotated[str, Meta(min_length=1, max_length=1000)]
    idempotency_key: str | None = None


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """A grant as it is kept, with its user's present external id."""

    grant_id: UUID
    source_type: str
    source_id: str
    user_id: UUID
    external_user_id: str
    item_id: UUID
    payout_run_id: UUID | None
    item: dict[str, Any]
    currency: str | None
    amount: int | None
    redemption_id: UUID | None
    reason: str | None
    granted_by: str | None
    created_at: datetime


def check_grant(body: GrantBody) -> None:
    """ValidationError for an external id that cannot be one, or that comes twice."""
    for place, external_id in enumerate(body.external_ids):
        parse_external_id(external_id, f"external_ids[{place}]")
    if len(set(body.external_ids)) != len(body.external_ids):
        raise ValidationError.of("external_ids", "contains a user twice")


def grant_wire(grant: Grant) -> dict[str, Any]:
    """The grant as JSON values, for staff: `domain.player` says what its user sees."""
    return {
        "grant_id": str(grant.grant_id),
        "user_id": str(grant.user_id),
        "external_user_id": grant.external_user_id,
        "item_id": str(grant.item_id),
        "name": grant.item.get("name"),
        "reward_type": grant.item.get("reward_type"),
        "reward_value": grant.item.get("reward_value"),
        "payload": grant.item.get("payload", {}),
        "source_type": grant.source_type,
        "source_id": grant.source_id,
        "run_id": None if grant.payout_run_id is None else str(grant.payout_run_id),
        "redemption_id": None if grant.redemption_id is None else str(grant.redemption_id),
        "reason": grant.reason,
        "created_at": rfc3339(grant.created_at),
        "granted_by": grant.granted_by,
    }


def order_wire(grant: Grant) -> dict[str, Any]:
    """A grant that needed no redemption, as the list of orders shows it: fulfilled the moment it was given."""
    at = rfc3339(grant.created_at)
    item = {"id": str(grant.item_id), "slug": None, "name": grant.item.get("name")}
    return {
        "redemption_id": str(grant.grant_id),
        "grant_id": str(grant.grant_id),
        "status": "fulfilled",
        "flags": [],
        "user_id": str(grant.user_id),
        "external_user_id": grant.external_user_id,
        "reward_id": str(grant.item_id),
        "reward": {**item, "type": grant.item.get("reward_type"), "value": grant.item.get("reward_value")},
        "variant_id": None,
        "source_type": grant.source_type,
        "source_id": grant.source_id,
        "points_spent": 0,
        "currency": None,
        "fields": {},
        "fulfillment_data": {},
        "failure_reason": None,
        "created_at": at,
        "updated_at": at,
        "fulfilled_at": at,
        "deadline_at": None,
        "timeline": [{"at": at, "from": None, "to": "fulfilled", "by": grant.granted_by, "note": grant.reason}],
        "deliveries": [],
        "workflow_id": None,
    }
