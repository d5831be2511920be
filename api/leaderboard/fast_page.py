"""A page of a board in front of Litestar: what thousands of viewers ask again and again (docs/performance.md).

Only the plain case is taken: a known credential that is let in, `limit`, `offset` and `window_key`. Any other request is left to the
route in `api/leaderboard/board.py`, which gives the same page.
"""

from typing import Any
from urllib.parse import parse_qsl

from api.admission import AdmissionControl
from api.leaderboard.board import BoardReader, PageParams, get_leaderboard_page
from api.middleware import Reply
from api.query import query_as, query_names
from api.rule import rule_of
from domain import limits
from domain.errors import ValidationError

PREFIX = "/v1/leaderboards/"
KNOWN = query_names(get_leaderboard_page)
REMEMBERED_QUERIES, PLAIN_QUERY_BYTES = limits.REMEMBERED_QUERIES.value, limits.PLAIN_QUERY_BYTES.value
"""`limit`, `offset` and `window_key` need no more; the route looks at what is longer, and nothing of it is kept."""


class FastPages:
    """Answers `GET /v1/leaderboards/{leaderboard_id}` as a plain function of the request."""

    prefix = PREFIX

    def __init__(self, control: AdmissionControl, reader: BoardReader) -> None:
        """`reader` is the one that the routes use, so both share its rendered pages."""
        self._control = control
        self._rule = rule_of(get_leaderboard_page)
        self._reader = reader
        self._queries: dict[bytes, PageParams | None] = {}

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

    def _query(self, raw: bytes) -> PageParams | None:
        """The query string, parsed once; None when it is not plain."""
        if raw not in self._queries:
            if len(self._queries) >= REMEMBERED_QUERIES:
                self._queries.clear()
            self._queries[raw] = parse_query(raw)
        return self._queries[raw]


def parse_query(raw: bytes) -> PageParams | None:
    """Which page a query string asks for; None when something in it is unusual or wrong: the route says what."""
    pairs = parse_qsl(raw.decode("latin-1"), keep_blank_values=True)
    values = dict(pairs)
    if len(values) < len(pairs) or not values.keys() <= KNOWN:
        return None
    try:
        return query_as(values, PageParams)
    except ValidationError:
        return None
