"""The pages of the console on a month of a large tenant, at c=1, beside the goal."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from benchmarks.bench import Bench
from benchmarks.console_data import seed
from benchmarks.measure import BenchError, Comparison, Sample, latency
from benchmarks.page import BOARD
from benchmarks.stack import Server
from console.session import SESSION_COOKIE, new_token, token_hash
from runtime.ids import utc_now
from runtime.postgres import make_pool, transaction
from storage.tenant.console_session import ConsoleUser, open_session

GOAL_MS = 150.0
PAGES = {
    "dashboard": "/dashboard",
    "stuck work": "/stuck-work",
    "leaderboards": "/leaderboards",
    "a leaderboard": f"/leaderboards/{BOARD}",
    "a leaderboard, far down": f"/leaderboards/{BOARD}?offset=90000",
    "a leaderboard, around a user": f"/leaderboards/{BOARD}?user={{user}}",
    "rewards": "/rewards",
    "a reward": "/rewards/{reward}",
    "reward configs": "/reward-configs",
    "redemptions": "/redemptions",
    "redemptions, failed": "/redemptions?status=failed",
    "redemptions, of a user": "/redemptions?user={user}",
    "redemptions, of a reward": "/redemptions?reward={reward}",
    "a redemption": "/redemptions/{redemption}",
    "schedules": "/schedules",
    "payout runs": "/payout-runs",
    "users": "/users",
    "users, by a beginning": "/users?q=member-0000",
    "a user": "/users/{user}",
    "event types": "/event-types",
    "event log": "/event-log",
    "event log, a rare type": "/event-log?type=rare",
    "event log, of a user": "/event-log?user_id={user}",
    "event log, one event": "/event-log/event?event_id=event-77777",
    "dead letters": "/event-log/dead-letters",
    "API keys": "/api-keys",
    "webhooks": "/webhooks",
    "an endpoint": "/webhooks/{endpoint}",
    "deliveries": "/webhooks/deliveries",
    "deliveries, exhausted": "/webhooks/deliveries?state=exhausted",
    "a delivery": "/webhooks/deliveries/{delivery}",
    "information for third parties": "/third-parties",
    "settings": "/settings",
    "audit log": "/audit-log",
}


@contextmanager
def console(bench: Bench) -> Iterator[list[Comparison]]:
    """Each page again and again, signed in as the tenant's person."""
    with bench.stack.server("api") as api:
        print("making a month of data …", file=sys.stderr, flush=True)
        ids = seed(bench, api)
        cookie = asyncio.run(sign_in(bench))
        pages = {name: path.format(**ids) for name, path in PAGES.items()}
        for path in pages.values():
            check_page(bench, api, path, cookie)
        yield [comparison(bench, api, name, path, cookie=cookie) for name, path in pages.items()]


async def sign_in(bench: Bench) -> str:
    """A session of the tenant's person; what its cookie holds."""
    with psycopg.connect(bench.stack.settings.database_url) as connection:
        row = connection.execute("SELECT console_user_id, email FROM console_user WHERE tenant_id = %s", (bench.tenant_id,)).fetchone()
    assert row is not None
    user = ConsoleUser(tenant_id=bench.tenant_id, console_user_id=row[0], email=row[1], password_hash="", role="admin")
    token = new_token()
    pool = make_pool(bench.stack.settings.database_url, "bench-sign-in", max_size=1)
    await pool.open(wait=True)
    try:
        async with transaction(pool) as connection_:
            await open_session(connection_, user, token_hash=token_hash(token), address="127.0.0.1", user_agent="bench", now=utc_now())
    finally:
        await pool.close()
    return f"{SESSION_COOKIE}={token}"


def check_page(bench: Bench, api: Server, path: str, cookie: str) -> None:
    """A measurement of refusals would be worth nothing."""
    with bench.admin(api) as client:
        answer = client.get(f"/console{path}", headers={"Cookie": cookie})
    if answer.status_code != 200:
        raise BenchError(f"{path} answered {answer.status_code}")


def comparison(bench: Bench, api: Server, name: str, path: str, *, cookie: str) -> Comparison:
    """The line of one page; its floor is the goal itself."""
    request = f"GET /console{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {cookie}\r\nAccept-Encoding: identity\r\n\r\n"
    row = latency(f"console: {name}, p99", f"{GOAL_MS:.0f} ms; {bench.members // 1000} 000 users", 1.0, "p99")
    return Comparison(
        path=lambda: bench.drive(api, [[request]], status=200, connections=1, seconds=bench.seconds / 2),
        floor=lambda: Sample(per_second=1.0, p99_ms=GOAL_MS),
        rows=[row],
        most_pairs=1,
    )
