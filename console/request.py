"""A visit: one request of a person, with what a page needs: who it is, the API for that person, the form, the page and its cookies."""

import base64
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import msgspec
from litestar import Request, Response
from litestar.datastructures import Cookie, FormMultiDict, State
from litestar.response import Redirect
from temporalio.client import Client

from console.client import Admit, Api, AsgiApp, Refusal
from console.errors import PageError, PasswordNeeded, SignInNeeded
from console.format import Clock, clock
from console.i18n import _
from console.json_field import amount
from console.nav import present_path
from console.page import render
from console.session import (
    FLASH_COOKIE,
    GUEST_COOKIE,
    SESSION_COOKIE,
    THEME_COOKIE,
    cookie_name,
    form_token,
    make_cookie,
    new_token,
    same_text,
    token_hash,
)
from domain import limits
from runtime.ids import utc_now
from runtime.logging import admitted
from runtime.postgres import Pool
from runtime.settings import Settings
from runtime.shares import Asker, asking
from storage.programme.stuck_work import count_stuck
from storage.tenant.console_session import Session, find_session

AnyRequest = Request[Any, Any, State]
THEMES = ("light", "dark")
ACCOUNT = "/console/account"
LATE = timedelta(minutes=1)
"""A deadline that has just passed is being dealt with: its timer fires within seconds."""


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """What the console is given when the process is put together."""

    settings: Settings
    pool: Pool
    app: AsgiApp
    admit: Admit
    secret: bytes
    temporal: Callable[[], Client]
    """The process's client, which connects at its first call; it is there once the process has started."""


class Form:
    """What a person sent: every value is text, without spaces around it."""

    def __init__(self, values: FormMultiDict) -> None:
        self.values = values

    def text(self, name: str, default: str = "") -> str:
        """The value of a field, or `default` where the form has none; line ends are those of Unix."""
        value = self.values.get(name, default)
        return value.strip().replace("\r\n", "\n") if isinstance(value, str) else default

    def secret(self, name: str) -> str:
        """A password as it was typed; empty for nothing, and for a file."""
        value = self.values.get(name, "")
        return value if isinstance(value, str) else ""

    def all(self, name: str) -> list[str]:
        """Every value of a field that may come several times (boxes, several rows)."""
        return [value.strip() for value in self.values.getall(name, []) if isinstance(value, str)]

    def ticked(self, name: str) -> bool:
        """Whether a box is ticked."""
        return name in self.values

    def number(self, name: str) -> int | float | str | None:
        """A number as the API wants it; None for nothing; what is no number is left as it is, for the API to refuse."""
        text = self.text(name).replace("\u202f", "").replace(" ", "")
        if not text:
            return None
        number: int | float | str = amount(text)
        return number


class Visitor:
    """Somebody who may not be signed in. Pages for the signed-in use `Visit`."""

    def __init__(self, request: AnyRequest, parts: Parts, session: Session | None) -> None:
        self.request, self.parts, self.session = request, parts, session
        self.settings, self.pool = parts.settings, parts.pool
        self.now: datetime = utc_now()
        self.form = Form(FormMultiDict([]))
        self.stuck = 0
        """How much waits for a person, for the navigation."""
        self._cookies: list[Cookie] = []
        self.guest = self.cookie(SESSION_COOKIE if session else GUEST_COOKIE)
        if not self.guest:
            self.guest = new_token()
            self.set_cookie(GUEST_COOKIE, self.guest)

    @property
    def secure(self) -> bool:
        """Whether cookies are for https only."""
        return is_secure(self.request, self.settings)

    def cookie(self, name: str) -> str:
        """What the browser keeps under that name, or an empty text."""
        return self.request.cookies.get(cookie_name(name, secure=self.secure), "")

    @property
    def address(self) -> str:
        """The address that the request came from."""
        client = self.request.client
        return client.host if client else ""

    def set_cookie(self, name: str, value: str, *, max_age: int | None = None) -> None:
        """Send a cookie along with the page or the redirection."""
        self._cookies.append(make_cookie(name, value, secure=self.secure, max_age=max_age))

    def drop_cookie(self, name: str) -> None:
        """Let the browser forget a cookie."""
        self._cookies.append(make_cookie(name, "", secure=self.secure, max_age=0))

    async def take_form(self) -> None:
        """Read the form of a request that changes something; raises `PageError` 403 unless it is one of our own pages that sent it."""
        if not self._from_here():
            raise PageError(403, _("This form was submitted from another site. Nothing was changed."))
        body = await self.request.body()
        is_long = self.session is None and len(body) > limits.STRANGERS_FORM_BYTES.value
        if is_long or body.count(b"&") >= limits.FORM_FIELDS.value:
            raise PageError(413, _("The form is too long. Nothing was changed."))
        self.form = Form(await self.request.form())
        if not same_text(self.form.text("form_token"), form_token(self.guest)):
            raise PageError(403, _("This page was open too long, or you've signed in again since. Go back, reload and resubmit."))

    def _from_here(self) -> bool:
        headers = self.request.headers
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return False
        origin = headers.get("origin")
        hosts = {headers.get("host"), urlsplit(self.settings.public_url).netloc}
        return origin is None or urlsplit(origin).netloc in hosts

    def page(self, template: str, *, status: int = 200, **context: Any) -> Response[bytes]:
        """A page. The template gets `visit`, and what is in `context`."""
        zone = ZoneInfo(self.session.timezone) if self.session else ZoneInfo("UTC")
        clock.set(Clock(self.now, zone))
        flash = self._take_flash()
        html = render(template, visit=self, flash=flash, **context)
        return Response(html.encode(), status_code=status, media_type="text/html; charset=utf-8", cookies=self._cookies)

    def go(self, path: str, *, good: str = "", bad: str = "") -> Redirect:
        """On to another page of the console (a path behind `/console`), with a sentence on what was done or why not."""
        if good or bad:
            told = msgspec.json.encode(("good" if good else "bad", good or bad))
            # Without padding: a value with "=" in it would be sent in quotes, and cookies in quotes are not read.
            self.set_cookie(FLASH_COOKIE, base64.urlsafe_b64encode(told).decode().rstrip("="), max_age=60)
        return Redirect(f"/console{path}", status_code=303, cookies=self._cookies)

    def _take_flash(self) -> tuple[str, str] | None:
        kept = self.request.cookies.get(FLASH_COOKIE)
        if not kept or "x-laurel-live" in self.request.headers:
            return None
        self.drop_cookie(FLASH_COOKIE)
        try:
            kind, text = msgspec.json.decode(base64.urlsafe_b64decode(kept + "=" * (-len(kept) % 4)), type=tuple[str, str])
        except ValueError:
            return None
        return (kind if kind in ("good", "bad") else "good"), text

    # What templates ask for.

    @property
    def form_token(self) -> str:
        """The hidden field of every form (macro `form_start`)."""
        return form_token(self.guest)

    @property
    def theme(self) -> str:
        """`light`, `dark`, or empty: as the system has it."""
        chosen = self.request.cookies.get(THEME_COOKIE, "")
        return chosen if chosen in THEMES else ""

    @property
    def path(self) -> str:
        """The page's path."""
        return self.request.scope["path"]

    @property
    def present(self) -> str:
        """The link of the navigation that this page belongs to."""
        return present_path(self.path)

    def query(self, name: str) -> str:
        """A parameter of the page's address, or an empty text."""
        return str(self.request.query_params.get(name, ""))

    def once(self) -> str:
        """A fresh idempotency key for a form: sent twice, it counts once."""
        return secrets.token_urlsafe(16)


