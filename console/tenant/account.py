"""One's own account: the password, and where one is signed in."""

from uuid import UUID

from litestar import Response, get, post
from litestar.response import Redirect

from console.i18n import _, ngettext
from console.request import Visit
from console.session import SESSION_COOKIE, session_keys, too_many
from console.tenant.sign_in import hash_password, password_fits
from domain import limits
from runtime.postgres import Connection, transaction
from storage.tenant.console_session import (
    Person,
    close_session,
    close_sessions,
    find_password_hash,
    forget_attempts,
    list_sessions,
    note_attempt,
    note_sign_in,
    set_password,
)

SHORTEST_PASSWORD = 12


async def _page(visit: Visit, errors: dict[str, str], status: int = 200) -> Response[bytes]:
    async with visit.pool.connection() as connection:
        places = await list_sessions(connection, visit.tenant_id, visit.user.console_user_id)
    return visit.page("account.html", status=status, places=places, errors=errors, shortest=SHORTEST_PASSWORD)


@get("/account")
async def show_account(visit: Visit) -> Response[bytes]:
    """The password form and the list of places."""
    return await _page(visit, {})


@post("/account/password")
async def change_password(visit: Visit) -> Response[bytes] | Redirect:
    """Change the password, which ends all other sessions."""
    present, new = visit.form.secret("present"), visit.form.secret("new")
    user = visit.user
    keys = session_keys(visit.parts.secret, user.session_id)
    async with transaction(visit.pool) as connection:
        counted = await note_attempt(connection, keys, visit.now)
        known = await find_password_hash(connection, user.tenant_id, user.console_user_id)
    if too_many(counted):
        return await _page(visit, {"present": _("Too many attempts. Try again in 15 minutes.")}, 429)
    if known is None or not await password_fits(known, present[: limits.PASSWORD_CHARACTERS.value]):
        return await _page(visit, {"present": _("That isn't your current password.")}, 400)
    if not SHORTEST_PASSWORD <= len(new) <= limits.PASSWORD_CHARACTERS.value:
        short = ngettext("Use at least %(num)s character.", "Use at least %(num)s characters.", SHORTEST_PASSWORD)
        return await _page(visit, {"new": short}, 400)
    if new == present:
        return await _page(visit, {"new": _("That's your current password. Choose a different one.")}, 400)
    if new != visit.form.secret("again"):
        return await _page(visit, {"again": _("The passwords don't match.")}, 400)
    password_hash = await hash_password(new)
    async with transaction(visit.pool) as connection:
        await set_password(connection, user.tenant_id, user.console_user_id, password_hash)
        await close_sessions(connection, user.tenant_id, user.console_user_id, but=user.session_id)
        await forget_attempts(connection, keys, visit.now)
        await _note(connection, visit, "password_changed")
    return visit.go("/account", good=_("Password changed. Your other sessions were ended."))


async def _note(connection: Connection, visit: Visit, action: str) -> None:
    user = visit.user
    person = Person(tenant_id=user.tenant_id, console_user_id=user.console_user_id, email=user.email)
    await note_sign_in(connection, person, action, now=visit.now, facts={"address": visit.address})


@post("/account/sessions/{session_id:uuid}/end")
async def end_session(visit: Visit, session_id: UUID) -> Redirect:
    """Sign out in another place of one's own."""
    async with transaction(visit.pool) as connection:
        own = await list_sessions(connection, visit.tenant_id, visit.user.console_user_id)
        if session_id in {place.session_id for place in own}:
            await close_session(connection, visit.tenant_id, session_id)
    return visit.go("/account", good=_("Session ended."))


@post("/account/sign-out-everywhere")
async def sign_out_everywhere(visit: Visit) -> Redirect:
    """End all sessions, this one too."""
    async with transaction(visit.pool) as connection:
        await close_sessions(connection, visit.tenant_id, visit.user.console_user_id)
        await _note(connection, visit, "sign_out_everywhere")
    visit.drop_cookie(SESSION_COOKIE)
    return visit.go("/sign-in", good=_("You've been signed out everywhere."))


routes = [show_account, change_password, end_session, sign_out_everywhere]
