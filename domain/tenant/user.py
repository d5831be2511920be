"""The users of a tenant and what it tells us of them (contract 4, Users)."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType, field

from domain.errors import ValidationError
from domain.wire import parse_external_id

MAX_ATTRIBUTES_BYTES = 32_768

ShortText = Annotated[str, Meta(max_length=255)]


class Identify(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of POST /v1/users. A field that is not given stays as it is, null clears it; attributes merge by key, null removes one."""

    external_id: Annotated[str, Meta(description="The tenant's own id", examples=["player-42"])] | UnsetType = UNSET
    external_id_in_camel_case: Annotated[str, Meta(description="Another spelling of `external_id`", examples=["player-42"])] | UnsetType = (
        field(default=UNSET, name="externalId")
    )
    display_name: Annotated[ShortText | None, Meta(examples=["Ada"])] | UnsetType = UNSET
    email: Annotated[ShortText | None, Meta(examples=["ada@example.com"])] | UnsetType = UNSET
    avatar_url: (
        Annotated[str, Meta(max_length=2048, pattern="^https?://[^\\s]+$", examples=["https://cdn.example.com/ada.png"])] | UnsetType | None
    ) = UNSET
    attributes: Annotated[dict[str, Any], Meta(description="Your own facts", examples=[{"country": "VN"}])] = {}


class User(msgspec.Struct, frozen=True, kw_only=True):
    """A user. `external_id` is the tenant's own id of it, `user_id` ours."""

    user_id: UUID
    external_id: str
    display_name: str | None
    email: str | None
    avatar_url: str | None
    attributes: dict[str, Any]
    created_at: datetime
    updated_at: datetime


def identified_as(body: Identify) -> str:
    """The external id that the body names, under either spelling; ValidationError when it is none, two, or not an external id."""
    given = {value for value in (body.external_id, body.external_id_in_camel_case) if value is not UNSET}
    if len(given) != 1:
        raise ValidationError.of("external_id", "is required" if not given else "differs from externalId")
    if len(msgspec.json.encode(body.attributes)) > MAX_ATTRIBUTES_BYTES:
        raise ValidationError.of("attributes", f"is larger than {MAX_ATTRIBUTES_BYTES} bytes")
    return parse_external_id(str(given.pop()), "external_id")
