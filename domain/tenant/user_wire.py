"""Users as they are shown (contract 4, Users)."""

from typing import Annotated

import msgspec
from msgspec import Meta

from domain.tenant.user import User
from domain.wire import FreeForm, Id, Instant, rfc3339


class UserProfile(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a user."""

    user_id: Annotated[Id, Meta(description="Laurel's own id")]
    external_id: Annotated[str, Meta(description="The tenant's own id", examples=["player-42"])]
    display_name: Annotated[str | None, Meta(examples=["Ada"])]
    email: Annotated[str | None, Meta(examples=["ada@example.com"])]
    avatar_url: str | None
    attributes: Annotated[FreeForm, Meta(description="The tenant's own facts")]
    created_at: Instant
    updated_at: Instant


class IdentifiedUser(UserProfile, frozen=True, kw_only=True):
    """A user who was created, or whose profile was merged."""

    created: Annotated[bool, Meta(description="Whether the user is new")]


def user_profile(user: User) -> UserProfile:
    """The profile of a user."""
    return UserProfile(
        user_id=user.user_id,
        external_id=user.external_id,
        display_name=user.display_name,
        email=user.email,
        avatar_url=user.avatar_url,
        attributes=user.attributes,
        created_at=rfc3339(user.created_at),
        updated_at=rfc3339(user.updated_at),
    )
