// The main job with the client that @hey-api/openapi-ts generates: node built/main_job_heyapi.js, settings in the environment.
import { randomUUID } from "node:crypto";
import {
  createEarningRule,
  createLeaderboard,
  createReward,
  getLeaderboardPage,
  getRedemption,
  getUserPoints,
  redeem,
  reportRedemptionOutcome,
  sendEvent,
} from "./heyapi/index.js";
import { createClient } from "./heyapi/client/index.js";

const { LAUREL_URL, LAUREL_ADMIN_KEY, LAUREL_FULFILMENT_KEY } = process.env;
const connected = (key: string | undefined) => createClient({ baseUrl: LAUREL_URL ?? "", auth: key ?? "", throwOnError: true });
const client = connected(LAUREL_ADMIN_KEY);
const throwOnError = true as const;

/** What `look` finds at last. */
async function eventually<T>(look: () => Promise<T | undefined>): Promise<T> {
  const deadline = Date.now() + 60_000;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    if (Date.now() > deadline) throw new Error("it takes too long");
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

const name = `heyapi-${randomUUID().slice(0, 8)}`;
const type = `${name}.completed`;
await createLeaderboard({
  client,
  throwOnError,
  body: {
    leaderboard_id: name,
    name,
    config: { timeframe: { type: "daily" }, scoring: { rules: [{ event_type: type, points_expression: "attrs.points" }] } },
  },
});
await createEarningRule({ client, throwOnError, body: { name, event_type: type, points_expression: "attrs.points" } });
await createReward({ client, throwOnError, body: { slug: name, name, prices: [{ currency: "points", amount: 200 }] } });
const sent = await sendEvent({
  client,
  throwOnError,
  body: { event_id: randomUUID(), type, actor: { user_id: name }, occurred_at: new Date().toISOString(), attrs: { points: 255 } },
});
if (sent.data.status !== "accepted") throw new Error(sent.data.status);
const entry = await eventually(async () => {
  const page = await getLeaderboardPage({ client, throwOnError, path: { leaderboard_id: name }, query: { limit: 10 } });
  return page.data.entries[0];
});
await eventually(async () => {
  const points = await getUserPoints({ client, throwOnError, path: { external_id: name } });
  return points.data.balances.find((balance) => balance.available === 255);
});
const redemption = await redeem({ client, throwOnError, headers: { "Idempotency-Key": name }, body: { external_user_id: name, slug: name } });
const path = { redemption_id: redemption.data.redemption_id };
await reportRedemptionOutcome({
  client: connected(LAUREL_FULFILMENT_KEY),
  throwOnError,
  path,
  body: { status: "fulfilled", fulfillment_data: { code: "ABC" } },
});
const settled = await getRedemption({ client, throwOnError, path });
console.log(
  JSON.stringify({ user: entry.user_id, score: entry.score, status: settled.data.status, moves: settled.data.timeline.map((move) => move.to) }),
);
