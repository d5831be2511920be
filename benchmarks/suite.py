"""The parts of the suite, by name, and the run of several of them on one stack."""

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager

from benchmarks import closing, console, fan_out, ingestion, page, payout, rank, redeem, scoring, visible
from benchmarks.bench import Bench, prepare
from benchmarks.measure import Comparison, Result, Row, compare
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


def run_suite(parts: Sequence[str], *, quick: bool, pairs: int, environ: Mapping[str, str]) -> list[tuple[Row, Result]]:
    """Start a stack, measure the parts in their order, stop the stack. Progress goes to standard error."""
    measured: list[tuple[Row, Result]] = []
    with start_stack(environ) as stack:
        bench = prepare(stack, quick=quick)
        for name in parts:
            print(f"measuring {name} …", file=sys.stderr, flush=True)
            with PARTS[name](bench) as comparisons:
                for comparison in comparisons:
                    measured.extend(compare(comparison, pairs))
    return measured
