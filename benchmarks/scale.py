"""The factors of docs/scale.md that speed has no part in: sizes, counted on a small stack, and how load spreads, simulated.

`python -m benchmarks.scale` prints them, in a minute or two.
"""

import bisect
import itertools
import random
from collections import Counter
from hashlib import blake2b
from typing import Any

import psycopg
import redis

from benchmarks.bench import Bench, prepare
from benchmarks.page import make_large_board
from benchmarks.scoring import fill_log
from benchmarks.stack import start_stack
from runtime.settings import process_environment

EVENTS = 100_000
BATCH = 5000
WAL = "SELECT pg_current_wal_lsn() - '0/0'"
DRAWS = 1_000_000
USERS = 1_000_000
SPREADS = (8, 64, 512)


def main() -> None:
    """Print everything, a line each."""
    for users in (1_600, 100_000, 12_500_000):
        print(f"rows of one board that {BATCH} events of {users:,} users come to: {distinct(users):,.0f}")
    for exponent in (0.0, 0.7, 1.0):
        spread = ", ".join(f"{parts}: {fullest(parts, exponent):.2f}" for parts in SPREADS)
        print(f"fullest part ÷ mean, users' activity ~ rank^-{exponent:g}, by number of parts: {spread}")
    with start_stack(process_environment()) as stack:
        bench = prepare(stack, quick=True)
        with psycopg.connect(stack.settings.database_url, autocommit=True) as connection:
            count_events(bench, connection)
            count_board(bench, connection)


def distinct(users: int) -> float:
    """How many different users send `BATCH` events, when all are as busy as each other."""
    return users * (1 - (1 - 1 / users) ** BATCH)


def fullest(parts: int, exponent: float) -> float:
    """The share of the fullest of so many parts, in parts of the mean, when users are spread by the hash of their name."""
    weights = list(itertools.accumulate(rank**-exponent for rank in range(1, USERS + 1)))
    randomness = random.Random(3)
    picks = (bisect.bisect_left(weights, randomness.random() * weights[-1]) for _ in range(DRAWS))
    filled = Counter(int.from_bytes(blake2b(b"%d" % pick, digest_size=8).digest()) % parts for pick in picks)
    return max(filled.values()) * parts / DRAWS


def count_events(bench: Bench, connection: psycopg.Connection[Any]) -> None:
    """Bytes of an event in the log, in its key, and in the write-ahead log."""
    fill_log(bench, BATCH)
    before = {table: size(connection, table) for table in ("event_log", "event_key")}
    written = value(connection, WAL)
    fill_log(bench, EVENTS)
    print(f"write-ahead log: {float(value(connection, WAL) - written) / EVENTS:.0f} bytes/event")
    for table, bytes_before in before.items():
        print(f"{table} with its index: {(size(connection, table) - bytes_before) / EVENTS:.0f} bytes/event")


def count_board(bench: Bench, connection: psycopg.Connection[Any]) -> None:
    """Bytes of a standing in PostgreSQL, and of a member in the rankings."""
    with redis.Redis.from_url(bench.stack.settings.redis_url) as server, bench.stack.server("api") as api:
        used = server.info("memory")["used_memory"]
        standings, users = size(connection, "standing"), size(connection, "app_user")
        make_large_board(bench, api)
        members = bench.members
        print(f"rankings: {(server.info('memory')['used_memory'] - used) / members:.0f} bytes/member of a board")
        print(f"standing with its indexes: {(size(connection, 'standing') - standings) / members:.0f} bytes/member of a board")
        print(f"app_user with its indexes: {(size(connection, 'app_user') - users) / members:.0f} bytes/user")


def size(connection: psycopg.Connection[Any], table: str) -> int:
    """Bytes of a table with its partitions, indexes and long values."""
    return int(
        value(
            connection,
            f"SELECT coalesce(sum(pg_total_relation_size(relid)), pg_total_relation_size('{table}')) FROM pg_partition_tree('{table}')",
        )
    )


def value(connection: psycopg.Connection[Any], query: str) -> Any:
    """The one value that a query answers."""
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


if __name__ == "__main__":
    main()
