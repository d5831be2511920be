"""`laurel rebuild-rankings` and `laurel verify-rankings`: make the live rankings in Redis again, and prove them; all goes on meanwhile."""

import asyncio
from pathlib import Path
from uuid import UUID

import rich_click as click
from rich.console import Console
from rich.progress import Progress, TextColumn

from domain.errors import NotFound, ValidationError
from runtime.postgres import Pool, make_pool
from runtime.redis import make_redis
from runtime.settings import Settings
from stack.data_directory import data_dir_option, settings_for
from storage.leaderboard.definition import every_open_window
from storage.leaderboard.rankings import RankedBoard, Rankings, RedisError
from storage.leaderboard.rankings_audit import NamedWindow, drift_lines, ranked_windows, verify_window
from storage.leaderboard.rankings_repair import rebuild_window
from storage.tenant.tenant import find_tenant

SWAP_ATTEMPTS = 2
ATTEMPTS = 5


@click.command("rebuild-rankings")
@click.option("--tenant", help="Only this tenant's boards.")
@data_dir_option
def rebuild_rankings(tenant: str | None, data_dir: Path) -> None:
    """Rebuild the live rankings in Redis from PostgreSQL, while scoring and reading continue.

    Each window is filled beside what is there and takes its place in one step. One that changes faster than it can be filled is read from
    PostgreSQL meanwhile.
    """
    failed = asyncio.run(_rebuild(settings_for(data_dir), tenant))
    if failed:
        raise SystemExit(f"{failed} windows could not be rebuilt; run it again")


async def _rebuild(settings: Settings, tenant: str | None) -> int:
    redis = make_redis(settings)
    pool = make_pool(settings.session_url, "rebuild-rankings", max_size=2)
    await pool.open()
    try:
        tenant_id = await _tenant_id(pool, tenant)
        rankings = Rankings(redis)
        async with pool.connection() as connection:
            await rankings.learn(connection)
            windows = await every_open_window(connection, tenant_id)
        return await _rebuild_all(pool, rankings, windows)
    finally:
        await pool.close()
        await redis.aclose()


async def _tenant_id(pool: Pool, tenant: str | None) -> UUID | None:
    """The tenant that is meant; None for all."""
    if tenant is None:
        return None
    try:
        tenant_id = UUID(tenant)
    except ValueError:
        raise ValidationError(f"'{tenant}' is not a tenant id: it must be a UUID") from None
    async with pool.connection() as connection:
        if await find_tenant(connection, tenant_id) is None:
            raise NotFound(f"No tenant {tenant}")
    return tenant_id


async def _rebuild_all(pool: Pool, rankings: Rankings, windows: list[RankedBoard]) -> int:
    """How many windows could not be rebuilt."""
    console, failed = Console(stderr=True), 0
    with Progress(console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("Windows", total=len(windows))
        for window in windows:
            failed += not await _rebuild_one(pool, rankings, window)
            progress.advance(task)
    console.print(f"{len(windows) - failed} of {len(windows)} windows rebuilt")
    return failed


async def _rebuild_one(pool: Pool, rankings: Rankings, window: RankedBoard) -> bool:
    for _ in range(SWAP_ATTEMPTS):
        if await rebuild_window(pool, rankings, window) == "done":
            return True
    await rankings.forget(window)  # it holds more than each fill, or says so: nothing that it says is trusted
    for _ in range(ATTEMPTS):
        if await rebuild_window(pool, rankings, window) in ("done", "newer"):  # newer: a pump has rebuilt it since it was forgotten
            return True
    return False


@click.command("verify-rankings")
@click.option("--tenant", help="Only this tenant's boards.")
@click.option("--board", help="Only the boards of this id.")
@data_dir_option
def verify_rankings(tenant: str | None, board: str | None, data_dir: Path) -> None:
    """Prove that every live board in Redis says what PostgreSQL says, entry by entry, while scoring goes on.

    Exit status 1 and the offending boards and users on standard output otherwise; `laurel rebuild-rankings` repairs them. A board
    that is not complete in Redis is read from PostgreSQL: it is counted, and is no fault.
    """
    try:
        drifting = asyncio.run(_verify(settings_for(data_dir), tenant, board))
    except RedisError as error:
        raise SystemExit(f"Redis does not answer, so boards are read from PostgreSQL: {error}") from None
    if drifting:
        raise SystemExit(f"{drifting} entries are wrong; `laurel rebuild-rankings` repairs them")


async def _verify(settings: Settings, tenant: str | None, board: str | None) -> int:
    redis = make_redis(settings)
    pool = make_pool(settings.session_url, "verify-rankings", max_size=2)
    await pool.open()
    try:
        tenant_id = await _tenant_id(pool, tenant)
        rankings = Rankings(redis)
        async with pool.connection() as connection:
            await rankings.learn(connection)
            windows = await ranked_windows(connection, tenant_id, board)
        if board is not None and not windows:
            raise NotFound(f"No leaderboard {board} with an open window")
        return await _verify_all(pool, rankings, windows)
    finally:
        await pool.close()
        await redis.aclose()


async def _verify_all(pool: Pool, rankings: Rankings, windows: list[NamedWindow]) -> int:
    """How many entries are wrong."""
    console, wrong, compared, stored = Console(stderr=True), 0, 0, 0
    columns = (*Progress.get_default_columns(), TextColumn("{task.fields[entries]:,} entries"))
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("Windows", total=len(windows), entries=0)

        def count(entries: int) -> None:
            nonlocal compared
            compared += entries
            progress.update(task, entries=compared)

        for window in windows:
            verdict = await verify_window(pool, rankings, window.board, progress=count)
            stored += not verdict.complete
            wrong += len(verdict.drifts)
            for line in drift_lines(window, verdict.drifts):
                click.echo(line)
            progress.advance(task)
    console.print(f"{len(windows) - stored} live windows with {compared} entries compared; {stored} are read from PostgreSQL")
    return wrong
