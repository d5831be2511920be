"""The page that shows the API document, in a real browser: every operation is there, and it loads nothing from elsewhere."""

from playwright.sync_api import Page, expect

from api.openapi import METHODS
from cli.openapi import api_document
from tests.conftest import Stack
from tests.console_browser import complaints

DEAD_LINKS = "[...document.querySelectorAll('a[href^=\"#\"]')].map(link => link.hash.slice(1)).filter(id => !document.getElementById(id))"


def test_the_page_shows_every_operation_asks_nobody_else_and_keeps_nobody_out(page: Page, stack: Stack) -> None:
    origin = stack.described["api_url"]
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.goto(f"{origin}/docs")
    expect(page.locator("h1")).to_have_text("Laurel API")
    shown = page.evaluate("[...document.querySelectorAll('summary')].map(each => each.innerText)")
    operations = [(method.upper(), path) for path, item in api_document()["paths"].items() for method in METHODS if method in item]
    missing = [f"{method} {path}" for method, path in operations if not any(has(text, method, path) for text in shown)]
    assert operations
    assert missing == []
    assert complaints(page) == []
    page.locator("summary", has_text="/v1/events/bulk").first.click()
    expect(page.locator("details[open] pre").first).to_be_visible()
    assert complaints(page) == []
    assert page.evaluate(DEAD_LINKS) == []
    assert [url for url in asked if not url.startswith(f"{origin}/")] == []
    assert said == []


def has(text: str, method: str, path: str) -> bool:
    return text.split()[:2] == [method, path]
