"""The table on the terminal and the JSON file."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks.measure import Result, Row


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in the JSON file."""

    results: list[Result]


def write_json(results: Sequence[Result], file: Path) -> None:
    """Write the results, readable by people too."""
    file.write_bytes(msgspec.json.format(msgspec.json.encode(Answer(results=list(results))), indent=2) + b"\n")


def table(measured: Sequence[tuple[Row, Result]]) -> Table:
    """The results, a line for each path. `spread` is the largest less the smallest ratio of the pairs, in parts of the median."""
    lines = Table(title="laurel bench: each path beside its floor, in turn", title_justify="left", show_lines=False)
    for name in ("path", "beside"):
        lines.add_column(name, overflow="fold")
    for name in ("value", "floor", "ratio", "goal", "", "p50 ms", "p99 ms", "spread"):
        lines.add_column(name, justify="right", no_wrap=True)
    lines.add_column("cores used (path)", overflow="fold")
    for row, result in measured:
        verdict = "[green]met[/]" if result.passed else "[red]missed[/]"
        sign = "≥" if row.bound == "at least" else "≤"
        lines.add_row(
            result.path,
            row.beside,
            f"{quantity(result.value)} {result.unit}",
            quantity(result.floor),
            f"{result.ratio:.2f}",
            f"{sign} {result.goal:g}",
            verdict,
            milliseconds(result.p50_ms),
            milliseconds(result.p99_ms),
            f"{spread(result):.0%}",
            cores(result),
        )
    return lines


def quantity(value: float) -> str:
    """A number with three digits that count, thousands apart."""
    return f"{value:,.0f}".replace(",", " ") if value >= 100 else f"{value:.3g}"


def milliseconds(value: float | None) -> str:
    """A latency, or a dash."""
    return "–" if value is None else f"{value:.2f}"


def spread(result: Result) -> float:
    """How far apart the pairs' ratios are, in parts of the median ratio."""
    ratios = [run.ratio for run in result.runs]
    return (max(ratios) - min(ratios)) / result.ratio if result.ratio else 0.0


def cores(result: Result) -> str:
    """Who used how many cores in the middle run."""
    run = sorted(result.runs, key=lambda each: each.ratio)[len(result.runs) // 2]
    return " ".join(f"{name} {used:.2f}" for name, used in run.cores.items() if used >= 0.01)


def show(measured: Sequence[tuple[Row, Result]]) -> None:
    """Print the table; wide enough to be read in a log too."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    console.print(table(measured))
