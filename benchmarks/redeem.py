"""Redeeming: 1 000 users and one hot reward, beside the same SQL by a bare driver."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from benchmarks import event
from benchmarks.bench import Bench
from benchmarks.load import Loaded
from benchmarks.measure import BenchError, Comparison, Sample, in_process, rate, sample_of
from benchmarks.replay import Plan, Work
from benchmarks.stack import Server

USERS = [f"buyer-{number:06d}" for number in range(1000)]
SLUG = "bench-hot"
CLIENTS = 32
CONNECTIONS = 10
"""As many as the API's own pool has."""

REDEMPTION_TABLES = "redemption, redemption_move, hold, outbox"


@contextmanager
def redeem(bench: Bench) -> Iterator[list[Comparison]]:
    """Checks, hold, stock, redemption, outbox. Temporal is away: its part comes after the commit and has rows of its own."""
    with bench.stack.server("api") as api:
        set_stage(bench, api, SLUG)
        make_users(bench, USERS)
        requests = [event.post("/v1/redemptions", bench.api_key, f'{{"external_user_id":"{user}","slug":"{SLUG}"}}', 0) for user in USERS]

        def path() -> Sample:
            empty(bench)
            return bench.drive(api, requests, status=201, connections=CLIENTS)

        row = rate("redeem, 1 000 users, one hot reward", "the same SQL by a bare driver", 0.5, "redemptions/s")

        def floor() -> Sample:
            empty(bench)
            return replay_directly(bench, SLUG, USERS, "redeem")

        yield [Comparison(path=path, floor=floor, rows=[row])]


def set_stage(bench: Bench, api: Server, slug: str) -> None:
    """A reward with more stock than is asked for, over the public API."""
    reward = {
        "slug": slug,
        "name": "Hot reward",
        "prices": [{"currency": "points", "amount": 10}],
        "stock": 2_000_000_000,
        "fulfilment": {"type": "manual"},
    }
    with bench.admin(api) as client:
        answer = client.post("/v1/admin/rewards", json=reward)
    if answer.status_code != 201:
        raise BenchError(f"the reward was not made: {answer.status_code} {answer.text[:400]}")


def make_users(bench: Bench, users: list[str]) -> None:
    """Users with more points than they can spend, straight into PostgreSQL."""
    with psycopg.connect(bench.stack.settings.database_url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO app_user (tenant_id, user_id, external_id, created_at, updated_at)"
            " SELECT %s, gen_random_uuid(), name, now(), now() FROM unnest(%s::text[]) AS name",
            (bench.tenant_id, users),
        )
        connection.execute(
            "INSERT INTO account (tenant_id, account_id, user_id, currency_id, posted, lifetime_earned, created_at)"
            " SELECT tenant_id, gen_random_uuid(), user_id, 'points', 1e15, 1e15, now() FROM app_user"
            " WHERE tenant_id = %s AND external_id = ANY(%s)",
            (bench.tenant_id, users),
        )


def empty(bench: Bench) -> None:
    """Begin with the same tables: no redemptions, nothing held."""
    with psycopg.connect(bench.stack.settings.database_url, autocommit=True) as connection:
        connection.execute(f"TRUNCATE {REDEMPTION_TABLES} CASCADE".encode())
        connection.execute("UPDATE account SET held = 0")
        connection.execute("VACUUM account")
        connection.execute("VACUUM reward")
        connection.execute("CHECKPOINT")


def replay_directly(bench: Bench, slug: str, users: list[str], work: Work) -> Sample:
    """The recorded statements, over as many connections as the API has."""
    plan = Plan(
        database_url=bench.stack.settings.database_url,
        tenant_id=bench.tenant_id,
        slug=slug,
        users=users,
        connections=CONNECTIONS,
        seconds=bench.seconds,
        work=work,
    )
    return sample_of(*in_process("benchmarks.replay", plan, Loaded, bench.meter))
