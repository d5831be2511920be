"""The receivers in `examples/`, and the recipes that the console shows, run for real: partners copy them."""

import base64
import contextlib
import hashlib
import hmac
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest

from console.webhook.third_parties import NODE, PYTHON
from domain.webhook.webhook import make_secret, signatures
from stack.processes import free_port
from tests.conftest import REPOSITORY

SECRETS = {"made": make_secret(b"0123456789abcdef0123456789abcdef"), "brought": "a secret of the partner"}
COMMANDS = {
    "python": [sys.executable, "-I", "examples/receiver-python/receiver.py"],
    "node": ["node", "examples/receiver-node/receiver.mjs"],
    "express": ["node", "examples/receiver-express/receiver.js"],
}
WITH_NODE = pytest.mark.skipif(shutil.which("node") is None, reason="there is no Node on this machine")
RECEIVERS = [pytest.param(name, marks=() if name == "python" else WITH_NODE) for name in COMMANDS]


def webhook(secret: str, redemption: str = "r-1", **more: str) -> tuple[bytes, dict[str, str]]:
    """A signed order as it comes, and its headers in lower case."""
    event = {"event": "reward_redeemed", "redemption_id": redemption, "external_user_id": "é", "reward": {"name": "Tea"}, "points_spent": 5}
    body, now, delivery = json.dumps(event, ensure_ascii=False).encode(), int(time.time()), "d-" + redemption
    signed = signatures([secret], delivery, now, body)
    headers = {"x-gamifyengine-timestamp": str(now), "x-gamifyengine-signature": signed.seed, "x-gamifyengine-delivery": delivery}
    if signed.standard:
        headers |= {"webhook-id": delivery, "webhook-timestamp": str(now), "webhook-signature": signed.standard}
    return body, {**headers, **more}


