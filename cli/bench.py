"""`laurel bench`: every path of the product beside its floor, in the same run (docs/performance.md)."""

import signal
import sys
from pathlib import Path

import rich_click as click


@click.command()
@click.argument("parts", nargs=-1, metavar="[PART…]")
@click.option("--quick", is_flag=True, help="Shorter measurements and smaller tables: at most 5 minutes in all.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the results to this file, too.")
@click.option("--pairs", type=click.IntRange(1, 20), default=3, show_default=True, help="How often each path and its floor are measured.")
def bench(parts: tuple[str, ...], quick: bool, json_file: Path | None, pairs: int) -> None:
    """Measure each path beside its floor, on a stack of its own.

    PART is one or more of: accept, single, ack, bulk, sustained, import, scoring, visible, page, rank, closing, payout, fan-out,
    redeem, callback, workflows, memory, console.
    Without any, all are measured.
    """
    from benchmarks.measure import BenchError
    from benchmarks.report import show, write_json
    from benchmarks.suite import PARTS, Measured, run_suite
    from runtime.settings import process_environment

    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(143))  # so that the temporary directory goes, too
    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        raise click.UsageError(f"unknown part {', '.join(unknown)}; there are {', '.join(PARTS)}")

    def keep(measured: Measured) -> None:
        """Write what there is: a run that is cut short has not been for nothing."""
        if json_file is not None:
            write_json([result for _, result in measured], json_file)

    try:
        measured, errors = run_suite(parts or tuple(PARTS), quick=quick, pairs=pairs, environ=process_environment(), keep=keep)
    except BenchError as error:
        raise SystemExit(f"laurel bench: {error}") from error
    show(measured)
    if json_file is not None:
        click.echo(f"written to {json_file}", err=True)
    if errors:
        raise SystemExit("\n".join(f"laurel bench: {error}" for error in errors))
