"""`laurel migrate`: the schema, the platform's own row, and the event log's next partitions."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import rich_click as click
import sqlalchemy as sa

from runtime import postgres, schema
from runtime.settings import Settings
from stack.data_directory import data_dir_option, settings_for
from storage.platform import partitions


async def set_up_platform(settings: Settings) -> None:
    """Write what is fixed once for the platform, and make the partitions of the coming days; raises `SettingError`."""
    connection = await postgres.connect(settings.session_url, "migrate")
    async with connection, connection.transaction():
        await partitions.set_up(connection, settings.scoring_partitions, datetime.now(UTC))


def bring_up_to_date(settings: Settings) -> None:
    """Migrate and set up. Safe to repeat, and safe when several machines do it at once."""
    schema.upgrade(settings.session_url)
    asyncio.run(set_up_platform(settings))


@click.command()
@data_dir_option
def migrate(data_dir: Path) -> None:
    """Bring the database's schema up to date. Safe to repeat."""
    settings = settings_for(data_dir)
    try:
        before, newest = schema.revisions(settings.session_url)
        bring_up_to_date(settings)
    except (psycopg.OperationalError, sa.exc.OperationalError) as fault:
        said = str(getattr(fault, "orig", None) or fault).strip()
        raise SystemExit(f"laurel: the database cannot be migrated now: {said}") from None
    click.echo(f"schema is at revision {newest}" + ("" if before == newest else f" (was {before or 'empty'})"), err=True)
