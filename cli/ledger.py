"""`laurel verify-ledger`: proves from its own rows that the ledger is right."""

import asyncio
import sys
from pathlib import Path

import rich_click as click
from psycopg import IsolationLevel
from rich.console import Console
from rich.progress import Progress

from runtime import postgres
from runtime.settings import Settings
from stack.data_directory import data_dir_option, settings_for
from storage.points.audit import CHECKS, MAX_FINDINGS_PER_CHECK, Finding, verify


async def examine(settings: Settings, console: Console) -> list[Finding]:
    """Run every check in one snapshot, with a progress bar on a terminal and plain lines elsewhere."""
    connection = await postgres.connect(settings.session_url, "verify-ledger")
    await connection.set_isolation_level(IsolationLevel.REPEATABLE_READ)
    await connection.set_read_only(True)
    found: list[Finding] = []
    progress = Progress(console=console, transient=True, disable=not console.is_terminal)
    task = progress.add_task("verifying the ledger", total=len(CHECKS))
    with progress:
        async with connection, connection.transaction():
            async for check, findings in verify(connection):
                mark = "[red]broken[/red]" if findings else "[green]good[/green]  "
                progress.console.print(f"{mark}  {check.promise}", highlight=False)
                progress.advance(task)
                found += findings
    return found


@click.command(name="verify-ledger")
@data_dir_option
def verify_ledger(data_dir: Path) -> None:
    """Prove that every balance equals its transfers, that holds match redemptions, and that everything sums to zero.

    Exit status 1 and the offending ids on standard output otherwise.
    """
    found = asyncio.run(examine(settings_for(data_dir), Console(stderr=True)))
    for finding in found:
        click.echo(f"{finding.promise}: tenant {finding.tenant_id}, {finding.id}: {finding.detail}")
    if found:
        click.echo(f"the ledger is broken: {len(found)} findings (at most {MAX_FINDINGS_PER_CHECK} of each kind)", err=True)
        sys.exit(1)
    click.echo("the ledger is right", err=True)
