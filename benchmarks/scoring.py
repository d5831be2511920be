"""Scoring whole: from the log to Redis, beside the bare upsert of as many standings."""

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import psycopg
import redis

from benchmarks import event
from benchmarks.bench import Bench
from benchmarks.driver import APPEND
from benchmarks.measure import REPOSITORY, BenchError, Comparison, Meter, Row, Sample, in_process
from benchmarks.pump import Plan, Pumped
from benchmarks.stack import Server
from runtime.ids import new_id
from stack import processes

BATCH = 5000
USERS = 12_800
FILL = 2000
OTHERS = 495
SCORED_TABLES = "standing, live_position, leaderboard_window"
BOARDS: tuple[dict[str, Any], ...] = (
    {"timeframe": {"type": "all_time"}, "aggregation": "sum", "rule": {"points_expression": "attrs.score * 0.1"}},
    {"timeframe": {"type": "weekly"}, "aggregation": "sum", "rule": {"points_expression": "attrs.kills * 10 - attrs.deaths"}},
    {"timeframe": {"type": "monthly"}, "aggregation": "max", "rule": {"points_expression": "attrs.score"}},
    {"timeframe": {"type": "all_time"}, "aggregation": "count", "rule": {"points_expression": "1"}},
    {
        "timeframe": {"type": "weekly"},
        "aggregation": "sum",
        "rule": {"points_expression": "attrs.score + attrs.assists", "conditions": {"attrs.mode": {"eq": "ranked"}}},
    },
)


@contextmanager
def scoring(bench: Bench) -> Iterator[list[Comparison]]:
    """Five boards that every event concerns, batches of 5 000; and the same among 495 boards that none concerns."""
    make_boards(bench)
    bench.empty_log()
    batches = max(2, round(bench.seconds))
    fill_log(bench, batches * BATCH * bench.stack.settings.scoring_partitions)
    shape: list[float] = [BATCH * (1 - 2.718**-3) / 3]

    def whole() -> Sample:
        pumped, sample = pump(bench, "whole", 0, 0)
        shape[0] = pumped.standings / len(BOARDS) / max(1, round(pumped.events / BATCH))
        return sample

    def upsert() -> Sample:
        transactions = batches * bench.stack.settings.scoring_partitions
        return pump(bench, "upsert", int(shape[0]), transactions)[1]

    row = Row(
        path=f"scoring whole, batch {BATCH}, {len(BOARDS)} boards",
        beside="the bare upsert, one connection",
        unit="standings/s",
        goal=0.65,
        bound="at least",
        value=lambda pair: pair.path.per_second,
        floor=lambda pair: pair.floor.per_second,
    )
    among = Row(
        path=f"scoring whole, {len(BOARDS)} boards among {len(BOARDS) + OTHERS}",
        beside=f"{len(BOARDS)} boards alone",
        unit="standings/s",
        goal=0.9,
        bound="at least",
        value=lambda pair: pair.path.per_second,
        floor=lambda pair: pair.floor.per_second,
    )

    def among_others() -> Sample:
        with other_boards(bench):
            return whole()

    yield [
        Comparison(path=whole, floor=upsert, rows=[row]),
        Comparison(path=among_others, floor=whole, rows=[among], most_pairs=2 if bench.quick else None),
    ]


@contextmanager
def api_and_pumps(bench: Bench) -> Iterator[Server]:
    """The API, metered together with the pumps of all partitions in a process beside it: five boards, and an empty log."""
    make_boards(bench)
    bench.empty_log()
    rewind(bench)
    stack = bench.stack
    argv = (sys.executable, "-m", "benchmarks.pumps")
    log = stack.directory / "pumps.log"
    command = processes.Command(name="pumps", argv=argv, log=log, environment=stack.environ, directory=REPOSITORY)
    pumps = processes.start(command)
    try:
        with stack.server("api") as server:
            yield Server(port=server.port, meter=Meter({**server.meter.pids, "pumps": pumps.pid}))
    finally:
        processes.stop(pumps, command)


