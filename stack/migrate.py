"""A database is brought up to date: the schema, the platform's own row, and the event log's next partitions."""

import asyncio
from datetime import UTC, datetime

from runtime import postgres, schema
from runtime.settings import Settings
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
