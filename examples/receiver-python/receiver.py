"""A partner's webhook receiver for Laurel: verifies the raw body, keeps it, answers, fulfils once, calls back.

WEBHOOK_SECRET=whsec_… API_URL=http://127.0.0.1:8080 FULFILMENT_KEY=lk_… PORT=4000 STORE=received.db python receiver.py

Python 3.9 or later, no packages.
"""

import base64
import hashlib
import hmac
import json
import os
import sqlite3
import tempfile
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WEBHOOK_SECRET = os.environ["WEBHOOK_SECRET"]
API_URL = os.environ["API_URL"]
FULFILMENT_KEY = os.environ["FULFILMENT_KEY"]
PORT = int(os.environ.get("PORT", "4000"))
STORE = os.environ.get("STORE") or os.path.join(tempfile.gettempdir(), f"laurel-receiver-{PORT}.db")
TOLERANCE_SECONDS = 300
MOST_BYTES = 1024 * 1024
lock = threading.Lock()


def verify(body, headers, secret=WEBHOOK_SECRET):
    """Whether the webhook is Laurel's and recent. `webhook-signature` lists one signature for each secret that is live.

    A secret of yours without `whsec_` signs the other header alone.
    """
    timestamp = headers.get("X-GamifyEngine-Timestamp", "")
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        return False
    if abs(time.time() - int(timestamp)) > TOLERANCE_SECONDS:
        return False
    if not secret.startswith("whsec_"):
        seed = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
        return equal(seed, headers.get("X-GamifyEngine-Signature", ""))
    key = base64.b64decode(secret[len("whsec_") :])
    signed = f"{headers.get('webhook-id', '')}.{timestamp}.".encode("utf-8", "surrogateescape") + body
    expected = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return any(equal(expected, each) for each in headers.get("webhook-signature", "").split(" "))


def equal(one, other):
    """Compare without telling how far they agree. As bytes: of text `compare_digest` takes ASCII only."""
    return hmac.compare_digest(one.encode("utf-8", "replace"), other.encode("utf-8", "replace"))


def opened():
    """The table of orders, on disk before the answer: after a 2xx nobody sends them again.

    The key is the order in the body, which is signed; `X-GamifyEngine-Delivery` is not, so it proves nothing.
    """
    table = sqlite3.connect(STORE, check_same_thread=False)
    table.execute(
        "CREATE TABLE IF NOT EXISTS orders (redemption_id TEXT PRIMARY KEY, event TEXT NOT NULL, done INTEGER NOT NULL DEFAULT 0)"
    )
    table.commit()
    return table


orders = opened()


def keep(event):
    """Whether the order is new; it is on disk now."""
    with lock, orders:
        kept = (event["redemption_id"], json.dumps(event))
        return orders.execute("INSERT OR IGNORE INTO orders (redemption_id, event) VALUES (?, ?)", kept).rowcount == 1


def call_back(redemption_id, body):
    """Tell Laurel how it ended; what is not answered is said again, which is safe."""
    for attempt in range(1, 6):
        request = urllib.request.Request(
            f"{API_URL}/v1/admin/rewards/redemptions/{redemption_id}",
            method="PATCH",
            data=json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {FULFILMENT_KEY}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                status = answer.status
        except urllib.error.HTTPError as error:
            status = error.code
        except OSError:
            status = 503
        print(f"callback {redemption_id}: {status}", flush=True)
        if status < 500 and status != 429:
            return True
        time.sleep(attempt)
    return False  # taken up again at the next start


def fulfil(event):
    """Hand over the voucher; here it is made up."""
    print(f"{event['external_user_id']} gets {event['reward']['name']} for {event['points_spent']} points", flush=True)
    data = {"code": "VOUCHER-" + event["redemption_id"][-6:].upper()}
    fulfilled_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    if call_back(event["redemption_id"], {"status": "fulfilled", "fulfilled_at": fulfilled_at, "fulfillment_data": data}):
        with lock, orders:
            orders.execute("UPDATE orders SET done = 1 WHERE redemption_id = ?", (event["redemption_id"],))


class Handler(BaseHTTPRequestHandler):
    """Answers at once; slow work comes after the answer, as whatever is not 2xx within the time-out is tried again."""

    timeout = 30

    def do_POST(self):
        """Take one webhook."""
        length = self.headers.get("Content-Length", "0")
        if not (length.isascii() and length.isdigit() and len(length) <= 9) or int(length) > MOST_BYTES:
            self.answer(413)
            return
        body = self.rfile.read(int(length))
        if not verify(body, self.headers):
            print("refused: invalid signature", flush=True)
            self.answer(401)
            return
        event = json.loads(body)
        is_new = event["event"] == "reward_redeemed" and keep(event)
        self.answer(200)
        if is_new:
            threading.Thread(target=fulfil, args=(event,)).start()

    def answer(self, status):
        """Answer with this status and an empty object."""
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_):
        """Say nothing for each request."""


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", PORT), Handler)
    for (waiting,) in orders.execute("SELECT event FROM orders WHERE NOT done").fetchall():
        threading.Thread(target=fulfil, args=(json.loads(waiting),)).start()
    print(f"listening on http://127.0.0.1:{server.server_address[1]}/webhooks", flush=True)
    server.serve_forever()
