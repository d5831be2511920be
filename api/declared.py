"""What a route declares of its wire beyond what its signature says: the shape of a body that it decodes itself, and its refusals.

A handler's signature is the declaration: `data` is the body, `params` the query parameters, `page` the part of a list, what it returns the
answer. These few notes say what a signature cannot:

    @patch(PATH, refusals=(VersionConflict,), ...)
    async def update_reward_item(data: Annotated[dict[str, Any], PartOf(RewardItemBody)], ...) -> RewardItem: ...

At the route stand `refusals` (classes of `domain/errors.py`, besides those that follow from path, body and credential), `answers` (shapes
of further statuses), `body` (the shape of a body that may be left out, which the handler reads by itself) and `tolerated` (query parameters
of former days, which go on working and are not in the document).
"""

import msgspec


class As(msgspec.Struct, frozen=True):
    """Note beside `data`: it is an object of this shape, which the domain itself reads."""

    shape: type


class PartOf(msgspec.Struct, frozen=True):
    """Note beside `data`: any members of this shape; those that are left out stay as they are."""

    shape: type
