// The main job with the types that openapi-typescript generates and openapi-fetch: node built/main_job_fetch.js, settings in the environment.
import { randomUUID } from "node:crypto";
import createClient from "openapi-fetch";
import type { paths } from "./schema.js";

const { LAUREL_URL, LAUREL_ADMIN_KEY, LAUREL_FULFILMENT_KEY } = process.env;
const client = createClient<paths>({ baseUrl: LAUREL_URL, headers: { Authorization: `Bearer ${LAUREL_ADMIN_KEY}` } });
const partner = createClient<paths>({ baseUrl: LAUREL_URL, headers: { Authorization: `Bearer ${LAUREL_FULFILMENT_KEY}` } });

/** What was answered; throws the refusal. */
function of<T>(answer: { data?: T; error?: unknown }): T {
  if (answer.data === undefined) throw new Error(JSON.stringify(answer.error));
  return answer.data;
}

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

const name = `fetch-${randomUUID().slice(0, 8)}`;
const type = `${name}.completed`;
of(
  await client.POST("/v1/admin/leaderboards", {
    body: {
      leaderboard_id: name,
      name,
      config: { timeframe: { type: "daily" }, scoring: { rules: [{ event_type: type, points_expression: "attrs.points" }] } },
    },
  }),
);
of(await client.POST("/v1/admin/earning-rules", { body: { name, event_type: type, points_expression: "attrs.points" } }));
of(await client.POST("/v1/admin/rewards", { body: { slug: name, name, prices: [{ currency: "points", amount: 200 }] } }));
const sent = of(
  await client.POST("/v1/events", {
    body: { event_id: randomUUID(), type, actor: { user_id: name }, occurred_at: new Date().toISOString(), attrs: { points: 255 } },
  }),
);
if (sent.status !== "accepted") throw new Error(sent.status);
const entry = await eventually(async () => {
  const page = of(await client.GET("/v1/leaderboards/{leaderboard_id}", { params: { path: { leaderboard_id: name }, query: { limit: 10 } } }));
  return page.entries[0];
});
await eventually(async () => {
  const points = of(await client.GET("/v1/users/{external_id}/points", { params: { path: { external_id: name } } }));
  return points.balances.find((balance) => balance.available === 255);
});
const redemption = of(
  await client.POST("/v1/redemptions", { params: { header: { "Idempotency-Key": name } }, body: { external_user_id: name, slug: name } }),
);
const path = { redemption_id: redemption.redemption_id };
of(
  await partner.PATCH("/v1/admin/rewards/redemptions/{redemption_id}", {
    params: { path },
    body: { status: "fulfilled", fulfillment_data: { code: "ABC" } },
  }),
);
const settled = of(await client.GET("/v1/redemptions/{redemption_id}", { params: { path } }));
console.log(JSON.stringify({ user: entry.user_id, score: entry.score, status: settled.status, moves: settled.timeline.map((move) => move.to) }));
