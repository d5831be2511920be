"""Partners in Node verify our signature: the seed's Express receiver over its re-serialised body, and our own example over the raw one."""

import os
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stack.processes import free_port
from tests.conftest import REPOSITORY, Stack
from tests.journey.programme import add_endpoint, add_reward, eventually, fresh, give_points, points_of, post, redemption_in
from tests.node_packages import with_packages

pytestmark = [
    pytest.mark.xdist_group("stack"),
    pytest.mark.skipif(shutil.which("node") is None, reason="there is no Node on this machine"),
]

# The functions between the rules are the seed's, word for word. Around them a few lines stand in for Express: `express.json()` is a
# JSON.parse of the body, so what `JSON.stringify(req.body)` gives is what the seed's receiver sees.
SEED_RECEIVER = """
const crypto = require('crypto');
const http = require('http');
const WEBHOOK_SECRET = process.env.GAMIFY_WEBHOOK_SECRET;
// ------------------------------------------------------------------------------------------------------------------------
function verifySignature(bodyRaw, signature, timestamp) {
if (!WEBHOOK_SECRET) return true;
const payload = timestamp + '.' + bodyRaw;
const expected = crypto.createHmac('sha256', WEBHOOK_SECRET).update(payload).digest('hex');
return crypto.timingSafeEqual(Buffer.from(signature), Buffer.from(expected));
}
const route = (req, res) => {
const rawBody = JSON.stringify(req.body);
const sig = req.headers['x-gamifyengine-signature'];
const ts = req.headers['x-gamifyengine-timestamp'];
if (!verifySignature(rawBody, sig, ts)) {
return res.status(401).json({ error: 'Invalid signature' });
}
const { event, redemption_id, external_user_id, reward, points_spent } = req.body;
if (event !== 'reward_redeemed') {
return res.status(200).json({ ok: true });
}
// ------------------------------------------------------------------------------------------------------------------------
  console.log('verified', redemption_id, external_user_id, reward?.name, points_spent);
  res.status(200).json({ ok: true });
};
http.createServer((req, answer) => {
  const chunks = [];
  req.on('data', (chunk) => chunks.push(chunk)).on('end', () => {
    req.body = JSON.parse(Buffer.concat(chunks).toString('utf8'));
    const res = { status: (code) => { answer.statusCode = code; return res; }, json: (body) => answer.end(JSON.stringify(body)) };
    route(req, res);
  });
}).listen(Number(process.env.PORT || 0), '127.0.0.1', function () { console.log('listening', this.address().port); });
"""


@contextmanager
def program(command: list[str], log: Path, **environment: str) -> Iterator[None]:
    """A receiver whose output goes to `log`."""
    with log.open("wb") as output:
        known = {"PATH": os.environ["PATH"], **environment}
        process = subprocess.Popen(command, cwd=REPOSITORY, env=known, stdout=output, stderr=output)
    try:
        eventually(lambda: "listening" in log.read_text() or process.poll() is not None)
        assert process.poll() is None, log.read_text()
        yield
    finally:
        process.kill()
        process.wait()


def test_the_receiver_of_the_seed_verifies_unchanged(stack: Stack, tmp_path: Path) -> None:
    script, log = tmp_path / "seed.js", tmp_path / "seed.log"
    script.write_text(textwrap.dedent(SEED_RECEIVER))
    port, user = free_port(), fresh("đổi thưởng \u2028 «é» 😀")
    with stack.client() as client:
        endpoint, secret = add_endpoint(client, f"http://127.0.0.1:{port}/webhooks/gamify")
        awkward = {
            "name": 'Kaffee "groß" \\ \u2029 <b>&',
            "value": 12.5,
            "fields": [{"name": "note", "label": "Note", "required": False, "type": "text"}],
        }
        slug = add_reward(client, price=5, endpoint_id=endpoint, **awkward)
        give_points(client, user, 10)
        with program(["node", str(script)], log, GAMIFY_WEBHOOK_SECRET=secret, PORT=str(port)):
            order = {"external_user_id": user, "slug": slug, "fields": {"note": "größer als 1e21 \t/ 😀"}}
            redemption = post(client, "/v1/redemptions", order)
            redemption_in(client, redemption["redemption_id"], "processing")
    assert f"verified {redemption['redemption_id']}" in log.read_text()


REAL_EXPRESS = "express, installed"
EXAMPLES = {
    "node": ["node", "examples/receiver-node/receiver.mjs"],
    "express": ["node", "examples/receiver-express/receiver.js"],
    REAL_EXPRESS: ["node"],
    "python": [sys.executable, "-I", "examples/receiver-python/receiver.py"],
}


@pytest.mark.parametrize("example", EXAMPLES)
def test_our_example_verifies_the_raw_body_and_calls_back(stack: Stack, tmp_path: Path, example: str) -> None:
    log, port, user, command = tmp_path / "example.log", free_port(), fresh("user"), EXAMPLES[example]
    if example == REAL_EXPRESS:
        command = [*command, str(with_packages("examples/receiver-express", tmp_path) / "receiver.js")]
    with stack.client() as client:
        endpoint, secret = add_endpoint(client, f"http://127.0.0.1:{port}/webhooks")
        slug = add_reward(client, price=5, endpoint_id=endpoint)
        give_points(client, user, 10)
        facts = {"API_URL": stack.described["api_url"], "FULFILMENT_KEY": stack.described["fulfilment_key"]}
        facts["STORE"] = str(tmp_path / "store")
        with program(command, log, WEBHOOK_SECRET=secret, PORT=str(port), **facts):
            forged = client.post(
                f"http://127.0.0.1:{port}/webhooks",
                json={"event": "reward_redeemed"},
                headers={"X-GamifyEngine-Signature": "0" * 64, "X-GamifyEngine-Timestamp": str(int(time.time()))},
            )
            assert forged.status_code == 401
            redemption = post(client, "/v1/redemptions", {"external_user_id": user, "slug": slug})
            settled = redemption_in(client, redemption["redemption_id"], "fulfilled")
        assert ("(Express)" in log.read_text()) == (example == REAL_EXPRESS)
        assert settled["fulfillment_data"]["code"].startswith("VOUCHER-")
        assert points_of(client, user)["available"] == 5
