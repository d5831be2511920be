"""A worker that dies after each step's commit, before it could report: the step is run again, and its effect is there once."""

from collections import Counter
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from temporalio import activity
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from activities.redemption import RedemptionActivities
from activities.webhook import WebhookActivities
from domain.redemption.messages import BeginResult, RedemptionInput, SendInput, SendResult, SettleInput, SettleResult
from runtime.http import Sender
from runtime.ids import utc_now
from runtime.postgres import Pool, transaction
from storage.reward.code import add_codes
from tests.builders.redemption import VAULT, Stage, a_stage
from tests.partner import a_partner
from workflows.redemption import RedemptionWorkflow


class DyingActivities:
    """The real ones; the first report of each step, and of each attempt, gets lost."""

    def __init__(self, pool: Pool) -> None:
        self.redemption = RedemptionActivities(pool)
        self.webhook = WebhookActivities(pool, VAULT, Sender(["127.0.0.0/8"]))
        self.runs: Counter[str] = Counter()

    def lose(self, step: str) -> None:
        self.runs[step] += 1
        if self.runs[step] == 1:
            raise RuntimeError(f"the worker died after {step}")

    @activity.defn(name="begin_redemption")
    async def begin(self, given: RedemptionInput) -> BeginResult:
        begun = await self.redemption.begin(given)
        self.lose("begin")
        return begun

    @activity.defn(name="send_webhook")
    async def send(self, given: SendInput) -> SendResult:
        sent = await self.webhook.send(given)
        self.lose(f"attempt {given.attempt}")
        return sent

    @activity.defn(name="settle_redemption")
    async def settle(self, given: SettleInput) -> SettleResult:
        settled = await self.redemption.settle(given)
        self.lose("settle")
        return settled


@pytest_asyncio.fixture
async def dying(pool: Pool, temporal_env: WorkflowEnvironment) -> AsyncIterator[tuple[Stage, DyingActivities]]:
    async with a_stage(pool, temporal_env.client, temporal_env, with_workers=False) as stage:
        steps, client = DyingActivities(pool), temporal_env.client
        core = Worker(client, task_queue=stage.queues.core, workflows=[RedemptionWorkflow], activities=[steps.begin, steps.settle])
        async with core, Worker(client, task_queue=stage.queues.webhooks, activities=[steps.send]):
            yield stage, steps


async def test_every_step_of_a_ladder_that_ends_at_the_deadline_is_done_once(dying):
    stage, steps = dying
    async with a_partner(500, 503, 200) as partner:
        await stage.endpoint(partner.url)
        redemption = await stage.redeem()
        handle = await stage.start(redemption)
        assert await stage.outcome(handle) == "expired"
    assert steps.runs == {"begin": 2, "attempt 1": 2, "attempt 2": 2, "attempt 3": 2, "settle": 2}
    assert [each.headers["x-gamifyengine-attempt"] for each in partner.received] == ["1", "2", "3"]
    document = await stage.document(redemption)
    assert [row["to"] for row in document["timeline"]] == ["pending", "processing", "expired"]
    assert [(line["state"], line["attempts"]) for line in document["deliveries"]] == [("delivered", 3)]
    assert len(await stage.world.rows("SELECT 1 FROM webhook_delivery")) == 1
    assert await stage.points() == (100, 0, 5)
    assert await stage.world.findings() == []


@pytest.mark.parametrize(("kind", "points"), [("wallet", (130, 0, 4)), ("codes", (90, 0, 1))])
async def test_what_is_ours_to_give_is_given_once(dying, kind, points):
    stage, steps = dying
    await stage.world.user("u1", 100)
    settings = {"wallet": {"type": "points", "value": 40, "stock": 5}, "codes": {}}[kind]
    reward = await stage.world.reward("voucher", price=10, fulfilment={"type": kind}, **settings)
    if kind == "codes":
        async with transaction(stage.pool) as connection:
            await add_codes(connection, stage.world.tenant_id, reward.reward_id, ["A", "B"], now=utc_now())
    redemption = await stage.world.redeem("u1")
    handle = await stage.start(redemption)
    assert await stage.outcome(handle) == "fulfilled"
    assert steps.runs == {"begin": 2}
    assert [row["to"] for row in (await stage.document(redemption))["timeline"]] == ["pending", "fulfilled"]
    assert await stage.points() == points
    assert await stage.world.findings() == []
