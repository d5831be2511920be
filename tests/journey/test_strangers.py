"""What the front says to those whom nobody knows: guessers wait, answers are for one reader, probes cost nothing."""

import os
from pathlib import Path
from subprocess import run

import httpx

from domain import limits
from domain.tenant.credential import compose_key
from tests.builders.api import World

TIMEOUT = 60.0


def ask(world: World, path: str, key: str) -> httpx.Response:
    return httpx.get(f"{world.url}{path}", headers={"Authorization": f"Bearer {key}"}, timeout=TIMEOUT)


def test_who_guesses_keys_is_told_to_wait_and_keeps_nobody_out(world: World) -> None:
    assert ask(world, "/v1/admin/settings", world.keys["admin"]).status_code == 200
    with world.client(None) as guesser:  # one connection: a period must see them all
        keys = [{"Authorization": f"Bearer {compose_key(os.urandom(64))}"} for _ in range(3 * limits.GUESSES.value)]
        codes = [guesser.get("/v1/admin/settings", headers=key).status_code for key in keys]
    assert set(codes) == {401}  # one after the other they only take time
    for role in ("admin", "read"):  # the second is one that this process has never seen
        assert ask(world, "/v1/leaderboards/none", world.keys[role]).status_code == 404


def test_the_operators_key_cannot_be_guessed_fast_and_always_passes(world: World) -> None:
    answers = [ask(world, "/v1/operator/tenants", f"guess-{n}") for n in range(3 * limits.GUESSES.value)]
    assert {answer.status_code for answer in answers} == {401, 429}
    assert all("Retry-After" in answer.headers for answer in answers if answer.status_code == 429)
    assert ask(world, "/v1/operator/tenants", "operator-key-of-the-tests").status_code == 200


def test_no_answer_is_kept_or_taken_for_something_else(world: World) -> None:
    with world.client() as admin:
        for path in ("/v1/admin/settings", "/v1/users/nobody", "/no-such-route", "/health"):
            headers = admin.get(path).headers
            assert (headers["x-content-type-options"], headers["cache-control"]) == ("nosniff", "no-store"), path
        assert admin.post("/v1/events", json={}).headers["cache-control"] == "no-store"
        for path in ("/docs", "/openapi.json"):
            headers = admin.get(path).headers
            assert (headers["x-content-type-options"], headers["cache-control"]) == ("nosniff", "public, max-age=300"), path
        assert "default-src 'none'" in admin.get("/docs").headers["content-security-policy"]


def test_probes_may_ask_by_head(world: World) -> None:
    for path in ("/health", "/ready"):
        answer = httpx.head(f"{world.url}{path}", timeout=TIMEOUT)
        assert answer.status_code in (200, 503)
        assert answer.content == b""
    assert httpx.head(f"{world.url}/health", timeout=TIMEOUT).status_code == 200


def test_the_command_says_its_version() -> None:
    root = Path(__file__).parent.parent.parent
    said = run([root / "laurel", "--version"], capture_output=True, text=True, check=True).stdout
    assert said.startswith("laurel ")
