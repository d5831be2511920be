"""Signing keys of trusted issuers, fetched over HTTP and cached."""

import asyncio
import json
import time
from typing import Any

import httpx
import jwt

ALGORITHMS = frozenset({"RS256", "ES256", "EdDSA"})
REFRESH_SECONDS = 60.0
"""An unknown key id makes a fetch at most this often (contract 1)."""
MAXIMUM_AGE_SECONDS = 3600.0
AWAY_SECONDS = 2.0
"""An issuer that has never answered is asked again after so long, not by every request that waits for it."""
FETCH_TIMEOUT_SECONDS = 5.0
"""For the whole answer: an issuer that drips does not hold the requests that wait for its keys."""
DOCUMENT_BYTES = 262_144


class JwksUnavailable(Exception):
    """The issuer's keys could not be fetched, and none are cached."""


class JwksCache:
    """The keys of one issuer by their id."""

    def __init__(self, url: str) -> None:
        """Nothing is fetched before the first question."""
        self._url = url
        self._keys: dict[str | None, jwt.PyJWK] = {}
        self._fetched_at = float("-inf")
        self._tried_at = float("-inf")
        self._lock = asyncio.Lock()

    async def key(self, key_id: str | None) -> jwt.PyJWK | None:
        """The key of that id, or None; raises `JwksUnavailable` when the issuer has never answered."""
        found = self._keys.get(key_id)
        if found is not None and time.monotonic() - self._fetched_at < MAXIMUM_AGE_SECONDS:
            return found
        async with self._lock:
            pause = REFRESH_SECONDS if self._keys else AWAY_SECONDS
            if time.monotonic() - self._tried_at >= pause:
                await self._fetch()
            elif not self._keys:
                raise JwksUnavailable(self._url)
        return self._keys.get(key_id)

    async def _fetch(self) -> None:
        try:
            async with asyncio.timeout(FETCH_TIMEOUT_SECONDS):
                document = json.loads(await self._read())
        except (httpx.HTTPError, ValueError, TimeoutError, RecursionError) as error:
            if self._keys:
                return  # the keys that were good a while ago are better than none
            raise JwksUnavailable(self._url) from error
        finally:
            self._tried_at = time.monotonic()
        self._keys = _usable_keys(document)
        self._fetched_at = time.monotonic()

    async def _read(self) -> bytes:
        """The document; raises ValueError when it is too large."""
        document = b""
        async with (
            httpx.AsyncClient(timeout=FETCH_TIMEOUT_SECONDS, follow_redirects=False) as client,
            client.stream("GET", self._url) as answer,
        ):
            answer.raise_for_status()
            async for part in answer.aiter_bytes():
                document += part
                if len(document) > DOCUMENT_BYTES:
                    raise ValueError("the JWKS document is too large")
        return document


def _usable_keys(document: Any) -> dict[str | None, jwt.PyJWK]:
    keys: dict[str | None, jwt.PyJWK] = {}
    entries = document.get("keys", []) if isinstance(document, dict) else []
    for entry in entries:
        try:
            key = jwt.PyJWK(entry)
        except (jwt.PyJWTError, TypeError, AttributeError):
            continue  # a kind of key that we do not know must not hide the others
        if key.algorithm_name in ALGORITHMS and entry.get("use", "sig") == "sig":
            keys[key.key_id] = key
    return keys
