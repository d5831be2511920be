"""What is fixed once for the whole platform: the number of scoring partitions, and a cursor for each."""

from datetime import datetime

from runtime.postgres import Connection
from runtime.settings import SettingError

DAYS_OF_PARTITIONS_AHEAD = 7


async def set_up(connection: Connection, scoring_partitions: int, now: datetime) -> None:
    """Fix the number of partitions at the first call and make sure of it at each later one; raises `SettingError`."""
    await connection.execute(
        "INSERT INTO platform (scoring_partitions, created_at) VALUES (%s, %s) ON CONFLICT DO NOTHING", (scoring_partitions, now)
    )
    row = await (await connection.execute("SELECT scoring_partitions FROM platform")).fetchone()
    if row is None or row["scoring_partitions"] != scoring_partitions:
        fixed = row["scoring_partitions"] if row else "no"
        raise SettingError(f"LAUREL_SCORING_PARTITIONS is {scoring_partitions}, but this database was set up with {fixed}")
    await connection.execute(
        "INSERT INTO scoring_cursor (scoring_partition, updated_at)"
        " SELECT n, %s FROM generate_series(0, %s - 1) AS n ON CONFLICT DO NOTHING",
        (now, scoring_partitions),
    )
    await connection.execute("SELECT ensure_event_partitions(%s)", (DAYS_OF_PARTITIONS_AHEAD,))