class Api(ThreadingHTTPServer):
    """Laurel, as far as a receiver sees it: takes the callbacks, unless it is away."""

    def __init__(self) -> None:
        self.fulfilled: list[str] = []
        self.status = 200
        super().__init__(("127.0.0.1", 0), _Callbacks)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Callbacks(BaseHTTPRequestHandler):
    def do_PATCH(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        server: Any = self.server
        server.fulfilled.append(self.path.rpartition("/")[2])
        self.send_response(server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def laurel() -> Iterator[Api]:
    with Api() as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@contextlib.contextmanager
def receiver(name: str, secret: str, laurel: Api, directory: Path) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    port, log = free_port(), directory / "log"
    facts = {"WEBHOOK_SECRET": secret, "API_URL": laurel.url, "FULFILMENT_KEY": "lk_test", "PORT": str(port), "STORE": str(directory / "s")}
    with log.open("wb") as output:
        environment = {"PATH": os.environ["PATH"], **facts}
        process = subprocess.Popen(COMMANDS[name], cwd=REPOSITORY, env=environment, stdout=output, stderr=output)
    try:
        until(lambda: "listening" in log.read_text() or process.poll() is not None)
        yield f"http://127.0.0.1:{port}/webhooks", process
    finally:
        process.kill()
        process.wait()


def until(condition: Any) -> None:
    ends = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.02)


@pytest.mark.parametrize("kind", SECRETS)
@pytest.mark.parametrize("name", RECEIVERS)
def test_a_receiver_takes_each_order_once_and_survives_what_is_forged(name: str, kind: str, laurel: Api, tmp_path: Path) -> None:
    secret = SECRETS[kind]
    with receiver(name, secret, laurel, tmp_path) as (url, process):
        assert httpx.get(url).status_code in (404, 405, 501), "a look whether it is there is no refused webhook"
        for header in ("x-gamifyengine-signature", "webhook-signature", "webhook-id"):
            body, headers = webhook(secret)
            for forged in ("é" * 64, "v1,é", "x", "²" * 10):
                raw = {**headers, "x-gamifyengine-signature": forged, header: forged}
                if kind == "made" and header == "x-gamifyengine-signature":
                    raw["webhook-signature"] = forged
                encoded = [(key, value.encode("latin-1", "replace")) for key, value in raw.items()]
                assert httpx.post(url, content=body, headers=encoded).status_code == 401
        for stamp in ("", "²", "9" * 5000, "soon", str(int(time.time()) - 3600)):
            body, headers = webhook(secret)
            raw = [(key, value.encode("latin-1")) for key, value in {**headers, "x-gamifyengine-timestamp": stamp}.items()]
            assert httpx.post(url, content=body, headers=raw).status_code == 401
        for delivery in ("d-r-1", "another", "one more"):  # no signature covers this header
            body, headers = webhook(secret, **{"x-gamifyengine-delivery": delivery})
            assert httpx.post(url, content=body, headers=headers).status_code == 200
        for order in ("r-2", "r-3"):
            body, headers = webhook(secret, order)
            assert httpx.post(url, content=body, headers=headers).status_code == 200
        until(lambda: len(laurel.fulfilled) >= 3)
        assert process.poll() is None
    assert sorted(laurel.fulfilled) == ["r-1", "r-2", "r-3"]
    assert (tmp_path / "log").read_text().count("refused") == 17, "each forged one and nothing else"


@pytest.mark.parametrize("name", RECEIVERS)
def test_an_order_that_was_answered_outlives_the_receiver(name: str, laurel: Api, tmp_path: Path) -> None:
    laurel.status = 503
    secret = SECRETS["made"]
    with receiver(name, secret, laurel, tmp_path) as (url, _):
        body, headers = webhook(secret)
        assert httpx.post(url, content=body, headers=headers).status_code == 200
        until(lambda: laurel.fulfilled)
    laurel.status = 200
    laurel.fulfilled.clear()
    with receiver(name, secret, laurel, tmp_path) as (url, _):
        until(lambda: laurel.fulfilled == ["r-1"])
        assert httpx.post(url, content=body, headers=headers).status_code == 200
    assert laurel.fulfilled == ["r-1"]


def cases() -> list[tuple[str, dict[str, str], bytes, bool]]:
    made = []
    for secret in SECRETS.values():
        body, headers = webhook(secret)
        made += [(secret, headers, body, True), (secret, headers, body + b" ", False), (secret, {}, body, False)]
        for name in headers:
            made.append((secret, {**headers, name: "é" * len(headers[name])}, body, name == "x-gamifyengine-delivery"))
    seed_only = {key: value for key, value in webhook(SECRETS["made"])[1].items() if key.startswith("x-")}
    return [*made, (SECRETS["made"], seed_only, webhook(SECRETS["made"])[0], False)]


def expected(case: tuple[str, dict[str, str], bytes, bool]) -> bool:
    """A header that the scheme does not use may say anything."""
    secret, headers, _, said = case
    changed = [name for name, value in headers.items() if value.startswith("é")]
    unused = {"webhook-timestamp", "x-gamifyengine-signature"} if secret.startswith("whsec_") else set()
    return said or bool(changed and set(changed) <= unused)


def test_the_consoles_recipe_in_python_judges_rightly() -> None:
    names: dict[str, Any] = {}
    exec(PYTHON, names)
    for case in cases():
        secret, headers, body, _ = case
        assert names["verify"](secret, headers, body) is expected(case), headers


@WITH_NODE
def test_the_consoles_recipe_for_node_judges_rightly(tmp_path: Path) -> None:
    given = [(secret, headers, base64.b64encode(body).decode()) for secret, headers, body, _ in cases()]
    (tmp_path / "recipe.mjs").write_text(NODE)
    judge = "import { verify } from './recipe.mjs'; const given = JSON.parse(process.argv[2]);"
    judge += "console.log(JSON.stringify(given.map(([secret, headers, body]) => verify(secret, headers, Buffer.from(body, 'base64')))));"
    (tmp_path / "judge.mjs").write_text(judge)
    done = subprocess.run(["node", str(tmp_path / "judge.mjs"), json.dumps(given)], capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(done.stdout) == [expected(case) for case in cases()]


def test_the_seeds_signature_is_over_the_bytes() -> None:
    body, headers = webhook(SECRETS["brought"])
    made = hmac.new(SECRETS["brought"].encode(), headers["x-gamifyengine-timestamp"].encode() + b"." + body, hashlib.sha256).hexdigest()
    assert made == headers["x-gamifyengine-signature"]
