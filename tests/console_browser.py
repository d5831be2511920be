"""A real browser in the console: signing in, looking for what a screen reader or a keyboard would stumble over."""

from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

SERIOUS = {"serious", "critical"}


def enter(page: Page, described: dict[str, Any]) -> None:
    """Sign in as the demo's person; `described` is the stack's stack.json. The dashboard is shown then."""
    page.goto(f"{described['console_url']}/sign-in")
    page.fill("input[type=email]", described["console_email"])
    page.fill("input[type=password]", described["console_password"])
    page.click("button.primary")
    page.wait_for_url("**/console/dashboard")


def complaints(page: Page) -> list[str]:
    """What axe finds serious on the present page: the rule, and where."""
    found = Axe().run(page).response["violations"]
    return [
        f"{each['id']}: {node['html'][:160]} {node.get('failureSummary', '')[:300]}"
        for each in found
        if each["impact"] in SERIOUS
        for node in each["nodes"]
    ]
