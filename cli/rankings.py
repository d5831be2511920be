"""`laurel rebuild-rankings`: write the live rankings in Redis again, from PostgreSQL, while everything goes on."""

import asyncio
from pathlib import Path
from uuid import UUID

import rich_click as click
from rich.console import Console
from rich.progress import Progress

from cli.stack import data_dir_option, settings_for
from domain.error import NotFound, ValidationFault
from runtime.postgres import Pool, make_pool
from runtime.redis import make_redis
from runtime.settings import Settings
from storage.leaderboard import every_open_window
from storage.live import LiveBoard, LiveStore
from storage.live_repair import rebuild_window
from storage.tenant import find_tenant

ATTEMPTS = 5


@click.command("rebuild-rankings")
@click.option("--tenant", help="Only this tenant's boards.")
@data_dir_option
def rebuild_rankings(tenant: str | None, data_dir: Path) -> None:
    """Write the live rankings in Redis again, from PostgreSQL. Boards are read from PostgreSQL meanwhile."""
    failed = asyncio.run(_rebuild(settings_for(data_dir), tenant))
    if failed:
        raise SystemExit(f"{failed} windows could not be rebuilt; run it again")


async def _rebuild(settings: Settings, tenant: str | None) -> int:
    redis = make_redis(settings)
    pool = make_pool(settings.database_url, "rebuild-rankings", max_size=2)
    await pool.open()
    try:
        windows = await _windows(pool, tenant)
        return await _rebuild_all(pool, LiveStore(redis), windows)
    finally:
        await pool.close()
        await redis.aclose()


async def _windows(pool: Pool, tenant: str | None) -> list[LiveBoard]:
    async with pool.connection() as connection:
        if tenant is None:
            return await every_open_window(connection, None)
        try:
            tenant_id = UUID(tenant)
        except ValueError:
            raise ValidationFault(f"'{tenant}' is no tenant id: it must be a UUID") from None
        if await find_tenant(connection, tenant_id) is None:
            raise NotFound(f"There is no tenant {tenant}")
        return await every_open_window(connection, tenant_id)


async def _rebuild_all(pool: Pool, live: LiveStore, windows: list[LiveBoard]) -> int:
    """How many windows could not be rebuilt."""
    console, failed = Console(stderr=True), 0
    with Progress(console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("Windows", total=len(windows))
        for window in windows:
            failed += not await _rebuild_one(pool, live, window)
            progress.advance(task)
    console.print(f"{len(windows) - failed} of {len(windows)} windows rebuilt")
    return failed


async def _rebuild_one(pool: Pool, live: LiveStore, window: LiveBoard) -> bool:
    await live.forget(window)
    for _ in range(ATTEMPTS):
        if await rebuild_window(pool, live, window) in ("done", "newer"):  # newer: a pump has rebuilt it since it was forgotten
            return True
    return False
