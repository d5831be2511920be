"""A Temporal server that a test may stop and start again, and how to wait for a workflow on the one that skips time."""

import asyncio
import subprocess
from pathlib import Path
from typing import Any

import msgspec
from temporalio.client import WorkflowHandle
from temporalio.testing import WorkflowEnvironment

from runtime.search_attributes import SEARCH_ATTRIBUTES
from stack import processes, temporal

PATIENCE_SECONDS = 180.0
"""Only a test that fails waits so long."""


async def result_of(environment: WorkflowEnvironment, handle: WorkflowHandle[Any, Any]) -> Any:
    """The workflow's result, with the time between skipped.

    The server that skips time ends a poll after some 20 seconds of the real one with an empty page that is the last, and the client raises
    RuntimeError for a history without an end.
    """
    async with asyncio.timeout(PATIENCE_SECONDS), environment.time_skipping_unlocked():  # type: ignore[attr-defined]
        while True:
            try:
                return await handle.result()
            except RuntimeError as error:
                if "No completion event" not in str(error):
                    raise


class TemporalServer:
    """The real server on a port and a database file of its own; what it knew outlives a stop."""

    def __init__(self, directory: Path, *settings: str) -> None:
        """`settings` are entries of its dynamic configuration."""
        port, ui_port = processes.free_port(), processes.free_port()
        self.address, self._port = f"127.0.0.1:{port}", port
        self._command = temporal.command(directory / "temporal.db", port, ui_port, SEARCH_ATTRIBUTES, log=directory / "temporal.log")
        more = tuple(part for each in settings for part in ("--dynamic-config-value", each))
        self._command = msgspec.structs.replace(self._command, argv=(*self._command.argv, *more))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it answers."""
        self._process = processes.start(self._command)
        processes.wait_ready(self._process, self._command, lambda: temporal.ready(self._port))

    def stop(self) -> None:
        """Nothing when it does not run."""
        if self._process is not None:
            process, self._process = self._process, None
            processes.stop(process, self._command)
