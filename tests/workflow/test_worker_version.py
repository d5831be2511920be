"""Workers with a version take workflows once theirs is the current one; without one they take all."""

import asyncio
import secrets

import pytest
from temporalio.api.workflowservice.v1 import SetWorkerDeploymentCurrentVersionRequest
from temporalio.client import Client
from temporalio.service import RPCError
from temporalio.worker import Worker

from domain.redemption.messages import ReversalInput
from runtime.ids import new_id
from runtime.settings import PREFIX, SettingError, Settings, load_settings
from runtime.temporal import deployment
from tests.builders.redemption import new_queues
from tests.conftest import settings_for
from workflows.reversal import RedemptionReversalWorkflow


def with_version(**more: str) -> Settings:
    given = {"DATABASE_URL": "postgresql://x", "SECRET_KEY": "a secret key that only the tests use", **more}
    return load_settings({PREFIX + name: value for name, value in given.items()})


def test_a_deployment_has_a_name_and_a_build_or_neither() -> None:
    assert deployment(settings_for("postgresql://x", "redis://x", "x:1")) is None
    with pytest.raises(SettingError, match="WORKER_BUILD_ID"):
        with_version(WORKER_DEPLOYMENT="laurel")


async def test_a_workflow_runs_on_the_current_version(temporal_client: Client) -> None:
    name, queue = f"laurel-{secrets.token_hex(4)}", new_queues().core
    config = deployment(with_version(WORKER_DEPLOYMENT=name, WORKER_BUILD_ID="b1"))
    worker = Worker(temporal_client, task_queue=queue, workflows=[RedemptionReversalWorkflow], deployment_config=config)
    async with worker, asyncio.timeout(60):
        await _make_current(temporal_client, name, "b1")
        given = ReversalInput(tenant_id=new_id(), redemption_id=new_id(), number=4)
        handle = await temporal_client.start_workflow(
            RedemptionReversalWorkflow.run, given, id=f"reversal-{secrets.token_hex(4)}", task_queue=queue
        )
        assert (await handle.result()).status == "reversed"
        described = (await handle.describe()).raw_description.workflow_execution_info
    assert described.versioning_info.deployment_version.build_id == "b1"


async def _make_current(client: Client, name: str, build_id: str) -> None:
    """Once Temporal has seen the worker."""
    request = SetWorkerDeploymentCurrentVersionRequest(namespace=client.namespace, deployment_name=name, build_id=build_id, identity="test")
    while True:
        try:
            await client.workflow_service.set_worker_deployment_current_version(request)
        except RPCError:
            await asyncio.sleep(0.1)
        else:
            return
