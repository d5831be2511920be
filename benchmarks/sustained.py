"""Bulk calls without a pause: what the last seconds give, when millions of rows are there, beside the first seconds of the same run."""

from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks import event
from benchmarks.bench import TOKEN_LENGTH, Bench
from benchmarks.ingestion import BULK, BULK_CONNECTIONS
from benchmarks.measure import Comparison, Sample, rate
from benchmarks.stack import Server

ROWS, QUICK_ROWS = 2_500_000, 300_000


@contextmanager
def sustained(bench: Bench) -> Iterator[list[Comparison]]:
    """One load after the other on the same tables, until the rows are there; then the one that counts."""
    rows = QUICK_ROWS if bench.quick else ROWS
    requests = [event.bulk_request(bench.api_key, number, BULK, TOKEN_LENGTH) for number in range(20)]
    firsts: list[Sample] = []

    def send(api: Server) -> Sample:
        return bench.drive(api, requests, status=202, connections=BULK_CONNECTIONS, units=BULK)

    def run(api: Server) -> Sample:
        bench.empty_log()
        firsts.append(sample := send(api))
        written = 0.0
        while (written := written + sample.per_second * bench.seconds) < rows:
            sample = send(api)
        return send(api)

    with bench.stack.server("api") as api:
        row = rate(f"bulk of {BULK}, sustained: after {rows / 1e6:g} M rows", f"its first {bench.seconds:g} s", 0.75)
        yield [Comparison(path=lambda: run(api), floor=firsts.pop, rows=[row], path_first=True, most_pairs=1 if bench.quick else None)]
