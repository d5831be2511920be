"""Who may act for a tenant: the text of an API key, what of it is stored, and the roles (contract 1, credentials)."""

import base64
import hashlib
import hmac
import re
from enum import StrEnum

import msgspec

KEY_PATTERN = re.compile(r"lk_([A-Za-z0-9]{8})_([A-Za-z0-9_-]{43})")
PUBLIC_ID_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
PUBLIC_ID_LENGTH = 8
SECRET_BYTES = 32
RANDOM_BYTES = SECRET_BYTES + PUBLIC_ID_LENGTH


class KeyRole(StrEnum):
    """What an API key may do."""

    ADMIN = "admin"  # everything of its tenant
    SERVER = "server"  # identify users, send events, read, redeem, call back
    FULFILMENT = "fulfilment"  # the redemption callback, and reading that redemption
    READ = "read"  # reading


class KeyText(msgspec.Struct, frozen=True, kw_only=True):
    """A parsed API key: the part that finds it, and the hash that proves it."""

    public_id: str
    secret_hash: bytes


def compose_key(randomness: bytes) -> str:
    """The text of a new key out of `RANDOM_BYTES` random bytes: 32 for the secret, 8 for the public id."""
    secret = base64.urlsafe_b64encode(randomness[:SECRET_BYTES]).rstrip(b"=").decode()
    letters = randomness[SECRET_BYTES : SECRET_BYTES + PUBLIC_ID_LENGTH]
    public_id = "".join(PUBLIC_ID_ALPHABET[byte % len(PUBLIC_ID_ALPHABET)] for byte in letters)
    return f"lk_{public_id}_{secret}"


def parse_key(text: str) -> KeyText | None:
    """The key's two parts, or None when the text is no key at all.

    The hash is a bare SHA-256: the secret holds 256 random bits, so there is nothing that a slow hash or a pepper would protect.
    """
    match = KEY_PATTERN.fullmatch(text)
    if match is None:
        return None
    return KeyText(public_id=match[1], secret_hash=hashlib.sha256(text.encode()).digest())


def same_secret(stored: bytes, given: bytes) -> bool:
    """Whether two hashes are equal, in a time that does not depend on where they differ."""
    return hmac.compare_digest(stored, given)
