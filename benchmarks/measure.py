"""How a path is measured beside its floor: in turn, in pairs, with the CPU that each process used."""

import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Literal, TypeVar

import msgspec
import psutil  # type: ignore[import-untyped]

from benchmarks.load import Load, Loaded
from stack import processes

REPOSITORY = Path(__file__).parents[1]
GRACE_SECONDS = 60.0
Answer = TypeVar("Answer")


class BenchError(RuntimeError):
    """A measurement could not be taken; the message says why."""


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement: so many units per second, the latencies, and the cores that each party used meanwhile."""

    per_second: float
    p50_ms: float | None = None
    p99_ms: float | None = None
    cores: dict[str, float] = {}
    megabytes: dict[str, float] = {}

    def cpu_us(self, party: str) -> float:
        """CPU microseconds of `party` for one unit."""
        return self.cores[party] / self.per_second * 1_000_000 if self.per_second else float("inf")


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """The path and its floor, measured one right after the other."""

    path: Sample
    floor: Sample


Quantile = Literal["p50", "p99"]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table. `value` and `floor` pick what is compared; the goal is a bound on value ÷ floor."""

    path: str
    beside: str
    unit: str
    goal: float
    bound: Literal["at least", "at most"]
    value: Callable[[Pair], float]
    floor: Callable[[Pair], float]


def rate(path: str, beside: str, goal: float, unit: str = "events/s") -> Row:
    """A line that compares rates: at least `goal` times the floor."""
    return Row(
        path=path,
        beside=beside,
        unit=unit,
        goal=goal,
        bound="at least",
        value=lambda pair: pair.path.per_second,
        floor=lambda pair: pair.floor.per_second,
    )


def latency(path: str, beside: str, goal: float, which: Quantile) -> Row:
    """A line that compares latencies: at most `goal` times the floor's."""

    def pick(sample: Sample) -> float:
        return (sample.p50_ms if which == "p50" else sample.p99_ms) or 0.0

    return Row(
        path=path,
        beside=beside,
        unit="ms",
        goal=goal,
        bound="at most",
        value=lambda pair: pick(pair.path),
        floor=lambda pair: pick(pair.floor),
    )


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """A path and its floor, ready to be measured as often as wanted, and the lines that come of it.

    `path_first`: the floor comes out of the path's own run. `most_pairs`: of a long run there are no more than so many.
    """

    path: Callable[[], Sample]
    floor: Callable[[], Sample]
    rows: Sequence[Row]
    path_first: bool = False
    most_pairs: int | None = None


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One pair, as it stands in the JSON."""

    value: float
    floor: float
    ratio: float
    p50_ms: float | None
    p99_ms: float | None
    cores: dict[str, float]


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the answer. `value` and `floor` are medians over the pairs, `ratio` is the median of the pairs' ratios."""

    path: str
    value: float
    unit: str
    floor: float
    ratio: float
    goal: float
    passed: bool = msgspec.field(name="pass")
    p50_ms: float | None
    p99_ms: float | None
    runs: list[Run]


def compare(comparison: Comparison, pairs: int) -> list[tuple[Row, Result]]:
    """Measure path and floor in turn, `pairs` times; every second pair begins with the floor, so that a drift cancels out."""
    measured: list[Pair] = []
    for number in range(min(pairs, comparison.most_pairs or pairs)):
        if comparison.path_first or number % 2 == 0:
            path = comparison.path()
            floor = comparison.floor()
        else:
            floor = comparison.floor()
            path = comparison.path()
        measured.append(Pair(path=path, floor=floor))
    return [(row, conclude(row, measured)) for row in comparison.rows]


