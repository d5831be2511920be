"""The API process on a free port of this test process, with tenants and keys made straight in the database."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import msgspec
import psycopg
import uvicorn

from api.middleware import Front
from domain.tenant.credential import KeyRole
from domain.tenant.tenant import Tenant, TenantSettings, TenantStatus
from runtime.ids import new_id, utc_now
from runtime.postgres import Connection, connect
from runtime.settings import Settings
from server import create_app
from storage.platform import partitions
from storage.tenant.credential import create_key
from storage.tenant.tenant import create_tenant
from tests.answer_check import AnswerCheck

START_SECONDS = 60.0
TIMEOUT_SECONDS = 60.0


class World(msgspec.Struct, frozen=True):
    """A tenant of a running API."""

    url: str
    database_url: str
    tenant_id: UUID
    keys: dict[str, str]

    def client(self, role: str | None = "admin", **headers: str) -> httpx.Client:
        """A client with the tenant's key of that role, or without any credential."""
        credential = {} if role is None else {"Authorization": f"Bearer {self.keys[role]}"}
        return httpx.Client(base_url=self.url, headers=credential | headers, timeout=TIMEOUT_SECONDS)

    def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """What the database says."""
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            return connection.execute(query.encode(), parameters).fetchall()


async def add_tenant(connection: Connection, name: str = "Test") -> Tenant:
    """A new, active tenant."""
    now = utc_now()
    tenant = Tenant(
        tenant_id=new_id(),
        name=name,
        status=TenantStatus.ACTIVE,
        org_id=None,
        timezone="UTC",
        cors_origins=(),
        settings=TenantSettings(),
        is_demo=False,
        created_at=now,
        updated_at=now,
    )
    await create_tenant(connection, tenant)
    return tenant


async def make_world(settings: Settings, url: str) -> World:
    """A new tenant with a key of each role."""
    connection = await connect(settings.database_url, "test-world")
    async with connection, connection.transaction():
        await partitions.set_up(connection, settings.scoring_partitions, utc_now())
        tenant = await add_tenant(connection)
        made = {role.value: await create_key(connection, tenant.tenant_id, name=role.value, role=role) for role in KeyRole}
    return World(url, settings.database_url, tenant.tenant_id, {role: key.text for role, key in made.items()})


@contextmanager
def serving(settings: Settings, front: Front | None = None) -> Iterator[str]:
    """The address of the API, of `front` if one is given, while it runs in a thread of its own."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    checked = AnswerCheck(front or create_app(settings))
    server = uvicorn.Server(uvicorn.Config(checked, log_config=None, access_log=False, lifespan="on"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    deadline = time.monotonic() + START_SECONDS
    while not server.started and thread.is_alive() and time.monotonic() < deadline:
        time.sleep(0.02)
    if not server.started:
        raise RuntimeError("the API did not start")
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(START_SECONDS)
        listener.close()
    unsaid = sorted(checked.undocumented)
    assert not unsaid, f"the API document says something else; refusals and answers are declared at the route: {unsaid}"


def event(event_id: str, user: str = "u1", *, age: timedelta = timedelta(minutes=1), **members: Any) -> dict[str, Any]:
    """A valid event that occurred a while ago."""
    occurred_at = (datetime.now(UTC) - age).isoformat()
    return {"event_id": event_id, "type": "goal", "actor": {"user_id": user}, "occurred_at": occurred_at} | members
