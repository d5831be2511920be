"""The keys of an issuer: rotated, away from the start, and away later."""

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from runtime import jwks
from runtime.jwks import JwksCache, JwksUnavailable


class Issuer:
    """A real HTTP server with a key document that the test changes; None is an outage."""

    def __init__(self) -> None:
        self.kids: list[str] | None = None
        self.fetched = 0
        self.padding = 0
        issuer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.fetched += 1
                body = issuer.document()
                self.send_response(503 if issuer.kids is None else 200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                with suppress(ConnectionError):
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                return

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/keys"

    def document(self) -> bytes:
        coder: Any = jwt.algorithms.OKPAlgorithm
        keys = [json.loads(coder.to_jwk(Ed25519PrivateKey.generate().public_key())) | {"kid": kid} for kid in self.kids or []]
        return (
            json.dumps({"keys": [*keys, {"kty": "oct", "k": "c2VjcmV0", "kid": "oct"}, {"kty": "strange"}]}).encode() + b" " * self.padding
        )


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    made = Issuer()
    yield made
    made.server.shutdown()
    made.server.server_close()


async def test_an_issuer_that_never_answered_is_not_asked_by_every_request(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = JwksCache(issuer.url)
    for _ in range(5):
        with pytest.raises(JwksUnavailable):
            await cache.key("a")
    assert issuer.fetched == 1
    issuer.kids = ["a"]
    monkeypatch.setattr(jwks, "AWAY_SECONDS", 0.0)
    assert await cache.key("a") is not None


async def test_a_rotated_key_is_found_and_an_outage_keeps_the_known_ones(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    issuer.kids = ["a"]
    cache = JwksCache(issuer.url)
    assert await cache.key("a") is not None
    issuer.kids = ["a", "b"]
    assert await cache.key("b") is None  # at most once a minute
    monkeypatch.setattr(jwks, "REFRESH_SECONDS", 0.0)
    assert await cache.key("b") is not None
    issuer.kids = None
    monkeypatch.setattr(jwks, "MAXIMUM_AGE_SECONDS", 0.0)
    assert await cache.key("a") is not None
    assert await cache.key("c") is None
    assert await cache.key("oct") is None


async def test_a_document_without_an_end_is_given_up(issuer: Issuer) -> None:
    issuer.kids, issuer.padding = ["one"], 10_000_000
    with pytest.raises(JwksUnavailable):
        await JwksCache(issuer.url).key("one")
