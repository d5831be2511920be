"""A Temporal server that a test may stop and start again."""

import subprocess
from pathlib import Path

from runtime.search_attributes import SEARCH_ATTRIBUTES
from stack import processes, temporal


class TemporalServer:
    """The real server on a port and a database file of its own; what it knew outlives a stop."""

    def __init__(self, directory: Path) -> None:
        port, ui_port = processes.free_port(), processes.free_port()
        self.address, self._port = f"127.0.0.1:{port}", port
        self._command = temporal.command(directory / "temporal.db", port, ui_port, SEARCH_ATTRIBUTES, log=directory / "temporal.log")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it answers."""
        self._process = processes.start(self._command)
        processes.wait_ready(self._process, self._command, lambda: processes.port_answers(self._port))

    def stop(self) -> None:
        """Nothing when it does not run."""
        if self._process is not None:
            process, self._process = self._process, None
            processes.stop(process, self._command)