def conclude(row: Row, pairs: Sequence[Pair]) -> Result:
    """The medians of one line."""
    runs = [
        Run(
            value=row.value(pair),
            floor=row.floor(pair),
            ratio=row.value(pair) / row.floor(pair) if row.floor(pair) else 0.0,
            p50_ms=pair.path.p50_ms,
            p99_ms=pair.path.p99_ms,
            cores=pair.path.cores,
        )
        for pair in pairs
    ]
    ratio = statistics.median(run.ratio for run in runs)
    return Result(
        path=row.path,
        value=statistics.median(run.value for run in runs),
        unit=row.unit,
        floor=statistics.median(run.floor for run in runs),
        ratio=ratio,
        goal=row.goal,
        passed=ratio >= row.goal if row.bound == "at least" else ratio <= row.goal,
        p50_ms=middle([run.p50_ms for run in runs]),
        p99_ms=middle([run.p99_ms for run in runs]),
        runs=runs,
    )


def middle(values: Sequence[float | None]) -> float | None:
    """The median of the values that are there."""
    present = [value for value in values if value is not None]
    return statistics.median(present) if present else None


class Meter:
    """Reads how much CPU each party's processes, with their children, have used. Parties are named for the table."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self.pids = dict(pids)
        self.parties = {name: psutil.Process(pid) for name, pid in pids.items()}

    def read(self) -> dict[tuple[str, int], float]:
        """CPU seconds so far, by party and process."""
        seconds: dict[tuple[str, int], float] = {}
        for name, parent in self.parties.items():
            for process in [parent, *parent.children(recursive=True)]:
                try:
                    times = process.cpu_times()
                except psutil.NoSuchProcess:
                    continue
                seconds[name, process.pid] = times.user + times.system
        return seconds

    def used(self, before: Mapping[tuple[str, int], float], after: Mapping[tuple[str, int], float]) -> dict[str, float]:
        """CPU seconds used by each party between two readings. A process that ended meanwhile is not counted."""
        seconds = dict.fromkeys(self.parties, 0.0)
        for key, total in after.items():
            seconds[key[0]] += max(0.0, total - before.get(key, 0.0))
        return seconds


def in_process(module: str, plan: msgspec.Struct, answer: type[Answer], meter: Meter) -> tuple[Answer, dict[str, float]]:
    """Run `python -m module` with the plan on standard input; what it answered, and the CPU seconds of the meter's parties.

    The process prints `begin`, `end` and its answer. What it used itself is counted under `load`.
    """
    argv = processes.launched(processes.Command(name=module, argv=(sys.executable, "-m", module)))
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=REPOSITORY) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(msgspec.json.encode(plan))
            process.stdin.close()
            whole = Meter({**meter.pids, "load": process.pid})
            expect(process.stdout, "begin", module)
            before = whole.read()
            expect(process.stdout, "end", module)
            after = whole.read()
            text = process.stdout.read()
            if process.wait(GRACE_SECONDS) != 0:
                raise BenchError(f"{module} ended with status {process.returncode}")
        finally:
            process.kill()
    return msgspec.json.decode(text, type=answer), whole.used(before, after)


def expect(output: IO[bytes], word: str, module: str) -> None:
    """Wait for the line `word`."""
    line = output.readline().decode().strip()
    if line != word:
        raise BenchError(f"expected `{word}` from {module}, got {line[:400]!r}")


def run_load(load: Load, meter: Meter, units: int = 1) -> Sample:
    """Drive a server with the load generator; one request counts as `units`. Raises `BenchError` when answers were not as expected."""
    loaded, cpu = in_process("benchmarks.load", load, Loaded, meter)
    if not loaded.failures and not loaded.requests:
        raise BenchError(f"no answer came within {loaded.seconds:.1f} s; {loaded.sent_in_all} requests were sent")
    if loaded.failures:
        raise BenchError(f"{loaded.failures} unexpected answers beside {loaded.requests} good ones; the first: {loaded.sample}")
    return sample_of(loaded, cpu, units)


def sample_of(loaded: Loaded, cpu: Mapping[str, float], units: int = 1) -> Sample:
    """What a load generator or a bare driver did, as a measurement; one request counts as `units`."""
    return Sample(
        per_second=loaded.requests * units / loaded.seconds,
        p50_ms=loaded.p50_ms,
        p99_ms=loaded.p99_ms,
        cores={name: seconds / loaded.seconds for name, seconds in cpu.items()},
    )
