"""Information for third parties: a page to hand to a fulfilment partner, filled in with this tenant's addresses."""

import json
from datetime import datetime
from typing import Any

from litestar import Response, get

from console.request import Visit

EXAMPLE = {
    "event": "reward_redeemed",
    "redemption_id": "e6b49abc-c19e-4c39-b27d-19f22fb0bdae",
    "user_id": "57b96ba1-1eb9-458f-8126-34b6d54292e7",
    "external_user_id": "usr_abc123",
    "reward_id": "084d33ab-db85-4210-8293-011fa5c35800",
    "reward_type": "bonus_credit",
    "reward_value": 10,
    "points_spent": 10000,
    "reward": {"id": "084d33ab-db85-4210-8293-011fa5c35800", "name": "Voucher 10K", "type": "bonus_credit", "fulfillmentData": {}},
    "timestamp": "2026-03-01T04:11:00.763Z",
}
HEADERS = """POST {path}
Content-Type: application/json
User-Agent: Laurel-Webhooks/1
X-GamifyEngine-Timestamp: 1772338260
X-GamifyEngine-Signature: <hex>
X-GamifyEngine-Event: reward_redeemed
X-GamifyEngine-Delivery: 019c8f6e-0000-7000-8000-000000000001
X-GamifyEngine-Attempt: 1
webhook-id: 019c8f6e-0000-7000-8000-000000000001
webhook-timestamp: 1772338260
webhook-signature: v1,<base64>"""
NODE = """import { createHmac, timingSafeEqual } from "node:crypto";

const equal = (one, other) => {
  const [first, second] = [Buffer.from(one), Buffer.from(other)];
  return first.length === second.length && timingSafeEqual(first, second);
};
// secret: as it was shown, or as you brought it. rawBody: the bytes as they came, before any JSON.parse.
export function verify(secret, headers, rawBody) {
  const timestamp = headers["x-gamifyengine-timestamp"] ?? "";
  if (!(Math.abs(Date.now() / 1000 - Number(timestamp)) <= 300)) return false;
  if (!secret.startsWith("whsec_")) {
    const seed = createHmac("sha256", secret).update(`${timestamp}.`).update(rawBody).digest("hex");
    return equal(seed, headers["x-gamifyengine-signature"] ?? "");
  }
  const key = Buffer.from(secret.slice("whsec_".length), "base64");
  const signed = createHmac("sha256", key).update(`${headers["webhook-id"]}.${timestamp}.`).update(rawBody).digest("base64");
  return (headers["webhook-signature"] ?? "").split(" ").some((each) => equal(each, "v1," + signed));
}"""
PYTHON = """import base64, hashlib, hmac, time

def equal(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode("utf-8", "replace"), other.encode("utf-8", "replace"))

def verify(secret: str, headers: dict[str, str], body: bytes) -> bool:
    \"\"\"secret: as it was shown, or as you brought it; headers: names in lower case; body: the bytes as they came.\"\"\"
    timestamp = headers.get("x-gamifyengine-timestamp", "")
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12) or abs(time.time() - int(timestamp)) > 300:
        return False
    if not secret.startswith("whsec_"):
        seed = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
        return equal(seed, headers.get("x-gamifyengine-signature", ""))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = hmac.new(key, f"{headers.get('webhook-id', '')}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    expected = "v1," + base64.b64encode(signed).decode()
    return any(equal(expected, each) for each in headers.get("webhook-signature", "").split(" "))"""
OPENSSL = """# TIMESTAMP from X-GamifyEngine-Timestamp, BODY as it came; compare with X-GamifyEngine-Signature
printf '%s.%s' "$TIMESTAMP" "$BODY" | openssl dgst -sha256 -hmac "$SECRET\""""
CALL_BACK = """curl -X PATCH {url}/v1/admin/rewards/redemptions/$REDEMPTION_ID \\
  -H "Authorization: Bearer $FULFILMENT_KEY" -H "Content-Type: application/json" \\
  -d '{body}'"""
FULFILLED = {"status": "fulfilled", "fulfillment_data": {"code": "ABCD-1234"}}
FAILED = {"status": "failed", "fulfillment_data": {"reason": "Out of stock"}}


async def _some(visit: Visit, path: str, name: str) -> list[dict[str, Any]]:
    answer = await visit.api.get(path, {"limit": 100})
    return list(answer.body[name]) if answer.ok else []


def _is_active(key: dict[str, Any], now: datetime) -> bool:
    return not key["revoked_at"] and not (key["expires_at"] and datetime.fromisoformat(key["expires_at"]) <= now)


@get("/third-parties")
async def show_information(visit: Visit) -> Response[bytes]:
    """What a partner must know, with this tenant's endpoints and keys of role `fulfilment`."""
    endpoints = await _some(visit, "/v1/admin/webhook-endpoints", "webhook_endpoints")
    keys = await _some(visit, "/v1/admin/api-keys", "api_keys")
    url = visit.settings.public_url.rstrip("/")
    return visit.page(
        "third_parties/show.html",
        endpoints=[each for each in endpoints if {"*", "reward_redeemed"} & set(each["events"])],
        keys=[key for key in keys if key["role"] == "fulfilment" and _is_active(key, visit.now)],
        callback=f"{url}/v1/admin/rewards/redemptions/{{redemption_id}}",
        headers=HEADERS.format(path="/your/path"),
        example=json.dumps(EXAMPLE, separators=(",", ":"), ensure_ascii=False),
        recipes={"Node": NODE, "Python": PYTHON, "openssl": OPENSSL},
        fulfilled=CALL_BACK.format(url=url, body=json.dumps(FULFILLED)),
        failed=CALL_BACK.format(url=url, body=json.dumps(FAILED)),
    )


routes = [show_information]
