"""Signing in and out."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError
from litestar import Response, get, post
from litestar.response import Redirect

from console.i18n import _
from console.preferences import safe_path
from console.request import Visit, Visitor
from console.session import (
    DEVICE_COOKIE,
    GUEST_COOKIE,
    SESSION_COOKIE,
    YEAR_SECONDS,
    attempt_keys,
    device_of,
    new_token,
    token_hash,
    too_many,
)
from domain import limits
from domain.tenant.tenant import TenantStatus
from runtime.postgres import transaction
from storage.tenant.console_session import (
    LONGEST,
    ConsoleUser,
    Person,
    close_session,
    find_console_user,
    forget_attempts,
    note_attempt,
    note_sign_in,
    open_session,
    renew_hash,
)

HASHER = PasswordHasher()
NOBODY = HASHER.hash("the password of nobody")
"""What an unknown address is compared with, so that the answer takes as long as for a known one."""

HASHERS = ThreadPoolExecutor(max_workers=limits.HASHERS.value, thread_name_prefix="hasher")
"""A hash takes 64 MB for a moment; many at once would be a way to take the process down."""


async def password_fits(password_hash: str, password: str) -> bool:
    """Whether the password is that of the hash (argon2id), off the event loop."""

    def verify() -> bool:
        try:
            return HASHER.verify(password_hash, password)
        except (Argon2Error, InvalidHashError):
            return False

    return await asyncio.get_running_loop().run_in_executor(HASHERS, verify)


async def hash_password(password: str) -> str:
    """The argon2id hash of a password, off the event loop."""
    return await asyncio.get_running_loop().run_in_executor(HASHERS, HASHER.hash, password)


@get("/sign-in")
async def show_sign_in(visitor: Visitor) -> Response[bytes] | Redirect:
    """The sign-in page; those who are signed in go on."""
    if visitor.session is not None:
        return visitor.go(safe_path(visitor.query("next")))
    return visitor.page("sign_in.html", email="", problem="", next=visitor.query("next"))


@post("/sign-in")
async def sign_in(visitor: Visitor) -> Response[bytes] | Redirect:
    """Sign in, or say that address and password do not fit: never which of them, and at the same speed."""
    form = visitor.form
    email, password = form.text("email")[:320], form.secret("password")[: limits.PASSWORD_CHARACTERS.value]
    keys = attempt_keys(visitor.parts.secret, email, visitor.address, visitor.cookie(DEVICE_COOKIE))
    async with transaction(visitor.pool) as connection:
        counted = await note_attempt(connection, keys, visitor.now)
        user = await find_console_user(connection, email.replace("\0", ""))
    if too_many(counted):
        problem = _("Too many attempts. Try again in 15 minutes.")
        return visitor.page("sign_in.html", status=429, email=email, problem=problem, next=form.text("next"))
    fits = await password_fits(user.password_hash if user else NOBODY, password)
    if user is None or not fits:
        if user is not None:
            await _note(visitor, user, "sign_in_refused")
        problem = _("Incorrect email or password.")
        return visitor.page("sign_in.html", status=403, email=email, problem=problem, next=form.text("next"))
    if problem := _barred(user, visitor.now):
        await _note(visitor, user, "sign_in_refused")
        return visitor.page("sign_in.html", status=403, email=email, problem=problem, next=form.text("next"))
    await _let_in(visitor, user, password, keys)
    return visitor.go(safe_path(form.text("next")))


def _barred(user: ConsoleUser, now: datetime) -> str:
    """Why somebody whose password is right may not come in all the same, or nothing."""
    if user.tenant_status is TenantStatus.SUSPENDED:
        return _("This organisation is suspended.")
    if user.first_password_until is not None and user.first_password_until < now:
        return _("Your invitation has expired. Ask an administrator for a new one.")
    return ""


async def _let_in(visitor: Visitor, user: ConsoleUser, password: str, keys: list[bytes]) -> None:
    token = new_token()
    agent = visitor.request.headers.get("user-agent", "")[:300]
    better = await hash_password(password) if HASHER.check_needs_rehash(user.password_hash) else None
    async with transaction(visitor.pool) as connection:
        await open_session(connection, user, token_hash=token_hash(token), address=visitor.address, user_agent=agent, now=visitor.now)
        await forget_attempts(connection, keys, visitor.now)
        if better is not None:
            await renew_hash(connection, user.tenant_id, user.console_user_id, better)
        await note_sign_in(connection, user, "sign_in", now=visitor.now, facts={"address": visitor.address, "browser": agent})
    visitor.set_cookie(SESSION_COOKIE, token, max_age=int(LONGEST.total_seconds()))
    visitor.set_cookie(DEVICE_COOKIE, device_of(visitor.parts.secret, user.email, new_token()), max_age=YEAR_SECONDS)
    visitor.drop_cookie(GUEST_COOKIE)


async def _note(visitor: Visitor, user: ConsoleUser, action: str) -> None:
    async with transaction(visitor.pool) as connection:
        await note_sign_in(connection, user, action, now=visitor.now, facts={"address": visitor.address})


@post("/sign-out")
async def sign_out(visitor: Visitor) -> Redirect:
    """Sign out in this place."""
    if isinstance(visitor, Visit):
        async with transaction(visitor.pool) as connection:
            await close_session(connection, visitor.tenant_id, visitor.user.session_id)
            user = visitor.user
            person = Person(tenant_id=user.tenant_id, console_user_id=user.console_user_id, email=user.email)
            await note_sign_in(connection, person, "sign_out", now=visitor.now, facts={"address": visitor.address})
    visitor.drop_cookie(SESSION_COOKIE)
    return visitor.go("/sign-in", good=_("You've been signed out."))


routes = [show_sign_in, sign_in, sign_out]
