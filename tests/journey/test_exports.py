"""Exports are bounded: how many there are at once, what they put aside, and how long a reader may take."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

import httpx
import msgspec
import psycopg
import pytest

from domain import limits
from runtime.settings import Settings
from tests.builders.api import World, make_world
from tests.journey.programme import eventually

CSV = "/v1/admin/redemptions/export"
ROWS = 600


def many_redemptions(world: World) -> None:
    """More than the buffers of a connection take: 18 MB as CSV."""
    with psycopg.connect(world.database_url, autocommit=True) as connection:
        connection.execute(
            """
            WITH someone AS (
                INSERT INTO app_user (tenant_id, user_id, external_id, created_at, updated_at)
                VALUES (%(tenant)s, uuidv7(), 'ann', now(), now()) RETURNING user_id
            )
            INSERT INTO redemption (tenant_id, redemption_id, user_id, external_user_id, reward_id, reward, status, points_spent, currency,
                fields, fulfilment, created_at, updated_at)
            SELECT %(tenant)s, uuidv7(), user_id, 'ann', uuidv7(), '{"slug": "s", "name": "n", "type": "item"}', 'fulfilled', 1, 'points',
                jsonb_build_object('x', repeat('x', 30000)), '{"type": "manual", "deadline_seconds": 600, "answer_is_callback": false}',
                now(), now() FROM someone, generate_series(1, %(rows)s)
            """,
            {"tenant": world.tenant_id, "rows": ROWS},
        )


@contextmanager
def stuck_reader(world: World) -> Iterator[socket.socket]:
    """A client that asks for the redemptions, reads the head and nothing else."""
    parts = urlsplit(world.url)
    with socket.create_connection((parts.hostname or "", parts.port or 0)) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(30)
        client.sendall(f"GET {CSV} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {world.keys['admin']}\r\n\r\n".encode())
        assert client.recv(12) == b"HTTP/1.1 200"
        yield client


def whole(client: httpx.Client) -> bool:
    answer = client.get(CSV)
    return answer.status_code == 200 and answer.text.count("\n") == ROWS + 1


def bound(monkeypatch: pytest.MonkeyPatch, name: str, value: int) -> None:
    monkeypatch.setattr(limits, name, msgspec.structs.replace(getattr(limits, name), value=value))


async def test_slow_readers_take_their_tenants_exports_and_nobody_elses(world: World, settings: Settings) -> None:
    other = await make_world(settings, world.url)
    many_redemptions(world)
    many_redemptions(other)
    with ExitStack() as stack, world.client() as mine, other.client() as theirs:
        readers = [stack.enter_context(stuck_reader(world)) for _ in range(limits.EXPORTS_OF_TENANT.value)]
        refused = [mine.get(CSV), mine.get("/v1/users/ann/export")]
        assert [each.status_code for each in refused] == [429, 429]
        assert all(each.headers["retry-after"] == "10" and each.json()["error"]["code"] == "RATE_LIMITED" for each in refused)
        assert whole(theirs)
        assert mine.get("/v1/admin/redemptions").status_code == 200
        readers[0].close()
        eventually(lambda: whole(mine))


async def test_whoever_does_not_take_a_piece_in_time_is_cut_off(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    many_redemptions(world)
    with ExitStack() as stack, world.client() as mine:
        bound(monkeypatch, "EXPORT_PIECE_SECONDS", 1)
        readers = [stack.enter_context(stuck_reader(world)) for _ in range(limits.EXPORTS_OF_TENANT.value)]
        assert mine.get(CSV).status_code == 429
        eventually(lambda: whole(mine))
        received = 0
        while piece := readers[0].recv(1_000_000):
            received += len(piece)
        assert received < ROWS * 30_000


async def test_a_process_has_so_many_exports_in_all_and_so_much_put_aside(
    world: World, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = await make_world(settings, world.url)
    many_redemptions(world)
    many_redemptions(other)
    path = "/v1/users/ann/export"
    with world.client() as mine, other.client() as theirs:
        with stuck_reader(world), monkeypatch.context() as few:
            bound(few, "EXPORTS_UNDER_WAY", 1)
            refused = theirs.get(CSV)
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "10")
        for name, status in (("EXPORT_BYTES_OF_TENANT", 429), ("EXPORT_BYTES", 503)):
            with monkeypatch.context() as little:
                bound(little, name, 1000)
                assert [mine.get(path).status_code for _ in range(3)] == [status] * 3
        assert len(mine.get(path).json()["redemptions"]) == ROWS
