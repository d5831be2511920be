"""The parts of the suite, by name, and the run of several of them on one stack."""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager

import httpx
import psycopg
import redis

from benchmarks import (
    callback,
    closing,
    console,
    fan_out,
    importing,
    ingestion,
    memory,
    page,
    payout,
    rank,
    redeem,
    scoring,
    sustained,
    visible,
    workflows,
)
from benchmarks.bench import Bench, prepare
from benchmarks.measure import BenchError, Comparison, Result, Row, compare
from benchmarks.stack import start_stack
from stack.processes import StartError

Part = Callable[[Bench], AbstractContextManager[list[Comparison]]]

PARTS: Mapping[str, Part] = {
    "accept": ingestion.accept,
    "single": ingestion.single,
    "ack": ingestion.ack,
    "bulk": ingestion.bulk,
    "sustained": sustained.sustained,
    "import": importing.importing,
    "scoring": scoring.scoring,
    "visible": visible.visible,
    "page": page.page,
    "rank": rank.rank,
    "closing": closing.closing,
    "payout": payout.payout,
    "fan-out": fan_out.fan_out,
    "redeem": redeem.redeem,
    "callback": callback.callback,
    "workflows": workflows.workflows,
    "memory": memory.memory,
    "console": console.console,
}


ERRORS = (BenchError, StartError, psycopg.Error, redis.RedisError, httpx.HTTPError, OSError, RuntimeError)
Measured = list[tuple[Row, Result]]


def run_suite(
    parts: Sequence[str], *, quick: bool, pairs: int, environ: Mapping[str, str], keep: Callable[[Measured], None]
) -> tuple[Measured, list[str]]:
    """Start a stack, measure the parts in their order, stop the stack. Progress goes to standard error.

    Answers the rows, and a sentence for each part that could not be measured: it does not take the others' results with it.
    `keep` is given what there is after each part.
    """
    measured: Measured = []
    errors: list[str] = []
    with start_stack(environ) as stack:
        bench = prepare(stack, quick=quick)
        for name in parts:
            print(f"measuring {name} …", file=sys.stderr, flush=True)
            began = time.monotonic()
            try:
                with PARTS[name](bench) as comparisons:
                    for comparison in comparisons:
                        measured.extend(compare(comparison, pairs))
            except ERRORS as error:
                errors.append(f"{name}: {error}")
                print(f"{name} could not be measured: {error}", file=sys.stderr, flush=True)
            print(f"{name} took {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
            keep(measured)
    return measured, errors
