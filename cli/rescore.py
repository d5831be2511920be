"""`laurel rescore`: build an open window anew from the event log, and watch how far that is (contract 6)."""

import asyncio
from pathlib import Path
from uuid import UUID

import rich_click as click
from rich.console import Console
from rich.progress import Progress

from cli.tenant import known_tenant
from domain.leaderboard.rescore import RescoreProgress, RescoreStatus
from runtime.postgres import Pool, make_pool, transaction
from runtime.settings import Settings
from stack.data_directory import data_dir_option, settings_for
from storage.leaderboard.rescore import Rescore, find_rescore, progress_of
from storage.leaderboard.rescore_request import CURRENT, request_rescore

LOOK_SECONDS = 0.5
LINE_STEP = 0.1


@click.command()
@click.option("--tenant", "tenant_text", required=True, metavar="T", help="Id of the tenant.")
@click.option("--board", required=True, metavar="B", help="Id of the leaderboard.")
@click.option("--window", default=CURRENT, show_default=True, metavar="W", help="Key of an open window.")
@data_dir_option
def rescore(tenant_text: str, board: str, window: str, data_dir: Path) -> None:
    """Score a window's events again, under the present rules.

    A worker does it; to interrupt this command only ends the watching. The board shows what it showed until all is read.
    """
    ended = asyncio.run(_run(settings_for(data_dir), tenant_text, board, window))
    if ended.status is not RescoreStatus.COMPLETED:
        raise SystemExit(f"the rescore failed, the board is as it was: {ended.reason}")
    click.echo(f"{ended.events_read} events read, the board shows the new standings", err=True)


async def _run(settings: Settings, tenant_text: str, board: str, window: str) -> RescoreProgress:
    pool = make_pool(settings.session_url, "rescore", max_size=1)
    await pool.open()
    try:
        async with transaction(pool) as connection:
            tenant = await known_tenant(connection, tenant_text)
            begun = await request_rescore(connection, tenant.tenant_id, board, window)
        return await _watch(pool, begun, Console(stderr=True))
    finally:
        await pool.close()


async def _watch(pool: Pool, begun: Rescore, console: Console) -> RescoreProgress:
    """Show how far it is until it has ended: a bar on a terminal, a line for each tenth elsewhere."""
    console.print(f"rescore {begun.rescore_id} of window {begun.window_key}", highlight=False)
    told = 0.0
    with Progress(console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("Event log", total=1.0)
        while True:
            progress = await _progress(pool, begun.tenant_id, begun.rescore_id)
            bar.update(task, completed=progress.fraction)
            if not console.is_terminal and progress.fraction >= told + LINE_STEP:
                told = progress.fraction
                console.print(f"{100 * told:.0f} %, {progress.events_read} events read", highlight=False)
            if progress.status is not RescoreStatus.RUNNING:
                return progress
            await asyncio.sleep(LOOK_SECONDS)


async def _progress(pool: Pool, tenant_id: UUID, rescore_id: UUID) -> RescoreProgress:
    async with pool.connection() as connection:
        found = await find_rescore(connection, tenant_id, rescore_id)
        assert found is not None
        return await progress_of(connection, found)
