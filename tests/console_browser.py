"""A real browser in the console: signing in, looking for what a screen reader or a keyboard would stumble over."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

PATIENCE_MILLISECONDS = 60_000
"""For how long a page may take to show what it will show: Playwright's own 5 s are not enough where four tests share a core."""
SERIOUS = {"serious", "critical"}


@contextmanager
def tab(browser: Browser, **options: Any) -> Iterator[Page]:
    """A tab without cookies, in a context of its own; `options` are the context's. Fails at its end if a script of a page has thrown."""
    with browser.new_context(**{"locale": "en-GB", "viewport": {"width": 1280, "height": 800}, **options}) as context:
        context.set_default_timeout(PATIENCE_MILLISECONDS)
        thrown: list[str] = []
        context.on("weberror", lambda error: thrown.append(str(error.error)))
        yield context.new_page()
        assert thrown == []


def enter(page: Page, described: dict[str, Any]) -> None:
    """Sign in as the demo's person; `described` is the stack's stack.json. The dashboard is shown then."""
    page.goto(f"{described['console_url']}/sign-in")
    page.fill("input[type=email]", described["console_email"])
    page.fill("input[type=password]", described["console_password"])
    page.click("button.primary")
    page.wait_for_url("**/console/dashboard")


def complaints(page: Page) -> list[str]:
    """What axe finds serious on the present page: the rule, and where. Live parts stand still meanwhile, as in a tab that nobody sees."""
    page.evaluate("Object.defineProperty(document, 'hidden', { value: true, configurable: true })")
    found = Axe().run(page).response["violations"]
    page.evaluate("delete document.hidden")
    return [
        f"{each['id']}: {node['html'][:160]} {node.get('failureSummary', '')[:300]}"
        for each in found
        if each["impact"] in SERIOUS
        for node in each["nodes"]
    ]