class Visit(Visitor):
    """Somebody who is signed in."""

    def __init__(self, request: AnyRequest, parts: Parts, session: Session, admission: Any) -> None:
        super().__init__(request, parts, session)
        self.user: Session = session
        self.tenant_id = session.tenant_id
        self.api = Api(parts.app, admission, str(request.scope["state"].get("request_id", "")))

    @property
    def can_change(self) -> bool:
        """Whether the person's role lets it change things."""
        return self.user.role == "admin"

    def must_change(self) -> None:
        """Raise `PageError` 403 for viewers: for pages that are only a form."""
        if not self.can_change:
            raise PageError(403, _("Viewers can't make changes."))

    @property
    def zone(self) -> ZoneInfo:
        """The tenant's time zone."""
        return ZoneInfo(self.user.timezone)

    def done(self, path: str, error: Refusal | None, good: str) -> Redirect:
        """On to `path` with a sentence: `good`, or why the API refused."""
        return self.go(path, good=good) if error is None else self.go(path, bad=error.message)


def is_secure(request: AnyRequest, settings: Settings) -> bool:
    """Whether the browser speaks https with us, or with the proxy that is our public address."""
    return request.scope["scheme"] == "https" or settings.public_url.startswith("https://")


async def find_visitor(request: AnyRequest, parts: Parts) -> Visitor:
    """Whoever asks, signed in or not."""
    token = request.cookies.get(cookie_name(SESSION_COOKIE, secure=is_secure(request, parts.settings)), "")
    if not token:
        return Visitor(request, parts, None)
    async with parts.pool.connection() as connection:
        session = await find_session(connection, token_hash(token), utc_now())
        stuck = 0
        if session is not None and request.method == "GET":
            stuck = await count_stuck(connection, session.tenant_id, utc_now() - LATE)
    if session is None:
        return Visitor(request, parts, None)
    admitted(session.tenant_id, "console")
    asking.set(Asker(session.tenant_id, f"console:{session.email}"))
    visit = Visit(request, parts, session, await parts.admit(session.tenant_id, session.email, session.role))
    visit.stuck = stuck
    return visit


async def provide_visitor(request: AnyRequest, state: State) -> Visitor:
    """The visitor, with its form read and checked; injected as `visitor`."""
    visitor = await find_visitor(request, state.parts)
    request.scope["state"]["visitor"] = visitor  # an error page keeps the navigation
    if request.method not in ("GET", "HEAD"):
        await visitor.take_form()
    return visitor


async def provide_visit(request: AnyRequest, state: State) -> Visit:
    """The signed-in visitor, with its form read and checked; injected as `visit`. Others are led to the sign-in page."""
    visitor = await provide_visitor(request, state)
    if not isinstance(visitor, Visit):
        query = request.scope["query_string"].decode("latin-1")
        raise SignInNeeded(request.scope["path"] + (f"?{query}" if query else "") if request.method == "GET" else "")
    route = request.scope["path_template"]
    if visitor.user.must_choose and route != ACCOUNT and not route.startswith(ACCOUNT + "/"):
        raise PasswordNeeded
    return visitor
