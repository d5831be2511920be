"""A partner's callback that fulfils a redemption, beside the same SQL by a bare driver."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import msgspec
import psycopg

from benchmarks import event
from benchmarks.bench import Bench
from benchmarks.measure import BenchError, Comparison, Sample, rate
from benchmarks.redeem import CLIENTS, REDEMPTION_TABLES, make_users, replay_directly, set_stage
from benchmarks.replay import CALLBACK
from benchmarks.stack import Server

SLUG = "bench-called-back"
MOST_PER_SECOND = 4000
KEPT = ("redemption", "redemption_move", "hold")
"""What a redemption leaves behind that its callback needs; kept in tables `bench_…`, from which every measurement begins anew."""


@contextmanager
def callback(bench: Bench) -> Iterator[list[Comparison]]:
    """`PATCH /v1/admin/rewards/redemptions/{id}`: state, timeline, hold spent, subscribers, command to the workflow, the document."""
    users = [f"called-{number:06d}" for number in range(int(MOST_PER_SECOND * (bench.seconds + 1)))]
    with bench.stack.server("api") as api:
        ids = set_stage_of_callbacks(bench, api, users)
        body = msgspec.json.encode(CALLBACK).decode()
        address = "/v1/admin/rewards/redemptions"
        requests = [event.post(f"{address}/{redemption_id}", bench.api_key, body, 0, method="PATCH") for redemption_id in ids]

        def path() -> Sample:
            restore(bench)
            sample = bench.drive(api, requests, status=200, connections=CLIENTS)
            check_one_each(bench)
            return sample

        def floor() -> Sample:
            restore(bench)
            sample = replay_directly(bench, SLUG, users, "callback")
            check_one_each(bench)
            return sample

        row = rate("callback PATCH, fulfilled", "the same SQL by a bare driver", 0.5, "callbacks/s")
        try:
            yield [Comparison(path=path, floor=floor, rows=[row])]
        finally:
            with psycopg.connect(bench.stack.settings.database_url, autocommit=True) as connection:
                connection.execute(f"TRUNCATE {REDEMPTION_TABLES} CASCADE".encode())
                connection.execute(("DROP TABLE IF EXISTS " + ", ".join(f"bench_{table}" for table in KEPT)).encode())


def set_stage_of_callbacks(bench: Bench, api: Server, users: list[str]) -> list[UUID]:
    """A redemption for each user: the first over the public API, the others after its pattern. Answers their ids."""
    set_stage(bench, api, SLUG)
    make_users(bench, users)
    with psycopg.connect(bench.stack.settings.database_url, autocommit=True) as connection:
        connection.execute(f"TRUNCATE {REDEMPTION_TABLES} CASCADE".encode())
        with bench.admin(api) as client:
            answer = client.post("/v1/redemptions", json={"external_user_id": users[0], "slug": SLUG})
        if answer.status_code != 201:
            raise BenchError(f"the redemption was not made: {answer.status_code} {answer.text[:400]}")
        for table in KEPT:
            connection.execute(f"CREATE TABLE bench_{table} AS SELECT * FROM {table}".encode())
        connection.execute(
            "CREATE TEMP TABLE other AS SELECT u.user_id, u.external_id, a.account_id, uuidv7() AS redemption_id, uuidv7() AS hold_id"
            " FROM app_user AS u"
            " JOIN account AS a USING (tenant_id, user_id)"
            " WHERE u.tenant_id = %s AND u.external_id = ANY(%s) AND a.currency_id = 'points'",
            (bench.tenant_id, users[1:]),
        )
        for table, changed in (
            ("redemption", "redemption_id, user_id, external_id AS external_user_id"),
            ("redemption_move", "redemption_id"),
            ("hold", "hold_id, redemption_id, account_id"),
        ):
            columns = connection.execute(
                "SELECT column_name FROM information_schema.columns WHERE table_name = %s ORDER BY ordinal_position", (table,)
            ).fetchall()
            replaced = {part.split(" AS ")[-1]: f"o.{part}" for part in changed.split(", ")}
            chosen = ", ".join(replaced.get(name, f"k.{name}") for (name,) in columns)
            connection.execute(f"INSERT INTO bench_{table} SELECT {chosen} FROM bench_{table} AS k, other AS o".encode())
        found = connection.execute("SELECT redemption_id FROM bench_redemption ORDER BY external_user_id").fetchall()
    return [row[0] for row in found]


def restore(bench: Bench) -> None:
    """All redemptions pending, their points held."""
    with psycopg.connect(bench.stack.settings.database_url, autocommit=True) as connection:
        connection.execute(f"TRUNCATE {REDEMPTION_TABLES}, transfer CASCADE".encode())
        for table in KEPT:
            connection.execute(f"INSERT INTO {table} SELECT * FROM bench_{table}".encode())
        connection.execute(
            "UPDATE account SET held = h.amount, posted = 1e15, lifetime_spent = 0 FROM hold AS h"
            " WHERE account.tenant_id = h.tenant_id AND account.account_id = h.account_id"
        )
        connection.execute("VACUUM ANALYZE account, redemption, redemption_move, hold")
        connection.execute("CHECKPOINT")


def check_one_each(bench: Bench) -> None:
    """A second callback changes nothing and costs less: raises `BenchError` when there were not enough redemptions."""
    with psycopg.connect(bench.stack.settings.database_url) as connection:
        found = connection.execute(
            "SELECT count(*) FILTER (WHERE status = 'pending'), count(*) FILTER (WHERE status = 'fulfilled') FROM redemption"
        ).fetchone()
    assert found is not None
    if not all(found):
        raise BenchError(f"{found[0]} redemptions were left, {found[1]} were called back")
