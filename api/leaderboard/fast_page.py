"""A page of a board in front of Litestar: what thousands of viewers ask again and again (docs/performance.md).

Only the plain case is taken: a known credential, `limit`, `offset` and `window_key`. Whatever else is in a request, and whatever goes
wrong, is left to the route in `api/leaderboard/board.py`, which gives the same page.
"""

from typing import Any
from urllib.parse import parse_qsl

import msgspec

from api.auth import Admission
from api.leaderboard.board import OFFSET_MAXIMUM, PAGE_LIMIT, PAGE_LIMIT_MAXIMUM, BoardReader
from api.middleware import Reply
from api.tenant.credential import Authenticator
from domain import limits
from domain.errors import DomainError
from domain.tenant.tenant import TenantStatus
from runtime.logging import admitted

PREFIX = "/v1/leaderboards/"
READING_ROLES = frozenset({"admin", "server", "read", "gamer", "member"})
THOROUGH_HEADERS = frozenset({b"x-api-key", b"x-tenant-id", b"origin", b"if-none-match"})
REMEMBERED_QUERIES, PLAIN_QUERY_BYTES = limits.REMEMBERED_QUERIES.value, limits.PLAIN_QUERY_BYTES.value
"""`limit`, `offset` and `window_key` need no more; the route looks at what is longer, and nothing of it is kept."""


class PageQuery(msgspec.Struct, frozen=True):
    """Which page of a board."""

    limit: int
    offset: int
    window_key: str | None


class FastPages:
    """Answers `GET /v1/leaderboards/{leaderboard_id}` as a plain function of the request."""

    prefix = PREFIX

    def __init__(self, authenticator: Authenticator, reader: BoardReader) -> None:
        """`reader` is the one that the routes use, so both share its rendered pages."""
        self._authenticator = authenticator
        self._reader = reader
        self._queries: dict[bytes, PageQuery | None] = {}

    async def answer(self, scope: Any) -> Reply | None:
        """The page; None when Litestar has to look at the request."""
        leaderboard_id = scope["path"][len(PREFIX) :]
        admission = self._admit(scope["headers"])
        if admission is None or "/" in leaderboard_id or len(scope["query_string"]) > PLAIN_QUERY_BYTES:
            return None
        query = self._query(scope["query_string"])
        if query is None:
            return None
        if not admission.meter.take():
            return None
        tenant_id = admission.principal.tenant_id
        admitted(tenant_id, admission.principal.kind)
        try:
            page = await self._reader.page(tenant_id, leaderboard_id, limit=query.limit, offset=query.offset, window_key=query.window_key)
        except DomainError:
            return None
        return Reply(status=200, body=page.body, headers=page.headers)

    def _admit(self, headers: list[tuple[bytes, bytes]]) -> Admission | None:
        """The admission when only a known, fresh Authorization header speaks."""
        authorization = b""
        for name, value in headers:
            if name == b"authorization":
                authorization = value
            elif name in THOROUGH_HEADERS:
                return None
        admission = self._authenticator.remembered(authorization)
        if admission is None or admission.tenant.status is not TenantStatus.ACTIVE or admission.principal.role not in READING_ROLES:
            return None
        return admission

    def _query(self, raw: bytes) -> PageQuery | None:
        """The query string, parsed once; None when it is not plain."""
        if raw not in self._queries:
            if len(self._queries) >= REMEMBERED_QUERIES:
                self._queries.clear()
            self._queries[raw] = parse_query(raw)
        return self._queries[raw]


def parse_query(raw: bytes) -> PageQuery | None:
    """Which page a query string asks for; None when something in it is unusual or wrong."""
    pairs = parse_qsl(raw.decode("latin-1"), keep_blank_values=True)
    values = dict(pairs)
    limit, offset = values.get("limit", str(PAGE_LIMIT)), values.get("offset", "0")
    plain = len(values) == len(pairs) and values.keys() <= {"limit", "offset", "window_key"} and values.get("window_key") != ""
    if not plain or not all(text.isascii() and text.isdigit() and len(text) < 10 for text in (limit, offset)):
        return None
    if not (1 <= int(limit) <= PAGE_LIMIT_MAXIMUM and int(offset) <= OFFSET_MAXIMUM):
        return None
    return PageQuery(int(limit), int(offset), values.get("window_key"))
