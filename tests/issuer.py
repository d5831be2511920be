"""A trusted issuer of Zitadel-style tokens, with its keys served over HTTP."""

import http.server
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from runtime.settings import JwtIssuer

ISSUER = "https://login.example"
DAY_SECONDS = 86_400
KEYS: dict[str, Any] = {
    "rsa": rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "ec": ec.generate_private_key(ec.SECP256R1()),
    "ed": Ed25519PrivateKey.generate(),
}
ALGORITHMS = {"rsa": "RS256", "ec": "ES256", "ed": "EdDSA"}
CODERS: dict[str, Any] = {"rsa": jwt.algorithms.RSAAlgorithm, "ec": jwt.algorithms.ECAlgorithm, "ed": jwt.algorithms.OKPAlgorithm}


class Jwks(http.server.BaseHTTPRequestHandler):
    """The issuer's key document, with a symmetric key in it that must never be used."""

    fetched = 0

    def do_GET(self) -> None:
        """Answer with the document."""
        Jwks.fetched += 1
        keys = [json.loads(CODERS[name].to_jwk(key.public_key())) | {"kid": name, "use": "sig"} for name, key in KEYS.items()]
        body = json.dumps({"keys": [*keys, {"kty": "oct", "kid": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"}]}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serving_keys() -> Iterator[str]:
    """Where the issuer's keys are."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Jwks)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/keys"
    finally:
        server.shutdown()
        server.server_close()


def trusted(jwks_url: str) -> tuple[JwtIssuer, ...]:
    """The setting that makes an API trust the issuer."""
    return (JwtIssuer(issuer=ISSUER, jwks_url=jwks_url, audience="laurel-api"),)


def signed(key: str = "rsa", *, header: dict[str, Any] | None = None, extra: dict[str, Any] | None = None, **changes: Any) -> str:
    """A token of the issuer; a change to None leaves the claim out."""
    claims = (
        {"iss": ISSUER, "aud": "laurel-api", "sub": "person-1", "org_id": "org-1", "exp": int(time.time()) + DAY_SECONDS}
        | changes
        | (extra or {})
    )
    given = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(given, KEYS[key], algorithm=ALGORITHMS[key], headers={"kid": key} | (header or {}))
