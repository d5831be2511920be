"""`laurel migrate`: the schema, the platform's own row, and the event log's next partitions."""

from pathlib import Path

import psycopg
import rich_click as click
import sqlalchemy as sa

from runtime import schema
from stack.data_directory import data_dir_option, settings_for
from stack.migrate import bring_up_to_date


@click.command()
@data_dir_option
def migrate(data_dir: Path) -> None:
    """Bring the database's schema up to date. Safe to repeat."""
    settings = settings_for(data_dir)
    try:
        before, newest = schema.revisions(settings.session_url)
        bring_up_to_date(settings)
    except (psycopg.OperationalError, sa.exc.OperationalError) as error:
        said = str(getattr(error, "orig", None) or error).strip()
        raise SystemExit(f"laurel: the database cannot be migrated now: {said}") from None
    click.echo(f"schema is at revision {newest}" + ("" if before == newest else f" (was {before or 'empty'})"), err=True)
