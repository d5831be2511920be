"""A payout to 100 000 users: audience, pages of grants and transfers, totals, beside one INSERT … SELECT of grants and transfers."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from activities.payout import PAGE
from benchmarks.bench import Bench
from benchmarks.measure import BenchError, Comparison, Sample, rate
from domain.leaderboard.definition import config_wire, parse_config
from domain.payout.run import NewRun, RunStatus
from domain.reward.config import ConfigTier, RunConfig
from domain.reward.item import ItemCopy
from runtime.ids import new_id, utc_now
from runtime.postgres import make_pool, transaction
from storage.payout.pay import finish, pay_page
from storage.payout.plan import plan
from storage.payout.run import create_run

WINNERS = 100_000
RULES = {"rules": [{"event_type": "bench.payout", "points_expression": "1"}]}
CONFIG = Jsonb(config_wire(parse_config({"timeframe": {"type": "all_time"}, "scoring": RULES})))
"""The board is looked at by other parts (the console's list), so it is a whole one."""
AMOUNT = 5
WRITTEN = "payout_recipient, payout_run, reward_grant, transfer"
FLOOR = """
WITH granted AS (
    INSERT INTO bench_grant (tenant_id, grant_id, source_type, source_id, user_id, item_id, item, currency, amount, granted_by, created_at)
    SELECT tenant_id, uuidv7(), 'leaderboard', window_id::text, user_id, %(item_id)s, '{"name": "points"}', 'points', %(amount)s, 'bench',
           now()
    FROM snapshot_entry WHERE tenant_id = %(tenant_id)s AND window_id = %(window_id)s
    RETURNING tenant_id, grant_id, user_id, amount
)
INSERT INTO bench_transfer (tenant_id, transfer_id, debit_account_id, credit_account_id, user_account_id, amount, currency_id, kind,
                            cause_type, cause_id, created_at)
SELECT tenant_id, uuidv7(), issue_account_id, account_id, account_id, granted.amount, currency_id, 'grant', 'grant', grant_id::text, now()
FROM granted JOIN account USING (tenant_id, user_id) JOIN currency USING (tenant_id, currency_id)
"""


@contextmanager
def payout(bench: Bench) -> Iterator[list[Comparison]]:
    """A closed window with 100 000 winners, each of whom has an account and gets points."""
    with psycopg.connect(bench.stack.settings.database_url, autocommit=True) as connection:
        window_id = make_window(connection, bench)
        for kept, bare in (("reward_grant", "bench_grant"), ("transfer", "bench_transfer")):
            connection.execute(f"CREATE TABLE IF NOT EXISTS {bare} (LIKE {kept} INCLUDING ALL)".encode())
    try:
        yield [
            Comparison(
                path=lambda: pay(bench, window_id),
                floor=lambda: insert_directly(bench, window_id),
                rows=[rate("payout to 100 000 users", "one INSERT … SELECT of grants and transfers", 0.25, "users/s")],
                most_pairs=1 if bench.quick else None,
            )
        ]
    finally:
        with psycopg.connect(bench.stack.settings.database_url, autocommit=True) as connection:
            connection.execute("DROP TABLE IF EXISTS bench_grant, bench_transfer")


def make_window(connection: psycopg.Connection[tuple[Any, ...]], bench: Bench) -> UUID:
    """The users, their accounts, and the snapshot that ranks them."""
    window_id, board_id = new_id(), new_id()
    named = {"tenant_id": bench.tenant_id, "window_id": window_id, "board_id": board_id, "winners": WINNERS, "config": CONFIG}
    for statement in (
        (
            "INSERT INTO app_user (tenant_id, user_id, external_id, created_at, updated_at)"
            " SELECT %(tenant_id)s, uuidv7(), 'winner-' || lpad(n::text, 8, '0'), now(), now() FROM generate_series(1, %(winners)s) AS n"
        ),
        (
            "INSERT INTO account (tenant_id, account_id, user_id, currency_id, created_at)"
            " SELECT tenant_id, uuidv7(), user_id, 'points', now() FROM app_user"
            " WHERE tenant_id = %(tenant_id)s AND external_id LIKE 'winner-%%'"
        ),
        (
            "INSERT INTO leaderboard (tenant_id, board_id, leaderboard_id, name, status, version, config, created_at, updated_at)"
            " VALUES (%(tenant_id)s, %(board_id)s, 'bench-payout', 'Bench payout', 'inactive', 1, %(config)s, now(), now())"
        ),
        (
            "INSERT INTO leaderboard_window (tenant_id, window_id, board_id, window_key, status, total, created_at)"
            " VALUES (%(tenant_id)s, %(window_id)s, %(board_id)s, 'payout', 'closed', %(winners)s, now())"
        ),
        (
            "INSERT INTO snapshot_entry (tenant_id, window_id, rank, user_id, external_user_id, score, reached_at)"
            " SELECT tenant_id, %(window_id)s, row_number() OVER (ORDER BY hashtext(external_id), external_id),"
            " user_id, external_id, 1, now()"
            " FROM app_user WHERE tenant_id = %(tenant_id)s AND external_id LIKE 'winner-%%'"
        ),
    ):
        connection.execute(statement.encode(), named)
    connection.execute("VACUUM ANALYZE app_user, account, snapshot_entry")
    return window_id


def pay(bench: Bench, window_id: UUID) -> Sample:
    """The product's own steps, page after page, from nothing."""
    with psycopg.connect(bench.stack.settings.database_url, autocommit=True) as connection:
        connection.execute(f"TRUNCATE {WRITTEN}".encode())
        connection.execute("UPDATE account SET posted = 0, held = 0, lifetime_earned = 0 WHERE tenant_id = %s", (bench.tenant_id,))
        connection.execute("UPDATE leaderboard_window SET status = 'closed' WHERE window_id = %s", (window_id,))
        connection.execute("VACUUM ANALYZE account")
        connection.execute("CHECKPOINT")
    return Sample(per_second=WINNERS / asyncio.run(_pay(bench, window_id)))


async def _pay(bench: Bench, window_id: UUID) -> float:
    pool = make_pool(bench.stack.settings.database_url, "bench-payout", max_size=1)
    await pool.open(wait=True)
    try:
        async with transaction(pool) as connection:
            run_id = await create_run(connection, bench.tenant_id, _run(window_id), utc_now())
        assert run_id is not None
        began = time.monotonic()
        async with transaction(pool) as connection:
            progress = await plan(connection, bench.tenant_id, run_id, utc_now())
        while progress.paid < progress.recipients:
            async with transaction(pool) as connection:
                progress = await pay_page(connection, bench.tenant_id, run_id, PAGE, now=utc_now())
        async with transaction(pool) as connection:
            progress = await finish(connection, bench.tenant_id, run_id, utc_now())
        seconds = time.monotonic() - began
    finally:
        await pool.close()
    if progress.status is not RunStatus.COMPLETED or progress.paid != WINNERS:
        raise BenchError(f"the payout is not as it should be: {progress}")
    return seconds


def _run(window_id: UUID) -> NewRun:
    item = ItemCopy(
        item_id=new_id(),
        name="points",
        reward_type="points",
        reward_value=AMOUNT,
        fulfilment={"type": "wallet"},
        currency="points",
        amount=AMOUNT,
    )
    return NewRun(
        source_type="leaderboard",
        source_id=str(window_id),
        instant=utc_now(),
        trigger="window",
        audience={"type": "window", "window_id": str(window_id)},
        config=RunConfig(tiers=[ConfigTier(item_ids=[item.item_id])], items={item.item_id: item}, places={"points": 0}),
    )


def insert_directly(bench: Bench, window_id: UUID) -> Sample:
    """One statement, as anyone would write it, into tables of the same shape; no balance is moved, nothing can be stopped or resumed."""
    with psycopg.connect(bench.stack.settings.database_url, autocommit=True) as connection:
        connection.execute("TRUNCATE bench_grant, bench_transfer")
        connection.execute("CHECKPOINT")
        began = time.monotonic()
        done = connection.execute(
            FLOOR.encode(), {"tenant_id": bench.tenant_id, "window_id": window_id, "item_id": new_id(), "amount": AMOUNT}
        )
        if done.rowcount != WINNERS:
            raise BenchError(f"the floor wrote {done.rowcount} transfers")
        return Sample(per_second=WINNERS / (time.monotonic() - began))