def make_boards(bench: Bench) -> None:
    """The boards of `BOARDS` over the public API, unless they are there."""
    with bench.stack.server("api") as server, bench.admin(server) as client:
        for number, board in enumerate(BOARDS):
            rule = {"event_type": event.TYPE, **board["rule"]}
            config = {"timeframe": board["timeframe"], "scoring": {"rules": [rule], "aggregation": board["aggregation"]}}
            body = {"leaderboard_id": f"bench-{number}", "name": f"Bench {number}", "config": config}
            answer = client.post("/v1/admin/leaderboards", json=body)
            if answer.status_code not in (201, 409):
                raise BenchError(f"a board was not made: {answer.status_code} {answer.text[:400]}")


@contextmanager
def other_boards(bench: Bench) -> Iterator[None]:
    """Many boards more of the same tenant, each with a rule for an event type of its own; gone at the end of the block."""
    with psycopg.connect(bench.stack.settings.database_url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO leaderboard (tenant_id, board_id, leaderboard_id, name, status, version, config, created_at, updated_at)"
            " SELECT tenant_id, gen_random_uuid(), 'bench-other-' || n, 'Other', 'active', 1,"
            " jsonb_set(config, '{scoring,rules,0,event_type}', to_jsonb('other.' || n)), created_at, updated_at"
            " FROM leaderboard, generate_series(1, %s) AS n WHERE tenant_id = %s AND leaderboard_id = 'bench-0'",
            (OTHERS, bench.tenant_id),
        )
        connection.execute(
            "INSERT INTO leaderboard_version (tenant_id, board_id, version, status, config, valid_from)"
            " SELECT tenant_id, board_id, version, status, config, created_at FROM leaderboard"
            " WHERE tenant_id = %s AND leaderboard_id LIKE 'bench-other-%%'",
            (bench.tenant_id,),
        )
        try:
            yield
        finally:
            others = "SELECT board_id FROM leaderboard WHERE tenant_id = %(t)s AND leaderboard_id LIKE 'bench-other-%%'"
            for table in ("leaderboard_version", "leaderboard"):
                connection.execute(
                    f"DELETE FROM {table} WHERE tenant_id = %(t)s AND board_id IN ({others})".encode(), {"t": bench.tenant_id}
                )


def fill_log(bench: Bench, events: int) -> None:
    """Put events of random users into the log, by the product's own statement."""
    randomness = random.Random(7)
    users = [new_id() for _ in range(USERS)]
    prefix = bench.token_prefix()
    with psycopg.connect(bench.stack.settings.database_url, autocommit=True) as connection:
        connection.execute("SELECT setval('event_position', 1)")
        for first in range(0, events, FILL):
            numbers = range(first, min(first + FILL, events))
            picks = [randomness.randrange(USERS) for _ in numbers]
            names = [f"scored-{pick:06d}" for pick in picks]
            keys = [f"{prefix}{number:09d}" for number in numbers]
            bodies = [event.body(key, name, n) for key, name, n in zip(keys, names, numbers, strict=True)]
            size = len(keys)
            ids = [users[pick] for pick in picks]
            fixed = ([bench.tenant_id] * size, [""] * size, keys, [event.TYPE] * size, ids, [None] * size, names)
            occurred = [datetime.now(UTC)] * size
            connection.execute(APPEND, (*fixed, occurred, bodies, bench.stack.settings.scoring_partitions))


def rewind(bench: Bench) -> None:
    """Make everything unscored again."""
    with psycopg.connect(bench.stack.settings.database_url, autocommit=True) as connection:
        connection.execute(f"TRUNCATE {SCORED_TABLES} CASCADE".encode())
        connection.execute("UPDATE scoring_cursor SET position = 0, accepted_at = NULL")
        connection.execute("CHECKPOINT")
    with redis.Redis.from_url(bench.stack.settings.redis_url) as rankings:
        rankings.flushall()


def pump(bench: Bench, work: str, users: int, transactions: int) -> tuple[Pumped, Sample]:
    """Run one of the two works from the start."""
    rewind(bench)
    plan = Plan(
        settings=bench.stack.settings,
        tenant_id=bench.tenant_id,
        work="whole" if work == "whole" else "upsert",
        batch=BATCH,
        boards=len(BOARDS),
        users=users,
        transactions=transactions,
    )
    pumped, cpu = in_process("benchmarks.pump", plan, Pumped, bench.meter)
    cores = {("pump" if name == "load" else name): seconds / pumped.seconds for name, seconds in cpu.items()}
    return pumped, Sample(per_second=pumped.standings / pumped.seconds, p50_ms=pumped.batch_p50_ms, p99_ms=pumped.batch_p99_ms, cores=cores)
