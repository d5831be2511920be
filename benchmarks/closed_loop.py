"""A driver's connections that do the same again and again, measured as the load generator measures its own."""

import asyncio
import time
from collections.abc import Coroutine, Sequence
from typing import Any

from benchmarks.load import Loaded, cpu_seconds, quantile

WARMUP_SECONDS = 0.5
METER_SECONDS = 0.3
"""The harness reads the CPU counters after `end`: the connections' server processes must still be there."""


class Progress:
    """What all connections have done so far."""

    def __init__(self) -> None:
        self.latencies: list[float] = []
        self.begun = 0
        self.active = True


async def drive(work: Sequence[Coroutine[Any, Any, None]], progress: Progress, seconds: float) -> Loaded:
    """Let all of them work until `progress.active` is false, and say what was done meanwhile."""
    tasks = [asyncio.create_task(each) for each in work]
    await asyncio.sleep(WARMUP_SECONDS)
    first, began, cpu_began = len(progress.latencies), time.perf_counter(), cpu_seconds()
    print("begin", flush=True)
    await asyncio.sleep(seconds)
    last, took, cpu = len(progress.latencies), time.perf_counter() - began, cpu_seconds() - cpu_began
    print("end", flush=True)
    progress.active = False
    await asyncio.gather(*tasks)
    await asyncio.sleep(METER_SECONDS)
    latencies = sorted(progress.latencies[first:last])
    return Loaded(
        requests=last - first,
        failures=0,
        seconds=took,
        p50_ms=quantile(latencies, 0.50) * 1000,
        p99_ms=quantile(latencies, 0.99) * 1000,
        cpu_seconds=cpu,
        sent_in_all=progress.begun,
    )
