"""Language and theme: cookies of the browser, also for those who are not signed in yet."""

from litestar import post
from litestar.response import Redirect

from console.i18n import LANGUAGES
from console.request import THEMES, Visitor
from console.session import LANGUAGE_COOKIE, THEME_COOKIE, YEAR_SECONDS


def safe_path(wanted: str, default: str = "/dashboard") -> str:
    """The path behind `/console` to go on to; only pages of the console, never another site."""
    is_ours = (
        wanted.startswith("/console/") and not any(character in wanted for character in "\\\r\n\t") and "//" not in wanted.partition("?")[0]
    )
    return wanted.removeprefix("/console") if is_ours else default


@post("/preferences")
async def choose(visitor: Visitor) -> Redirect:
    """Keep what was chosen, and show the same page again."""
    form = visitor.form
    if form.text("language") in LANGUAGES:
        visitor.set_cookie(LANGUAGE_COOKIE, form.text("language"), max_age=YEAR_SECONDS)
    if form.text("theme") in (*THEMES, "auto"):
        visitor.set_cookie(THEME_COOKIE, form.text("theme"), max_age=YEAR_SECONDS)
    return visitor.go(safe_path(form.text("next"), "/dashboard" if visitor.session else "/sign-in"))


routes = [choose]
