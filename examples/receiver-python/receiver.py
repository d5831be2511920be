"""A partner's webhook receiver for Laurel: verifies the raw body, fulfils once, calls back. Python 3.9 or later, no packages.

WEBHOOK_SECRET=whsec_… API_URL=http://127.0.0.1:8080 FULFILMENT_KEY=lk_… PORT=4000 python receiver.py
"""

import base64
import hashlib
import hmac
import json
import os
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WEBHOOK_SECRET = os.environ["WEBHOOK_SECRET"]
API_URL = os.environ["API_URL"]
FULFILMENT_KEY = os.environ["FULFILMENT_KEY"]
TOLERANCE_SECONDS = 300
seen = set()  # webhook-id: the same on every attempt. In a real system: a table with a unique key.
lock = threading.Lock()


def verify(body, headers, secret=WEBHOOK_SECRET):
    """Whether the webhook is Laurel's and recent. `webhook-signature` lists one signature for each secret that is live."""
    timestamp = headers.get("X-GamifyEngine-Timestamp", "")
    if not timestamp.isdigit() or abs(time.time() - int(timestamp)) > TOLERANCE_SECONDS:
        return False
    if not secret.startswith("whsec_"):
        seed = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
        return hmac.compare_digest(seed, headers.get("X-GamifyEngine-Signature", ""))
    key = base64.b64decode(secret[len("whsec_") :])
    signed = f"{headers.get('webhook-id', '')}.{timestamp}.".encode() + body
    expected = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return any(hmac.compare_digest(expected, each) for each in headers.get("webhook-signature", "").split(" "))


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
        except urllib.error.HTTPError as fault:
            status = fault.code
        except OSError:
            status = 503
        print(f"callback {redemption_id}: {status}", flush=True)
        if status < 500 and status != 429:
            return
        time.sleep(attempt)


def fulfil(event):
    """Hand over the voucher; here it is made up."""
    print(f"{event['external_user_id']} gets {event['reward']['name']} for {event['points_spent']} points", flush=True)
    data = {"code": "VOUCHER-" + event["redemption_id"][-6:].upper()}
    fulfilled_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    call_back(event["redemption_id"], {"status": "fulfilled", "fulfilled_at": fulfilled_at, "fulfillment_data": data})


class Handler(BaseHTTPRequestHandler):
    """Answers at once; slow work comes after the answer, as whatever is not 2xx within the time-out is tried again."""

    def do_POST(self):
        """Take one webhook."""
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        accepted = verify(body, self.headers)
        self.send_response(200 if accepted else 401)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")
        if not accepted:
            print("refused: invalid signature", flush=True)
            return
        event = json.loads(body)
        with lock:
            is_new = self.headers["X-GamifyEngine-Delivery"] not in seen
            seen.add(self.headers["X-GamifyEngine-Delivery"])
        if is_new and event["event"] == "reward_redeemed":
            threading.Thread(target=fulfil, args=(event,)).start()

    def log_message(self, *_):
        """Say nothing for each request."""


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "4000"))), Handler)
    print(f"listening on http://127.0.0.1:{server.server_address[1]}/webhooks", flush=True)
    server.serve_forever()
