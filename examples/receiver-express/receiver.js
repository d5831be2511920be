// A partner's webhook receiver for Laurel on Express: verifies the raw body, fulfils once, calls back.
//
//   npm install
//   WEBHOOK_SECRET=whsec_… API_URL=http://127.0.0.1:8080 FULFILMENT_KEY=lk_… PORT=4000 npm start
//
// Without Express it serves by Node's own http module, so that you can try it before you install anything.

import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";

const { WEBHOOK_SECRET, API_URL, FULFILMENT_KEY, PORT = "4000" } = process.env;
if (!WEBHOOK_SECRET || !API_URL || !FULFILMENT_KEY) throw new Error("WEBHOOK_SECRET, API_URL and FULFILMENT_KEY are needed");
const TOLERANCE_SECONDS = 300;
const seen = new Set(); // webhook-id: the same on every attempt. In a real system: a table with a unique key.

const equal = (one, other) => one.length === other.length && timingSafeEqual(Buffer.from(one), Buffer.from(other));

// `webhook-signature` lists a signature for each secret that is live, so this holds before, during and after a rotation.
export function verify(rawBody, headers, secret = WEBHOOK_SECRET) {
  const timestamp = headers["x-gamifyengine-timestamp"] ?? "";
  if (Math.abs(Date.now() / 1000 - Number(timestamp)) > TOLERANCE_SECONDS) return false;
  if (!secret.startsWith("whsec_")) {
    const seed = createHmac("sha256", secret).update(`${timestamp}.`).update(rawBody).digest("hex");
    return equal(seed, headers["x-gamifyengine-signature"] ?? "");
  }
  const key = Buffer.from(secret.slice("whsec_".length), "base64");
  const signed = createHmac("sha256", key).update(`${headers["webhook-id"]}.${timestamp}.`).update(rawBody).digest("base64");
  return (headers["webhook-signature"] ?? "").split(" ").some((each) => equal(each, `v1,${signed}`));
}

async function callBack(redemptionId, body) {
  for (let attempt = 1; attempt <= 5; attempt++) {
    const answer = await fetch(`${API_URL}/v1/admin/rewards/redemptions/${redemptionId}`, {
      method: "PATCH",
      headers: { Authorization: `Bearer ${FULFILMENT_KEY}`, "Content-Type": "application/json" },
      body: JSON.stringify(body),
    }).catch(() => ({ status: 503 }));
    console.log(`callback ${redemptionId}: ${answer.status}`);
    if (answer.status < 500 && answer.status !== 429) return;
    await new Promise((resolve) => setTimeout(resolve, 1000 * attempt));
  }
}

async function fulfil(event) {
  console.log(`${event.external_user_id} gets ${event.reward.name} for ${event.points_spent} points`);
  const code = `VOUCHER-${event.redemption_id.slice(-6).toUpperCase()}`;
  await callBack(event.redemption_id, { status: "fulfilled", fulfilled_at: new Date().toISOString(), fulfillment_data: { code } });
}

// The status to answer with. Slow work comes after the answer: whatever is not 2xx within the time-out is tried again.
function receive(rawBody, headers) {
  if (!verify(rawBody, headers)) {
    console.log("refused: invalid signature");
    return 401;
  }
  const event = JSON.parse(rawBody);
  const isNew = !seen.has(headers["webhook-id"]);
  seen.add(headers["webhook-id"]);
  if (isNew && event.event === "reward_redeemed") setImmediate(() => fulfil(event));
  return 200;
}

const express = await import("express").then((module) => module.default, () => null);
let server;
if (express) {
  const app = express();
  // `raw`, not `json`: the signature is over the bytes that came.
  app.post("/webhooks", express.raw({ type: "*/*", limit: "64kb" }), (request, response) => {
    response.status(receive(request.body, request.headers)).json({});
  });
  server = createServer(app);
} else {
  server = createServer(async (request, response) => {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    response.writeHead(receive(Buffer.concat(chunks), request.headers), { "Content-Type": "application/json" }).end("{}");
  });
}
server.listen(Number(PORT), "127.0.0.1", () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}/webhooks (${express ? "Express" : "node:http"})`);
});
