"""What authentication reads out of a request, and the 401 that fits the route when there is no credential in it (contract 1)."""

from collections.abc import Iterable
from typing import Any

import msgspec

from domain.errors import InvalidKey, MissingKey, Unauthorized

TOKEN_FAMILIES = ("/v1/events", "/v1/leaderboards", "/v1/snapshots", "/v1/rewards", "/v1/orders")
"""Routes that were made for tokens: without a credential they say UNAUTHORIZED, the others AUTH_MISSING_KEY."""
SUBPROTOCOL = "bearer"
"""The WebSocket's subprotocol behind which a browser, which cannot set headers, gives its token."""


class RequestFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of a request that authentication looks at."""

    path: str
    authorization: bytes | None
    api_key: bytes | None
    tenant_headers: tuple[bytes, ...]
    origin: bytes | None
    query_string: bytes
    address: str = ""
    """Where the request came from."""


def request_facts(scope: Any) -> RequestFacts:
    """What authentication needs of an ASGI connection."""
    facts = facts_of(scope["path"], scope["headers"], scope.get("query_string", b""), scope.get("client"))
    offered = scope.get("subprotocols") or []
    if facts.authorization is None and len(offered) > 1 and offered[0].lower() == SUBPROTOCOL:
        return msgspec.structs.replace(facts, authorization=b"Bearer " + offered[1].encode())
    return facts


def facts_of(path: str, headers: Iterable[tuple[bytes, bytes]], query_string: bytes, client: tuple[str, int] | None = None) -> RequestFacts:
    """Pick what authentication needs out of the parts of a raw request."""
    found: dict[bytes, bytes] = {}
    tenants: list[bytes] = []
    for name, value in headers:
        if name == b"x-tenant-id":
            tenants.append(value)
        elif name in (b"authorization", b"x-api-key", b"origin"):
            found.setdefault(name, value)
    return RequestFacts(
        path=path,
        authorization=found.get(b"authorization"),
        api_key=found.get(b"x-api-key"),
        tenant_headers=tuple(tenants),
        origin=found.get(b"origin"),
        query_string=query_string,
        address=client[0] if client else "",
    )


def in_token_family(path: str) -> bool:
    """Whether the route was made for tokens."""
    return path.startswith(TOKEN_FAMILIES)


def missing_credential(path: str) -> Unauthorized | MissingKey:
    """The refusal of a request without any credential."""
    if in_token_family(path):
        return Unauthorized("Missing Authorization header")
    return MissingKey("Missing API key")


def bearer_of(facts: RequestFacts) -> str:
    """The credential's text; raises the refusal that fits the route when there is none or it is no bearer."""
    if facts.api_key is not None:
        return facts.api_key.decode("latin-1").strip()
    if facts.authorization is None or not facts.authorization.strip():
        raise missing_credential(facts.path)
    scheme, _, credential = facts.authorization.decode("latin-1").strip().partition(" ")
    if scheme.lower() != "bearer" or not credential.strip():
        raise (
            Unauthorized("Authorization must be Bearer, a space, and an API key or a token")
            if in_token_family(facts.path)
            else InvalidKey("Invalid API key")
        )
    return credential.strip()
