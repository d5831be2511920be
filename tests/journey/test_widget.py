"""The example page of a live board in a real browser."""

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlencode

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.conftest import REPOSITORY, Stack
from tests.journey.programme import add_board, event, fresh, post

WATCH = """() => {
    window.changed = new Set();
    const note = () => { for (const row of document.querySelectorAll("tr.changed")) window.changed.add(row.dataset.userId); };
    new MutationObserver(note).observe(document.querySelector("tbody"), { childList: true });
}"""
"""Keeps who was ever marked as changed: the mark is gone with the next message, which may come at once."""


class Quiet(SimpleHTTPRequestHandler):
    """Serves files without a line for each."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def site(stack: Stack) -> Iterator[str]:
    """The address of the example's folder, for as long as it is among the demo tenant's origins."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(REPOSITORY / "examples/leaderboard-widget")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    origin = f"http://127.0.0.1:{server.server_port}"
    path = f"/v1/operator/tenants/{stack.described['tenant_id']}"
    with stack.client("operator_key") as operator:
        tenants = operator.get("/v1/operator/tenants").raise_for_status().json()["tenants"]
        before = next(tenant["cors_origins"] for tenant in tenants if tenant["tenant_id"] == stack.described["tenant_id"])
        operator.patch(path, json={"cors_origins": [*before, origin]}).raise_for_status()
        try:
            yield origin
        finally:
            operator.patch(path, json={"cors_origins": before}).raise_for_status()
            server.shutdown()
            server.server_close()


def shown(page: Page) -> list[list[str]]:
    """The table's rows at one moment, as somebody reads them."""
    rows: list[list[str]] = page.evaluate(
        "[...document.querySelectorAll('tbody tr')].map(row => [...row.cells].map(cell => cell.innerText))"
    )
    return rows


def test_the_page_shows_a_board_and_follows_it(stack: Stack, site: str, page: Page) -> None:
    kind, ann, bob = fresh("lap"), fresh("ann"), fresh("bob")
    with stack.client() as client:
        board = add_board(client, kind)
        named = {"external_id": bob, "display_name": "<b>Bob</b>"}
        post(client, "/v1/users", named)
        play = partial(_play, client, kind)
        play(ann, 1200.5)
        token = post(client, "/v1/auth/gamer-token", {"user_id": ann})["token"]
        facts = {"api": stack.described["api_url"], "board": board, "token": token}
        page.goto(f"{site}/#{urlencode(facts)}")
        expect(page.get_by_role("status")).to_have_text("all: 1 ranked, open.")
        assert shown(page) == [["1", ann, "1,200.5"]]
        page.evaluate(WATCH)
        play(bob, 3000)
        expect(page.get_by_role("status")).to_have_text("all: 2 ranked, open.")
        assert shown(page) == [["1", "<b>Bob</b>", "3,000"], ["2", ann, "1,200.5"]]
        page.wait_for_function("user => window.changed.has(user)", arg=bob)
        play(ann, 4000)
        expect(page.locator("tbody tr").first).to_contain_text("5,200.5")
        assert shown(page) == [["1", ann, "5,200.5"], ["2", "<b>Bob</b>", "3,000"]]
        client.delete(f"/v1/admin/leaderboards/{board}").raise_for_status()
        expect(page.get_by_role("status")).to_have_text("This leaderboard is gone.")


def test_the_page_takes_what_it_needs_by_hand_and_says_when_it_is_refused(stack: Stack, site: str, page: Page) -> None:
    page.goto(site)
    expect(page.get_by_role("status")).to_have_text("Not connected.")
    page.get_by_label("API").fill(stack.described["api_url"])
    page.get_by_label("Board").fill("no-such-board")
    page.get_by_label("Token").fill("no-token")
    page.get_by_role("button", name="Watch").click()
    expect(page.get_by_role("status")).to_contain_text("Trying again in")
    with stack.client() as client:
        page.get_by_label("Board").fill(add_board(client, fresh("lap")))
        page.get_by_label("Token").fill(post(client, "/v1/auth/gamer-token", {"user_id": "ann"})["token"])
        page.get_by_role("button", name="Watch").click()
        expect(page.get_by_role("status")).to_have_text("all: 0 ranked, open.")


def _play(client: httpx.Client, kind: str, user: str, points: float) -> None:
    post(client, "/v1/events", event(kind, user, points=points), status=202)
