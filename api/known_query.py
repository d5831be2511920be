"""Query parameters that a route does not know are refused: one that is misspelt must not be passed over silently."""

from collections.abc import Collection
from urllib.parse import parse_qsl

from domain.errors import ValidationError
from domain.misfit import MOST_ERRORS, near_miss

TENANT_PARAMETERS = frozenset({"tenant_id", "tenant"})
"""What every route knows: they must name the credential's tenant."""
PARAMETER_CHARACTERS = 60
PARAMETERS_ELSEWHERE = {
    "pagesize": "limit",
    "perpage": "limit",
    "size": "limit",
    "count": "limit",
    "page": "cursor",
    "after": "cursor",
    "start": "offset",
}
"""Names that other APIs give to what these routes call otherwise."""


def check_query(query_string: bytes, known: Collection[str] | None) -> None:
    """Raise `ValidationError` for query parameters that are not `known`; None: which the route knows, it does not say."""
    if known is None or not query_string:
        return
    names = dict.fromkeys(name for name, _ in parse_qsl(query_string.decode("latin-1"), keep_blank_values=True))
    strange = [name for name in names if name not in known and name not in TENANT_PARAMETERS]
    if strange:
        raise ValidationError.of_many([(name[:PARAMETER_CHARACTERS], _unknown_parameter(name, known)) for name in strange[:MOST_ERRORS]])


def _unknown_parameter(name: str, known: Collection[str]) -> str:
    meant = near_miss(name, known) or PARAMETERS_ELSEWHERE.get(name.lower().replace("_", ""))
    listed = ", ".join(sorted(known)) if known else "none"
    proposed = f"; did you mean {meant}?" if meant in known else ""
    return f"is not a query parameter of this route, which takes {listed}{proposed}"
