// A partner's webhook receiver for Laurel: verifies the raw body, keeps it, answers, fulfils once, calls back.
//
//   WEBHOOK_SECRET=whsec_… API_URL=http://127.0.0.1:8080 FULFILMENT_KEY=lk_… PORT=4000 STORE=received.jsonl node receiver.mjs
//
// Node 18 or later, no packages. Answer quickly and do slow work afterwards: an answer other than 2xx is retried at most three times.

import { createHmac, timingSafeEqual } from "node:crypto";
import { existsSync, fsyncSync, openSync, readFileSync, writeSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";

const { WEBHOOK_SECRET, API_URL, FULFILMENT_KEY, PORT = "4000" } = process.env;
if (!WEBHOOK_SECRET || !API_URL || !FULFILMENT_KEY) throw new Error("WEBHOOK_SECRET, API_URL and FULFILMENT_KEY are needed");
const { STORE = join(tmpdir(), `laurel-receiver-${PORT}.jsonl`) } = process.env;
const TOLERANCE_SECONDS = 300;
const MOST_BYTES = 1024 * 1024;

const equal = (one, other) => {
  const [first, second] = [Buffer.from(one), Buffer.from(other)]; // bytes: `é` is one character and two of them
  return first.length === second.length && timingSafeEqual(first, second);
};

// Over the bytes that came. `webhook-signature` lists a signature for each secret that is live, so this holds before, during and after a
// rotation. A secret of yours without `whsec_` signs the other header alone.
function verify(rawBody, headers, secret = WEBHOOK_SECRET) {
  const timestamp = headers["x-gamifyengine-timestamp"] ?? "";
  if (!(Math.abs(Date.now() / 1000 - Number(timestamp)) <= TOLERANCE_SECONDS)) return false;
  if (!secret.startsWith("whsec_")) {
    const seed = createHmac("sha256", secret).update(`${timestamp}.`).update(rawBody).digest("hex");
    return equal(seed, headers["x-gamifyengine-signature"] ?? "");
  }
  const key = Buffer.from(secret.slice("whsec_".length), "base64");
  const signed = createHmac("sha256", key).update(`${headers["webhook-id"]}.${timestamp}.`).update(rawBody).digest("base64");
  return (headers["webhook-signature"] ?? "").split(" ").some((each) => equal(each, `v1,${signed}`));
}

// What was taken and what is done, on disk before the answer: after a 2xx nobody sends it again. In a real system: a table with a unique
// key. The key is the order in the body, which is signed; `X-GamifyEngine-Delivery` is not, so it proves nothing.
const orders = new Map();
for (const line of existsSync(STORE) ? readFileSync(STORE, "utf8").split("\n") : []) {
  try {
    const { key, event, done } = JSON.parse(line);
    orders.set(key, done ? null : event);
  } catch {
    continue; // the last line of a process that died while it wrote: it was not answered
  }
}
const store = openSync(STORE, "a", 0o600);
const keep = (line) => {
  writeSync(store, `\n${JSON.stringify(line)}`);
  fsyncSync(store);
};

async function callBack(redemptionId, body) {
  for (let attempt = 1; attempt <= 5; attempt++) {
    const answer = await fetch(`${API_URL}/v1/admin/rewards/redemptions/${redemptionId}`, {
      method: "PATCH",
      headers: { Authorization: `Bearer ${FULFILMENT_KEY}`, "Content-Type": "application/json" },
      body: JSON.stringify(body),
    }).catch(() => ({ status: 503 }));
    console.log(`callback ${redemptionId}: ${answer.status}`);
    if (answer.status < 500 && answer.status !== 429) return true;
    await new Promise((resolve) => setTimeout(resolve, 1000 * attempt));
  }
  return false; // taken up again at the next start
}

async function fulfil(key, event) {
  console.log(`${event.external_user_id} gets ${event.reward.name} for ${event.points_spent} points`);
  const code = `VOUCHER-${event.redemption_id.slice(-6).toUpperCase()}`;
  const body = { status: "fulfilled", fulfilled_at: new Date().toISOString(), fulfillment_data: { code } };
  if (await callBack(event.redemption_id, body)) keep({ key, done: true });
}

// The status to answer with. Slow work comes after the answer: whatever is not 2xx within the time-out is tried again.
function receive(method, rawBody, headers) {
  if (method !== "POST") return 405;
  if (!verify(rawBody, headers)) {
    console.log("refused: invalid signature");
    return 401;
  }
  const event = JSON.parse(rawBody);
  if (event.event !== "reward_redeemed") return 200;
  const key = event.redemption_id;
  if (!orders.has(key)) {
    orders.set(key, event);
    keep({ key, event });
    setImmediate(() => fulfil(key, event));
  }
  return 200;
}

async function serve(request, response) {
  try {
    const chunks = [];
    let bytes = 0;
    for await (const chunk of request) {
      chunks.push(chunk);
      bytes += chunk.length;
      if (bytes > MOST_BYTES) return response.writeHead(413, { Connection: "close" }).end();
    }
    response.writeHead(receive(request.method, Buffer.concat(chunks), request.headers), { "Content-Type": "application/json" }).end("{}");
  } catch (fault) {
    console.log(`not taken: ${fault.message}`); // a request that broke off, or a full disk: it comes again
    if (!response.headersSent) response.writeHead(500).end();
  }
}

for (const [key, event] of orders) if (event) setImmediate(() => fulfil(key, event));
const server = createServer(serve);
server.listen(Number(PORT), "127.0.0.1", () => console.log(`listening on http://127.0.0.1:${server.address().port}`));
