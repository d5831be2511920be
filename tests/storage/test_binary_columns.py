"""Packed columns arrive as the values that they were made of."""

import uuid
from datetime import UTC, datetime

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.rows import tuple_row

from runtime.postgres import Pool
from storage import binary_columns

LONG = st.integers(-(1 << 63), (1 << 63) - 1)
INSTANTS = st.datetimes(datetime(1900, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis wants them naive
ROWS = st.lists(
    st.tuples(
        LONG, st.integers(-(1 << 31), (1 << 31) - 1), st.uuids(), st.text(st.characters(codec="utf-8", exclude_characters="\0")), INSTANTS
    )
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ROWS)
async def test_columns_arrive_as_they_were(pool: Pool, rows: list[tuple[int, int, uuid.UUID, str, datetime]]) -> None:
    at = binary_columns.Instants()
    columns = (
        binary_columns.integers([row[0] for row in rows]),
        binary_columns.integers([row[1] for row in rows], width=4),
        binary_columns.uuids(row[2].int for row in rows),
        binary_columns.texts([binary_columns.text(row[3]) for row in rows]),
        binary_columns.instants([at[row[4]] for row in rows]),
    )
    statement = "SELECT * FROM unnest(%b::bigint[], %b::integer[], %b::uuid[], %b::text[], %b::timestamptz[])"
    async with pool.connection() as connection:
        async with connection.cursor(row_factory=tuple_row, binary=True) as cursor:
            cursor.adapters.register_dumper(binary_columns.Packed, binary_columns.PackedDumper)
            await cursor.execute(statement, columns)
            assert await cursor.fetchall() == rows
        async with connection.cursor(row_factory=tuple_row, binary=True) as cursor:
            binary_columns.as_packed(cursor)
            await cursor.execute(statement, columns)
            plain = [(long, short, user.bytes, text.encode(), at[instant]) for long, short, user, text, instant in rows]
            assert await cursor.fetchall() == plain
    assert [binary_columns.instant(at[row[4]]) for row in rows] == [row[4] for row in rows]


async def test_an_instant_that_is_not_there_is_minus_infinity(pool: Pool) -> None:
    async with pool.connection() as connection, connection.cursor(row_factory=tuple_row, binary=True) as cursor:
        binary_columns.as_packed(cursor)
        unset = binary_columns.instants([binary_columns.NO_INSTANT])
        await cursor.execute("SELECT nullif(given, '-infinity') FROM unnest(%b::timestamptz[]) AS given", (unset,))
        assert await cursor.fetchall() == [(None,)]
