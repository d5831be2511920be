"""The messages of a board's WebSocket as clients get them (contract 3, WebSocket); what clients send is in `domain/leaderboard/view.py`."""

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from domain.errors import ErrorDetail
from domain.leaderboard.board_wire import LeaderboardEntry, LeaderboardId, WindowKey
from domain.leaderboard.window_messages import WindowStatus
from domain.wire import ExternalId, Instant

PreviousRank = Annotated[int | None, Meta(description="null for an entry that is new in the view", examples=[3])]


class _Message(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type"):
    """A message: numbered from 1 without gaps, by connection."""

    sequence: Annotated[int, Meta(ge=1)]
    timestamp: Annotated[str, Meta(examples=["2025-11-18T12:00:00.000Z"], extra_json_schema={"format": "date-time"})]


class _View(_Message, frozen=True, kw_only=True):
    """What a view holds."""

    leaderboard_id: LeaderboardId
    page: Annotated[int, Meta(examples=[1])]
    page_size: Annotated[int, Meta(examples=[100])]
    total: Annotated[int, Meta(description="How many users are ranked")]
    window_key: WindowKey
    status: WindowStatus
    starts_at: Instant | None
    ends_at: Instant | None
    entries: list[LeaderboardEntry]


class SocketSnapshot(_View, frozen=True, kw_only=True, tag="snapshot"):
    """The whole view, as REST would answer it."""


class SocketPage(_View, frozen=True, kw_only=True, tag="page"):
    """A page that was asked for once."""


class ChangedEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An entry of the view that is new or has changed."""

    rank: int
    user_id: ExternalId
    score: int | float
    display_name: str | None
    avatar_url: str | None
    updated_at: Instant
    previous_rank: PreviousRank


class SocketUpdate(_Message, frozen=True, kw_only=True, tag="update"):
    """What has changed in the view: whoever applies it to the snapshot holds what REST would answer."""

    window_key: WindowKey
    status: WindowStatus
    total: int
    entries: list[ChangedEntry]
    removed: Annotated[list[str], Meta(description="Users who left the view")]


class SocketWindowClosed(_Message, frozen=True, kw_only=True, tag="window_closed"):
    """A window that was shown is final."""

    window_key: WindowKey
    status: WindowStatus


class SocketHeartbeat(_Message, frozen=True, kw_only=True, tag="heartbeat"):
    """Nothing has happened for a while."""


class SocketPong(_Message, frozen=True, kw_only=True, tag="pong"):
    """The answer to a ping."""


class SocketError(_Message, frozen=True, kw_only=True, tag="error"):
    """A message of the client's could not be followed; the connection stays."""

    code: Annotated[str, Meta(examples=["VALIDATION_ERROR"])]
    message: str
    details: list[ErrorDetail] | UnsetType = UNSET


ServerMessage = SocketSnapshot | SocketPage | SocketUpdate | SocketWindowClosed | SocketHeartbeat | SocketPong | SocketError
