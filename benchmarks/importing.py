"""`laurel import` of a file with events, beside the bulk path with as many clients as it is measured with."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import event
from benchmarks.bench import TOKEN_LENGTH, Bench
from benchmarks.ingestion import BULK, BULK_CONNECTIONS
from benchmarks.measure import REPOSITORY, BenchError, Comparison, Meter, Sample, rate
from benchmarks.stack import Server
from stack import processes

EVENTS, QUICK_EVENTS = 1_000_000, 100_000
TIMEOUT_SECONDS = 600.0


@contextmanager
def importing(bench: Bench) -> Iterator[list[Comparison]]:
    """A file of new events each time, through the same API process."""
    events = QUICK_EVENTS if bench.quick else EVENTS
    file = bench.stack.directory / "history.ndjson"
    requests = [event.bulk_request(bench.api_key, number, BULK, TOKEN_LENGTH) for number in range(20)]

    def bulk(api: Server) -> Sample:
        bench.empty_log()
        return bench.drive(api, requests, status=202, connections=BULK_CONNECTIONS, units=BULK)

    with bench.stack.server("api") as api:
        row = rate(f"import of {events / 1e6:g} M events", f"bulk of {BULK}, {BULK_CONNECTIONS} clients", 0.9)
        yield [
            Comparison(
                path=lambda: run_import(bench, api, file, events),
                floor=lambda: bulk(api),
                rows=[row],
                most_pairs=1 if bench.quick else None,
            )
        ]


def run_import(bench: Bench, api: Server, file: Path, events: int) -> Sample:
    """Write the file, then import it: events a second from the start of the program to its end."""
    prefix = bench.token_prefix()
    with file.open("wb") as lines:
        lines.writelines(event.body(f"{prefix}{number:09d}", event.user(number), number) + b"\n" for number in range(events))
    bench.empty_log()
    address = ("--url", f"http://127.0.0.1:{api.port}", "--api-key", bench.api_key, "--tenant", str(bench.tenant_id))
    command = processes.Command(name="import", argv=(sys.executable, "-m", "cli", "import", str(file), *address))
    began = time.perf_counter()
    process = subprocess.Popen(processes.launched(command), cwd=REPOSITORY, stderr=subprocess.PIPE)
    meter = Meter({**api.meter.pids, "import": process.pid})
    before = meter.read()
    try:
        after = before
        while process.poll() is None and time.perf_counter() < began + TIMEOUT_SECONDS:
            after = meter.read()
            time.sleep(0.1)
        seconds = time.perf_counter() - began
        said = process.communicate(timeout=TIMEOUT_SECONDS)[1].decode(errors="replace")
    finally:
        process.kill()
    if process.returncode != 0 or f"{events} accepted" not in said:
        raise BenchError(f"the import ended with status {process.returncode}: {said[-400:]}")
    return Sample(per_second=events / seconds, cores={name: used / seconds for name, used in meter.used(before, after).items()})
