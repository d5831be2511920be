"""What the tests of the redemption's workflow stand on: the real worker parts, on the time-skipping server, with a real receiver."""

import contextlib
import secrets
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import msgspec
from temporalio.client import Client, WorkflowHandle
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from activities.redemption import RedemptionActivities
from activities.webhook import WebhookActivities
from domain.redemption.redemption import Redemption, workflow_id
from domain.webhook.webhook import make_secret
from loops.relay import Relay
from runtime.crypto import Vault
from runtime.http import Sender
from runtime.ids import utc_now
from runtime.postgres import Pool, transaction
from runtime.temporal import TaskQueues
from storage.redemption.redemption import document_of
from storage.webhook.endpoint import SECRET_PURPOSE, NewEndpoint, create_endpoint
from tests.builders.store import World, make_world
from tests.temporal_server import result_of
from workflows.redemption import RedemptionWorkflow
from workflows.reversal import RedemptionReversalWorkflow

VAULT = Vault("a secret key that only the tests use")
SECRET = make_secret(b"0123456789abcdef0123456789abcdef")


class Stage(msgspec.Struct, frozen=True):
    world: World
    client: Client
    queues: TaskQueues
    relay: Relay
    environment: WorkflowEnvironment | None = None

    async def outcome(self, handle: WorkflowHandle[Any, Any]) -> str:
        """The final state, with the time between skipped."""
        assert self.environment is not None
        return str((await result_of(self.environment, handle))["status"])

    @property
    def pool(self) -> Pool:
        return self.world.pool

    async def endpoint(self, url: str, **more: Any) -> UUID:
        """A partner that fulfils; it asks for nothing else unless told to."""
        more = {"events": ["reward_redeemed"], **more}
        async with transaction(self.pool) as connection:
            sealed = VAULT.seal(SECRET, SECRET_PURPOSE)
            made = await create_endpoint(connection, self.world.tenant_id, NewEndpoint(url=url, **more), sealed, now=utc_now())
        return made.endpoint_id

    async def redeem(self, *, deadline_seconds: int = 259_200, stock: int = 5, **fulfilment: Any) -> Redemption:
        """A user with 100 points redeems a voucher of 10, of which there are five."""
        await self.world.user("u1", 100)
        settings = {"type": "webhook", "deadline_seconds": deadline_seconds, **fulfilment}
        await self.world.reward("voucher", price=10, stock=stock, fulfilment=settings)
        return await self.world.redeem("u1", "voucher")

    async def start(self, redemption: Redemption) -> WorkflowHandle[Any, Any]:
        """Deliver the start command and answer the workflow."""
        assert await self.relay.deliver_batch() == 1
        return self.handle(redemption)

    def handle(self, redemption: Redemption) -> WorkflowHandle[Any, Any]:
        return self.client.get_workflow_handle(workflow_id(redemption.tenant_id, redemption.redemption_id))

    async def document(self, redemption: Redemption) -> dict[str, Any]:
        async with transaction(self.pool) as connection:
            return msgspec.to_builtins(await document_of(connection, redemption.tenant_id, redemption.redemption_id))

    async def points(self) -> tuple[int, int, int]:
        """Posted, held, and the stock that is left."""
        user = await self.world.user("u1")
        account = await self.world.account(user)
        rows = await self.world.rows("SELECT stock FROM reward WHERE tenant_id = %s", (self.world.tenant_id,))
        return account.posted, account.held, rows[0]["stock"]


def new_queues() -> TaskQueues:
    prefix = f"test-{secrets.token_hex(4)}"
    return TaskQueues(core=prefix, webhooks=f"{prefix}-webhooks", scoring=f"{prefix}-scoring")


@contextlib.asynccontextmanager
async def workers(client: Client, pool: Pool, queues: TaskQueues, vault: Vault = VAULT) -> AsyncIterator[None]:
    """The two workers that redemptions need."""
    redemption = RedemptionActivities(pool)
    webhook = WebhookActivities(pool, vault, Sender(["127.0.0.0/8"]))
    core = Worker(
        client,
        task_queue=queues.core,
        workflows=[RedemptionWorkflow, RedemptionReversalWorkflow],
        activities=[redemption.begin, redemption.settle],
    )
    async with core, Worker(client, task_queue=queues.webhooks, activities=[webhook.send]):
        yield


@contextlib.asynccontextmanager
async def a_stage(
    pool: Pool, client: Client, environment: WorkflowEnvironment | None = None, *, with_workers: bool = True
) -> AsyncIterator[Stage]:
    queues = new_queues()
    stage = Stage(await make_world(pool), client, queues, Relay(pool, client, queues), environment)
    async with contextlib.AsyncExitStack() as stack:
        if with_workers:
            await stack.enter_async_context(workers(client, pool, queues))
        yield stage
