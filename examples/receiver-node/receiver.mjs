// A partner's webhook receiver for Laurel: verifies the signature over the raw body, fulfils once, calls back.
//
//   WEBHOOK_SECRET=whsec_… API_URL=http://127.0.0.1:8080 FULFILMENT_KEY=lk_… PORT=4000 node receiver.mjs
//
// Node 18 or later, no packages. Answer quickly and do slow work afterwards: an answer other than 2xx is retried at most three times.

import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";

const { WEBHOOK_SECRET, API_URL, FULFILMENT_KEY, PORT = "4000" } = process.env;
if (!WEBHOOK_SECRET || !API_URL || !FULFILMENT_KEY) throw new Error("WEBHOOK_SECRET, API_URL and FULFILMENT_KEY are needed");
const TOLERANCE_SECONDS = 300;
const fulfilled = new Set(); // in a real system: a table with a unique key

function verify(rawBody, headers) {
  const timestamp = headers["x-gamifyengine-timestamp"] ?? "";
  const given = Buffer.from(headers["x-gamifyengine-signature"] ?? "");
  const expected = Buffer.from(createHmac("sha256", WEBHOOK_SECRET).update(timestamp + ".").update(rawBody).digest("hex"));
  const recent = Math.abs(Date.now() / 1000 - Number(timestamp)) <= TOLERANCE_SECONDS;
  return recent && given.length === expected.length && timingSafeEqual(given, expected);
}

async function callBack(redemptionId, body) {
  for (let attempt = 1; attempt <= 5; attempt++) {
    const answer = await fetch(`${API_URL}/v1/admin/rewards/redemptions/${redemptionId}`, {
      method: "PATCH",
      headers: { Authorization: `Bearer ${FULFILMENT_KEY}`, "Content-Type": "application/json" },
      body: JSON.stringify(body),
    }).catch((fault) => ({ status: 503, fault }));
    console.log(`callback ${redemptionId}: ${answer.status}`);
    if (answer.status < 500 && answer.status !== 429) return;
    await new Promise((resolve) => setTimeout(resolve, 1000 * attempt));
  }
}

async function fulfil(event) {
  if (fulfilled.has(event.redemption_id)) return; // the same webhook may come more than once
  fulfilled.add(event.redemption_id);
  console.log(`${event.external_user_id} gets ${event.reward.name} for ${event.points_spent} points`);
  const code = `VOUCHER-${event.redemption_id.slice(-6).toUpperCase()}`;
  await callBack(event.redemption_id, { status: "fulfilled", fulfilled_at: new Date().toISOString(), fulfillment_data: { code } });
}

const server = createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const rawBody = Buffer.concat(chunks);
  if (!verify(rawBody, request.headers)) {
    console.log("refused: invalid signature");
    response.writeHead(401).end();
    return;
  }
  response.writeHead(200, { "Content-Type": "application/json" }).end('{"ok":true}');
  const event = JSON.parse(rawBody);
  if (event.event === "reward_redeemed") await fulfil(event);
});

server.listen(Number(PORT), "127.0.0.1", () => console.log(`listening on http://127.0.0.1:${server.address().port}`));
