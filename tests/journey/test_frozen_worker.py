"""A worker that freezes inside a transaction costs the others what the timeouts say, and nothing that was sent."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import psutil
import psycopg
import pytest

from domain import limits
from storage.rules_lock import RULES_LOCK, fence_of
from tests.builders.api import World
from tests.conftest import REPOSITORY, Stack, start_stack, stop_stack_process
from tests.fairness import make_pair
from tests.journey.programme import add_board, add_rule, board_of, event, eventually
from workflows.scoring import HEARTBEAT_TIMEOUT

pytestmark = pytest.mark.xdist_group("stack")

KIND = "frozen"
USERS = [f"player-{number:02}" for number in range(24)]
HELD = USERS[0]
PROMISED_SECONDS = limits.IDLE_SECONDS.value + HEARTBEAT_TIMEOUT.total_seconds()
"""Until its transaction has ended, and until its pumps have other owners. What is waited for here comes well within three times that."""

FENCE = f"SELECT pg_advisory_xact_lock({RULES_LOCK}, %(fence)s)"
STANDING = f"SELECT FROM standing WHERE tenant_id = %(tenant)s AND external_user_id = '{HELD}' FOR UPDATE"
IN_THE_LOG = """
    SELECT external_user_id, sum((convert_from(body, 'UTF8')::jsonb #>> '{attrs,points}')::integer) FROM event_log
    WHERE tenant_id = %s GROUP BY 1
"""


@pytest.fixture(scope="module")
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack of two workers that may be maltreated."""
    running = start_stack(tmp_path_factory.mktemp("frozen") / "data", "--workers", "2", "--no-demo")
    try:
        yield running
    finally:
        stop_stack_process(running.process)


class Programme:
    """A tenant with one board and one earning rule, both of which give what an event says."""

    def __init__(self, world: World, client: httpx.Client) -> None:
        self.world, self.client = world, client
        self.board = add_board(client, KIND)
        add_rule(client, KIND)
        self.sent: Counter[str] = Counter()

    def send(self, users: list[str]) -> None:
        events = [event(KIND, user, points=len(self.sent) + place) for place, user in enumerate(users, 1)]
        answer = self.client.post("/v1/events/bulk", json={"events": events})
        assert (answer.status_code, answer.json()["status"]) == (202, "accepted"), answer.text
        for each in events:
            self.sent[each["actor"]["user_id"]] += each["attrs"]["points"]

    def change(self, name: str) -> None:
        found = self.client.get(f"/v1/admin/leaderboards/{self.board}").json()
        body = {"name": name, "config": found["config"]}
        answer = self.client.put(f"/v1/admin/leaderboards/{self.board}", json=body)
        assert answer.status_code == 200, answer.text

    def logged(self) -> dict[str, int]:
        return {user: int(points) for user, points in self.world.rows(IN_THE_LOG, self.world.tenant_id)}

    def scored(self) -> bool:
        return dict(board_of(self.client, self.board)) == self.logged() == self.sent

    def earned(self) -> dict[str, int]:
        query = """
            SELECT u.external_id, a.posted FROM account AS a JOIN app_user AS u USING (tenant_id, user_id)
            WHERE a.tenant_id = %s AND a.currency_id = 'points'
        """
        return dict(self.world.rows(query, self.world.tenant_id))


@contextlib.contextmanager
def held(programme: Programme, statement: str) -> Iterator[None]:
    """Within it a lock is ours that the next event of `HELD` needs."""
    tenant = programme.world.tenant_id
    with psycopg.connect(programme.world.database_url) as connection:
        connection.execute(statement.encode(), {"fence": fence_of(tenant), "tenant": tenant})
        yield
        connection.rollback()


def who_waits(world: World, workers: list[int]) -> tuple[int, int] | None:
    """The worker whose scoring transaction waits for a lock, and the pid of its server process."""
    query = """
        SELECT client_port, pid FROM pg_stat_activity
        WHERE wait_event_type = 'Lock' AND application_name = 'laurel-worker' AND xact_start IS NOT NULL
    """
    for port, backend in world.rows(query):
        for worker in workers:
            if any(each.laddr.port == port for each in psutil.Process(worker).net_connections("tcp")):
                return worker, backend
    return None


def is_in_transaction(world: World, backend: int) -> bool:
    return bool(world.rows("SELECT FROM pg_stat_activity WHERE pid = %s AND state = 'idle in transaction'", backend))


@contextlib.contextmanager
def frozen(worker: int) -> Iterator[None]:
    os.kill(worker, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(worker, signal.SIGCONT)


def command(stack: Stack, *words: str) -> subprocess.CompletedProcess[str]:
    argv = (sys.executable, "-m", "cli", *words)
    environment = {**os.environ, **stack.described["env"]}
    return subprocess.run(argv, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.parametrize("statement", [FENCE, STANDING], ids=["before-it-has-the-fence", "while-it-has-the-fence"])
def test_a_worker_that_freezes_in_a_transaction_holds_up_others_no_longer_than_promised(own_stack: Stack, statement: str) -> None:
    with ExitStack() as clients:
        pair = asyncio.run(make_pair(own_stack, clients))
        same, other = (Programme(world, clients.enter_context(world.client())) for world in (pair.good_world, pair.hostile_world))
        for each in (same, other):
            each.send(USERS)
            eventually(each.scored)
        workers = own_stack.now()["pids"]["worker"]
        with ExitStack() as freezing:
            with held(same, statement):
                same.send([HELD])
                worker, backend = eventually(lambda: who_waits(same.world, workers))
                freezing.enter_context(frozen(worker))
            eventually(lambda: is_in_transaction(same.world, backend))
            other.change("changed")
            assert is_in_transaction(same.world, backend), "another tenant's change waits for nobody"
            same.change("changed")
            for each in (other, same):
                each.send(USERS)
            for each in (other, same):
                eventually(each.scored, seconds=3 * PROMISED_SECONDS)
            assert psutil.Process(worker).status() == psutil.STATUS_STOPPED
        for each in (same, other):
            each.send(USERS)
        for each in (same, other):
            eventually(each.scored)
            assert each.earned() == each.sent
    for words in (("verify-rankings",), ("verify-ledger",)):
        verified = command(own_stack, *words)
        assert verified.returncode == 0, verified.stdout + verified.stderr
