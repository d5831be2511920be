"""Cookies of the console: what proves a session, what a form must bring along, and how attempts to sign in are counted."""

import base64
import hashlib
import hmac
import os

from litestar.datastructures import Cookie

SESSION_COOKIE = "laurel_session"
GUEST_COOKIE = "laurel_guest"
LANGUAGE_COOKIE = "laurel_language"
THEME_COOKIE = "laurel_theme"
FLASH_COOKIE = "laurel_flash"
PATH = "/console"
YEAR_SECONDS = 365 * 86_400
TOKEN_BYTES = 32

PAIR_ATTEMPTS, EMAIL_ATTEMPTS, ADDRESS_ATTEMPTS = 6, 30, 60
"""Attempts in 15 minutes for an email from one address, for an email from anywhere, and from one address for any email."""


def new_token() -> str:
    """What a session's cookie holds: 256 random bits."""
    return base64.urlsafe_b64encode(os.urandom(TOKEN_BYTES)).rstrip(b"=").decode()


def token_hash(token: str) -> bytes:
    """What the database keeps of it. The token is random, so a fast hash is enough."""
    return hashlib.sha256(token.encode()).digest()


def form_token(cookie: str) -> str:
    """What every form of this visit brings along against forged requests: derived from the cookie, which other sites cannot read."""
    return hmac.new(cookie.encode(), b"laurel console form", hashlib.sha256).hexdigest()


def same_text(given: str, wanted: str) -> bool:
    """Whether two texts are equal, in a time that does not tell where they differ."""
    return hmac.compare_digest(given.encode(), wanted.encode())


def make_cookie(name: str, value: str, *, secure: bool, max_age: int | None = None, path: str = PATH) -> Cookie:
    """A cookie that scripts cannot read and other sites do not send along with a form. `max_age` is in seconds; None: this visit."""
    return Cookie(key=name, value=value, path=path, max_age=max_age, httponly=True, secure=secure, samesite="lax")


def attempt_keys(secret: bytes, email: str, address: str) -> list[bytes]:
    """Under what an attempt is counted: email and address together, the email, the address. Hashes, so that nobody's name is kept."""
    known = email.strip().lower()
    texts = (f"pair\n{known}\n{address}", f"email\n{known}", f"address\n{address}")
    return [hmac.new(secret, text.encode(), hashlib.sha256).digest() for text in texts]


def too_many(counted: list[int]) -> bool:
    """Whether one of the three counts is beyond its limit."""
    return any(count > limit for count, limit in zip(counted, (PAIR_ATTEMPTS, EMAIL_ATTEMPTS, ADDRESS_ATTEMPTS), strict=True))
