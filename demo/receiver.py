"""The partner of the demo: a webhook receiver in a process of its own, with nothing of Laurel in it but a secret and a key.

Run as `python -I receiver.py PORT`. It prints `{"port": …}`, reads one line of JSON from its input (`secret`, `api_url`, `api_key`)
and then one line for each webhook and each callback to its output. It ends when its input does. Standard library only, as a partner
would write it: the signature is checked over the bytes that arrived, before anything is parsed.
"""

import base64
import hashlib
import hmac
import json
import os
import sys
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOLERANCE_SECONDS = 300
CALLBACK_TRIES = 5


class ReceivingPartner:
    """The partner's secret, its key for the callback, and the redemptions that it has fulfilled already."""

    def __init__(self, secret: str, api_url: str, api_key: str) -> None:
        """Keep what the operator handed over."""
        self.secret, self.api_url, self.api_key = secret, api_url, api_key
        self.fulfilled: set[str] = set()

    def check(self, headers: Any, body: bytes) -> dict[str, bool]:
        """Which of the two signatures hold, and whether the attempt is recent."""
        stamp = headers.get("X-GamifyEngine-Timestamp", "")
        seed = hmac.new(self.secret.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
        key = base64.b64decode(self.secret.removeprefix("whsec_"))
        signed = f"{headers.get('webhook-id', '')}.{headers.get('webhook-timestamp', '')}.".encode() + body
        standard = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        given = headers.get("webhook-signature", "").split(" ")
        return {
            "seed_signature": hmac.compare_digest(seed, headers.get("X-GamifyEngine-Signature", "")),
            "standard_signature": any(hmac.compare_digest(standard, each) for each in given),
            "recent": stamp.isdigit() and abs(time.time() - int(stamp)) <= TOLERANCE_SECONDS,
        }

    def fulfil(self, redemption_id: str) -> None:
        """Hand out the voucher and tell Laurel; tries again when the call does not get through."""
        code = "VOUCHER-" + hashlib.sha256(redemption_id.encode()).hexdigest()[:8].upper()
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        done = {"status": "fulfilled", "fulfilled_at": now, "fulfillment_data": {"code": code}}
        status = 0
        for attempt in range(CALLBACK_TRIES):
            request = urllib.request.Request(
                f"{self.api_url}/v1/admin/rewards/redemptions/{redemption_id}",
                data=json.dumps(done).encode(),
                method="PATCH",
                headers={"Authorization": f"Bearer {self.api_key}", "Content-Type": "application/json"},
            )
            try:
                with urllib.request.urlopen(request, timeout=10) as answer:
                    status = answer.status
            except urllib.error.HTTPError as error:
                status = error.code
            except OSError:
                status = 0
            if 0 < status < 500:
                break
            time.sleep(0.5 * (attempt + 1))
        report({"kind": "callback", "redemption_id": redemption_id, "status": status, "code": code})


def make_handler(partner: ReceivingPartner) -> type[BaseHTTPRequestHandler]:
    """The HTTP handler of this partner."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            checks = partner.check(self.headers, body)
            accepted = all(checks.values())
            self.send_response(200 if accepted else 401)
            self.send_header("Content-Type", "application/json")
            answer = b'{"ok":true}' if accepted else b'{"error":"invalid signature"}'
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)
            event = json.loads(body) if accepted else {}
            report({"kind": "webhook", "accepted": accepted, "event": event, **checks})
            if event.get("event") == "reward_redeemed" and event["redemption_id"] not in partner.fulfilled:
                partner.fulfilled.add(event["redemption_id"])
                threading.Thread(target=partner.fulfil, args=(event["redemption_id"],)).start()

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing: `report` says it."""

    return Handler


def report(line: dict[str, Any]) -> None:
    """One line of JSON for whoever started us."""
    print(json.dumps(line), flush=True)


def main() -> None:
    """Serve until our input ends, which it does when the process that started us is gone."""
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), BaseHTTPRequestHandler)
    report({"port": server.server_address[1]})
    line = sys.stdin.readline()
    if line:
        server.RequestHandlerClass = make_handler(ReceivingPartner(**json.loads(line)))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        report({"kind": "ready"})
        sys.stdin.read()
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
