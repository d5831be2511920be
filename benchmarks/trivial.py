"""The floor of what Temporal does for a redemption: a workflow that does nothing, and a worker for it; until SIGTERM."""

import asyncio
import signal

from temporalio import workflow
from temporalio.worker import Worker

from runtime import temporal
from runtime.settings import Settings, load_settings, process_environment

QUEUE = "bench-trivial"


@workflow.defn
class TrivialWorkflow:
    """Answers at once."""

    @workflow.run
    async def run(self, number: int) -> int:
        """The number itself."""
        return number


async def serve(settings: Settings) -> None:
    """Take tasks until told to stop."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    client = await temporal.connect(settings)
    async with Worker(client, task_queue=QUEUE, workflows=[TrivialWorkflow]):
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(serve(load_settings(process_environment())))
