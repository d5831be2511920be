"""The console as an ASGI application under `/console`: its routes, its error pages and the headers of every answer."""

import logging
import warnings
from typing import Any
from urllib.parse import quote

from litestar import Litestar, Request, Response, Router, get
from litestar.datastructures import State
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.exceptions.base_exceptions import LitestarDeprecationWarning
from litestar.response import Redirect
from litestar.types import ControllerRouterHandler, Receive, Scope, Send

from console import preferences, static_files
from console.client import ApiRefused
from console.errors import PageError, PasswordNeeded, SignInNeeded
from console.event import event_log, event_type, event_type_form
from console.i18n import LANGUAGES, choose_locale, locale, translations
from console.leaderboard import leaderboard, leaderboard_form
from console.payout import run as payout_run
from console.payout import schedule, schedule_form
from console.points import earning_rule, tier
from console.programme import dashboard, stuck_work
from console.redemption import redemption
from console.request import ACCOUNT, Parts, Visitor, provide_visit, provide_visitor
from console.reward import config as reward_config
from console.reward import item as reward_item
from console.reward import reward, reward_form
from console.session import LANGUAGE_COOKIE, PATH, with_own_cookies
from console.tenant import account, api_key, audit_log, settings, sign_in, user
from console.webhook import delivery, third_parties
from console.webhook import endpoint as webhook
from console.webhook import endpoint_form as webhook_form
from runtime.postgres import is_away
from runtime.slots import CrowdedError

log = logging.getLogger("laurel.console")

FEATURES = (
    static_files,
    sign_in,
    account,
    preferences,
    dashboard,
    leaderboard,
    leaderboard_form,
    reward_config,
    reward_item,
    event_type,
    event_type_form,
    event_log,
    api_key,
    settings,
    audit_log,
    third_parties,
    redemption,
    schedule,
    schedule_form,
    payout_run,
    delivery,
    webhook,
    webhook_form,
    reward,
    reward_form,
    user,
    tier,
    earning_rule,
    stuck_work,
)
"""One line for each page module; each exports `routes`."""

MAXIMUM_BODY_BYTES = 1_048_576

SECURITY_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; font-src 'none'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=()",
}
HEADER_BYTES = [(name.encode(), value.encode()) for name, value in SECURITY_HEADERS.items()]
HSTS = (b"strict-transport-security", b"max-age=31536000")
NO_STORE = (b"cache-control", b"no-store")


@get("/")
async def begin() -> Redirect:
    """The console begins at its dashboard."""
    return Redirect(f"{PATH}/dashboard", status_code=302)


def error_page(request: Request[Any, Any, State], status: int, message: str = "") -> Response[bytes]:
    """A page that says what is wrong, and what to do."""
    visitor = request.scope["state"].get("visitor") or Visitor(request, request.app.state.parts, None)
    return visitor.page("error.html", status=status, code=status, message=message, request_id=request.scope["state"].get("request_id", ""))


def answer_error(request: Request[Any, Any, State], error: Exception) -> Response[Any]:
    """The page for whatever kept a page from being shown."""
    if isinstance(error, SignInNeeded):
        wanted = f"?next={quote(error.path, safe='/')}" if error.path and error.path != f"{PATH}/dashboard" else ""
        return Redirect(f"{PATH}/sign-in{wanted}", status_code=303)
    if isinstance(error, PasswordNeeded):
        return Redirect(ACCOUNT, status_code=303)
    if isinstance(error, PageError):
        return error_page(request, error.status, error.message)
    if isinstance(error, ApiRefused):
        # A malformed id in the address of a page is a page that does not exist.
        status = 404 if error.refusal.status == 400 else error.refusal.status
        return error_page(request, status, error.refusal.message)
    if isinstance(error, CrowdedError):
        return error_page(request, 429)
    if is_away(error):
        return error_page(request, 503)
    if isinstance(error, HTTPException) and error.status_code < 500:
        return error_page(request, error.status_code)
    log.error("page %s failed", request.scope["path"], exc_info=error)
    return error_page(request, 500)


def page_routes() -> list[ControllerRouterHandler]:
    """The handlers of every page."""
    return [begin, *(route for feature in FEATURES for route in feature.routes)]


class Console:
    """The ASGI application: chooses the language, and puts its headers on every answer."""

    def __init__(self, parts: Parts) -> None:
        """`parts.pool` is opened and closed by the process."""
        self.parts = parts
        for code in LANGUAGES:
            translations(code)  # read now, not while somebody waits for a page
        with warnings.catch_warnings():
            # As in the API: handlers ask for what is injected by the names of Litestar 2.
            warnings.simplefilter("ignore", LitestarDeprecationWarning)
            self.application = Litestar(
                route_handlers=[Router(path=PATH, route_handlers=page_routes())],
                state=State({"parts": parts}),
                dependencies={"visit": Provide(provide_visit), "visitor": Provide(provide_visitor)},
                exception_handlers={Exception: answer_error, HTTPException: answer_error},
                request_max_body_size=MAXIMUM_BODY_BYTES,
                openapi_config=None,
                logging_config=None,
            )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One HTTP request."""
        scope["headers"] = with_own_cookies(scope["headers"])
        request: Request[Any, Any, Any] = Request(scope)
        locale.set(choose_locale(request.cookies.get(LANGUAGE_COOKIE), request.headers.get("accept-language", "")))
        secure = scope["scheme"] == "https" or self.parts.settings.public_url.startswith("https://")

        async def send_guarded(message: Any) -> None:
            if message["type"] == "http.response.start":
                kept = [*message["headers"]]
                names = {bytes(name).lower() for name, _ in kept}
                kept += HEADER_BYTES
                kept += [] if b"cache-control" in names else [NO_STORE]
                kept += [HSTS] if secure else []
                message["headers"] = kept
            await send(message)

        await self.application(scope, receive, send_guarded)
