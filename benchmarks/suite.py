"""The parts of the suite, by name, and the run of several of them on one stack."""

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager

from benchmarks import closing, console, fan_out, ingestion, page, payout, rank, redeem, scoring, visible
from benchmarks.bench import Bench, prepare
from benchmarks.measure import BenchError, Comparison, Result, Row, compare
from benchmarks.stack import start_stack

Part = Callable[[Bench], AbstractContextManager[list[Comparison]]]

PARTS: Mapping[str, Part] = {
    "accept": ingestion.accept,
    "single": ingestion.single,
    "ack": ingestion.ack,
    "bulk": ingestion.bulk,
    "scoring": scoring.scoring,
    "visible": visible.visible,
    "page": page.page,
    "rank": rank.rank,
    "closing": closing.closing,
    "payout": payout.payout,
    "fan-out": fan_out.fan_out,
    "redeem": redeem.redeem,
    "console": console.console,
}


Measured = list[tuple[Row, Result]]


def run_suite(parts: Sequence[str], *, quick: bool, pairs: int, environ: Mapping[str, str]) -> tuple[Measured, list[str]]:
    """Start a stack, measure the parts in their order, stop the stack. Progress goes to standard error.

    Answers the rows, and a sentence for each part that could not be measured: it does not take the others' results with it.
    """
    measured: Measured = []
    faults: list[str] = []
    with start_stack(environ) as stack:
        bench = prepare(stack, quick=quick)
        for name in parts:
            print(f"measuring {name} …", file=sys.stderr, flush=True)
            try:
                with PARTS[name](bench) as comparisons:
                    for comparison in comparisons:
                        measured.extend(compare(comparison, pairs))
            except BenchError as fault:
                faults.append(f"{name}: {fault}")
    return measured, faults
