"""Grants: one item to one user for one cause (contract 4, Grant)."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta

from domain.errors import ValidationError
from domain.wire import ExternalId, parse_external_id

MAX_USERS = 1000


class GrantBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A grant by hand: an item for up to 1000 users, with a reason that stays."""

    item_id: Annotated[UUID, Meta(description="The reward item")]
    external_ids: Annotated[list[ExternalId], Meta(min_length=1, max_length=MAX_USERS, description="Who gets it")]
    reason: Annotated[str, Meta(min_length=1, max_length=1000, examples=["An apology for Tuesday"])]
    idempotency_key: Annotated[str | None, Meta(description="Instead of the header Idempotency-Key", examples=["gift-4711"])] = None


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
