"""A page of a board in front of Litestar: what thousands of viewers ask again and again (docs/performance.md).

Only the plain case is taken: a known credential that is let in, `limit`, `offset` and `window_key`. Any other request is left to the
route in `api/leaderboard/board.py`, which gives the same page.
"""

from typing import Any
from urllib.parse import parse_qsl

import msgspec

from api.admission import AdmissionControl
from api.leaderboard.board import OFFSET_MAXIMUM, PAGE_LIMIT, PAGE_LIMIT_MAXIMUM, BoardReader, get_leaderboard_page
from api.middleware import Reply
from api.rule import rule_of
from domain import limits

PREFIX = "/v1/leaderboards/"
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

    def __init__(self, control: AdmissionControl, reader: BoardReader) -> None:
        """`reader` is the one that the routes use, so both share its rendered pages."""
        self._control = control
        self._rule = rule_of(get_leaderboard_page)
        self._reader = reader
        self._queries: dict[bytes, PageQuery | None] = {}

    async def answer(self, scope: Any) -> Reply | None:
        """The page; None when Litestar has to look at the request, which has not been charged then. Raises what `api/errors.py` maps."""
        leaderboard_id = scope["path"][len(PREFIX) :]
        if not leaderboard_id or "/" in leaderboard_id or len(scope["query_string"]) > PLAIN_QUERY_BYTES:
            return None
        query = self._query(scope["query_string"])
        if query is None or (admission := self._control.admit_plain(scope["headers"], self._rule)) is None:
            return None
        tenant_id = admission.principal.tenant_id
        page = await self._reader.page(tenant_id, leaderboard_id, limit=query.limit, offset=query.offset, window_key=query.window_key)
        return Reply(status=200, body=page.body, headers=page.headers)

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
