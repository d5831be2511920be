"""Cookies of the console: what proves a session, what a form must bring along, and how attempts to sign in are counted."""

import base64
import hashlib
import hmac
import os
from collections.abc import Iterable
from uuid import UUID

from litestar.datastructures import Cookie

from domain import limits

SESSION_COOKIE = "laurel_session"
GUEST_COOKIE = "laurel_guest"
LANGUAGE_COOKIE = "laurel_language"
THEME_COOKIE = "laurel_theme"
FLASH_COOKIE = "laurel_flash"
DEVICE_COOKIE = "laurel_device"
"""Which browser a person has signed in with before: its attempts are counted for themselves, so that strangers cannot lock it out."""
HOST_BOUND = frozenset({SESSION_COOKIE, GUEST_COOKIE, DEVICE_COOKIE})
OURS = frozenset({SESSION_COOKIE, GUEST_COOKIE, LANGUAGE_COOKIE, THEME_COOKIE, FLASH_COOKIE, DEVICE_COOKIE})
PATH = "/console"
YEAR_SECONDS = 365 * 86_400
TOKEN_BYTES = 32

PAIR_ATTEMPTS, EMAIL_ATTEMPTS, ADDRESS_ATTEMPTS = (
    limits.PAIR_ATTEMPTS.value,
    limits.EMAIL_ATTEMPTS.value,
    limits.ADDRESS_ATTEMPTS.value,
)
"""Attempts in 15 minutes for an email from one address, for an email from anywhere, and from one address for any email."""


def new_token() -> str:
    """What a session's cookie holds: 256 random bits."""
    return base64.urlsafe_b64encode(os.urandom(TOKEN_BYTES)).rstrip(b"=").decode()


def token_hash(token: str) -> bytes:
    """What the database keeps of it. The token is random, so a fast hash is enough."""
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


def form_token(cookie: str) -> str:
    """What every form of this visit brings along against forged requests: derived from the cookie, which other sites cannot read."""
    return hmac.new(cookie.encode("utf-8", "replace"), b"laurel console form", hashlib.sha256).hexdigest()


def same_text(given: str, wanted: str) -> bool:
    """Whether two texts are equal, in a time that does not tell where they differ."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode("utf-8", "replace"))


def cookie_name(name: str, *, secure: bool) -> str:
    """The cookie's name on the wire: over https what proves somebody is bound to this host, so that no neighbour can plant one."""
    return f"__Host-{name}" if secure and name in HOST_BOUND else name


def make_cookie(name: str, value: str, *, secure: bool, max_age: int | None = None) -> Cookie:
    """A cookie that scripts cannot read and other sites do not send along with a form. `max_age` is in seconds; None: this visit."""
    key = cookie_name(name, secure=secure)
    path = PATH if key == name else "/"  # browsers take the prefix for the whole host only
    return Cookie(key=key, value=value, path=path, max_age=max_age, httponly=True, secure=secure, samesite="lax")


def with_own_cookies(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The headers with none but the console's cookies, of which none is in quotes.

    The framework unquotes cookies by Python's library, in time quadratic in the text, and whoever asks needs no credential for that.
    """
    kept: list[tuple[bytes, bytes]] = []
    cookies: list[bytes] = []
    for name, value in headers:
        if name == b"cookie":
            cookies.extend(cookie for cookie in value.split(b";") if _is_own(cookie))
        else:
            kept.append((name, value))
    return [*kept, (b"cookie", b";".join(cookies))] if cookies else kept


def _is_own(cookie: bytes) -> bool:
    name = cookie.partition(b"=")[0].strip().decode("latin-1").removeprefix("__Host-")
    return name in OURS and b'"' not in cookie


def device_of(secret: bytes, email: str, nonce: str) -> str:
    """What a browser keeps after somebody has signed in with it: a random part, and our signature over it and the address."""
    signature = _digest(secret, f"device\n{_plain(email)}\n{nonce}").hex()
    return f"{nonce}.{signature}"


def attempt_keys(secret: bytes, email: str, address: str, device: str = "") -> list[bytes]:
    """Under what an attempt is counted: email and address together, the email, the address. Hashes, so that nobody's name is kept.

    A browser with which this person has signed in before (`device`, the cookie's text) is counted by itself alone.
    """
    known, nonce = _plain(email), device.partition(".")[0]
    if device and same_text(device, device_of(secret, email, nonce)):
        return [_digest(secret, f"known\n{known}\n{nonce}")]
    texts = (f"pair\n{known}\n{address}", f"email\n{known}", f"address\n{address}")
    return [_digest(secret, text) for text in texts]


def session_keys(secret: bytes, session_id: UUID) -> list[bytes]:
    """Under what the attempts of a signed-in person are counted: strangers have no part in them."""
    return [_digest(secret, f"session\n{session_id}")]


def _plain(email: str) -> str:
    return email.strip().lower()


def _digest(secret: bytes, text: str) -> bytes:
    return hmac.new(secret, text.encode("utf-8", "replace"), hashlib.sha256).digest()


def too_many(counted: list[int]) -> bool:
    """Whether one of the counts is beyond its limit: the first is the person's own."""
    return any(count > limit for count, limit in zip(counted, (PAIR_ATTEMPTS, EMAIL_ATTEMPTS, ADDRESS_ATTEMPTS), strict=False))
