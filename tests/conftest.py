"""Fixtures on real parts: PostgreSQL, Valkey, Temporal, and a whole running stack, each started at most once per test process."""

import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import hypothesis
import msgspec
import psycopg
import pytest
import pytest_asyncio
from playwright.sync_api import Browser, Page, expect, sync_playwright
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from runtime import schema
from runtime import temporal as temporal_runtime
from runtime.postgres import Pool, make_pool
from runtime.redis import Redis, make_redis
from runtime.settings import Settings, load_settings
from stack import postgres, processes, redis, temporal
from tests.console_browser import PATIENCE_MILLISECONDS, tab

REPOSITORY = Path(__file__).parent.parent
PASSWORD = "only-for-tests-on-loopback"
STACK_TIMEOUT_SECONDS = 240.0
STOP_SECONDS = 60.0
KEEP_TABLES = ("alembic_version",)
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER_OPTIONS = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking")


hypothesis.settings.register_profile("steady", deadline=None, derandomize=True, database=None)
hypothesis.settings.register_profile("search", deadline=None, print_blob=True)
hypothesis.settings.load_profile("steady")
"""How long an example takes says nothing on a loaded machine, and a run on a commit says the same tomorrow. Those who look for errors
take `--hypothesis-profile=search`: other examples in each run, and what failed is kept in `.hypothesis` and tried first."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--record-histories`: tests/recording.py. `--fuzz`: tests/journey/test_fuzz.py, tests/property/test_fuzz_text.py."""
    parser.addoption("--fuzz", type=int, default=0, help="try so many examples of everything that is fuzzed")
    parser.addoption("--record-histories", action="store_true", help="write the histories that the replay tests follow anew")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """With LAUREL_TEST_REQUIRE_ALL a skipped test is a failed one: the machine promised to have everything."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("LAUREL_TEST_REQUIRE_ALL"):
        report.outcome = "failed"
        report.longrepr = f"skipped although LAUREL_TEST_REQUIRE_ALL is set: {report.longrepr}"
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep all tests on the shared stack in one process, so that a run starts it once."""
    for item in items:
        if "stack" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("stack"))


def pytest_sessionstart(session: pytest.Session) -> None:
    """Turn SIGTERM into an orderly end, so that no server outlives a test run that was told to stop."""
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(143))


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a PostgreSQL server of this test process. Nothing in it outlives the run, so it need not sync to disk."""
    directory = tmp_path_factory.mktemp("postgres")
    postgres.initialise(directory / "data", PASSWORD)
    port = processes.free_port()
    relaxed = {"shared_buffers": "64MB", "fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
    # A plan that a test asks for would otherwise hang on which tables of earlier tests happened to be analysed.
    relaxed["autovacuum"] = "off"
    command = postgres.command(directory / "data", port, directory / "postgres.log", relaxed)
    process = postgres.start(directory / "data", command)
    try:
        processes.wait_ready(process, command, lambda: postgres.ready(port, PASSWORD))
        yield port
    finally:
        processes.stop(process, command)


@pytest.fixture
def empty_database_url(postgres_server: int) -> str:
    """A database without any table, of this test alone: one that another test has migrated is not empty."""
    return postgres.ensure_database(postgres_server, PASSWORD, f"empty_{secrets.token_hex(4)}")


@pytest.fixture(scope="session")
def postgres_url(postgres_server: int) -> str:
    """A migrated database, shared by the tests of this process. `pool` empties it before each test."""
    address = postgres.ensure_database(postgres_server, PASSWORD)
    schema.upgrade(address)
    with psycopg.connect(address, autocommit=True) as connection:
        # Its rows go before each test, the Temporal beside it stays: all tests of this process are one installation.
        connection.execute(f"ALTER TABLE platform ALTER installation_id SET DEFAULT '{uuid4()}'".encode())
    return address


def empty(database_url: str) -> None:
    """Delete every row and start every sequence again; only the schema stays."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        found = connection.execute(
            "SELECT format('%%I', relname) FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition"
            " AND relnamespace = 'public'::regnamespace AND relname <> ALL(%s)",
            (list(KEEP_TABLES),),
        )
        names = ", ".join(row[0] for row in found.fetchall())
        connection.execute(f"TRUNCATE {names} RESTART IDENTITY CASCADE".encode())


@pytest_asyncio.fixture
async def pool(postgres_url: str) -> AsyncIterator[Pool]:
    """An open pool on an emptied, migrated database."""
    empty(postgres_url)
    opened = make_pool(postgres_url, "test", max_size=16)
    await opened.open(wait=True)
    try:
        yield opened
    finally:
        await opened.close()


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Valkey server of this test process."""
    directory = tmp_path_factory.mktemp("redis")
    port = processes.free_port()
    command = redis.command(directory, port, PASSWORD, directory / "redis.log")
    process = processes.start(command)
    address = redis.url(port, PASSWORD)
    try:
        processes.wait_ready(process, command, lambda: redis.ready(address))
        yield address
    finally:
        processes.stop(process, command)


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """The address of an empty Valkey server."""
    import redis as client

    with client.Redis.from_url(redis_server) as connection:
        connection.flushall()
    return redis_server


@pytest.fixture(scope="session")
def temporal_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the real Temporal server with our search attributes: schedules, lists and updates work, time is real."""
    directory = tmp_path_factory.mktemp("temporal")
    port, ui_port = processes.free_port(), processes.free_port()
    attributes = temporal_runtime.SEARCH_ATTRIBUTES
    command = temporal.command(directory / "temporal.db", port, ui_port, attributes, log=directory / "temporal.log")
    process = processes.start(command)
    try:
        processes.wait_ready(process, command, lambda: temporal.ready(port))
        yield f"127.0.0.1:{port}"
    finally:
        processes.stop(process, command)


@pytest.fixture
def settings(postgres_url: str, redis_url: str) -> Settings:
    """Settings for code under test, on this process's own PostgreSQL and Valkey. Temporal points at a port where nobody listens."""
    return settings_for(postgres_url, redis_url, "127.0.0.1:1")


@pytest.fixture
def temporal_settings(postgres_url: str, redis_url: str, temporal_server: str) -> Settings:
    """The same, with the real Temporal server. The task queues are the test's own."""
    return settings_for(postgres_url, redis_url, temporal_server)


def settings_for(database_url: str, redis_url: str, temporal_address: str) -> Settings:
    """Development settings that point at these servers."""
    return load_settings(
        {
            "LAUREL_DATABASE_URL": database_url,
            "LAUREL_REDIS_URL": redis_url,
            "LAUREL_TEMPORAL_ADDRESS": temporal_address,
            "LAUREL_TASK_QUEUE": f"test-{secrets.token_hex(6)}",
            "LAUREL_SECRET_KEY": "a secret key that only the tests use",
            "LAUREL_OPERATOR_KEY": "operator-key-of-the-tests",
            "LAUREL_WEBHOOK_ALLOW_CIDRS": "127.0.0.0/8",
        }
    )


@pytest_asyncio.fixture
async def redis_client(settings: Settings) -> AsyncIterator[Redis]:
    """A client of an empty Valkey server."""
    client = make_redis(settings)
    try:
        yield client
    finally:
        await client.aclose()


@pytest_asyncio.fixture
async def temporal_client(temporal_settings: Settings) -> Client:
    """A client of the real Temporal server, with our converter."""
    return await temporal_runtime.connect(temporal_settings)


@pytest_asyncio.fixture
async def temporal_env() -> AsyncIterator[WorkflowEnvironment]:
    """Temporal's test server, which skips time: a deadline of 72 h passes at once. No schedules and no lists."""
    environment = await WorkflowEnvironment.start_time_skipping(
        test_server_existing_path=temporal.binary("temporal-test-server"),
        data_converter=temporal_runtime.DATA_CONVERTER,
    )
    async with environment:
        await temporal_runtime.add_search_attributes(environment.client)
        yield environment


class Stack(msgspec.Struct, frozen=True):
    """A running `./laurel up`. `described` is its stack.json as it stood when it was ready."""

    data_dir: Path
    process: subprocess.Popen[bytes]
    described: dict[str, Any]

    def now(self) -> dict[str, Any]:
        """stack.json as it stands now: pids change when a part is started again."""
        return dict(msgspec.json.decode((self.data_dir / "stack.json").read_bytes()))

    def client(self, key: str = "api_key") -> httpx.Client:
        """An HTTP client of the API with one of the stack's keys."""
        headers = {"Authorization": f"Bearer {self.described[key]}"}
        return httpx.Client(base_url=self.described["api_url"], headers=headers, timeout=60.0)


def start_stack(data_dir: Path, *options: str) -> Stack:
    """Start `./laurel up` on free ports and wait until it is ready; raises `StartError` with its output."""
    data_dir.mkdir(parents=True, exist_ok=True)
    ports = ("--port", "0", "--temporal-port", "0", "--temporal-ui-port", "0")
    argv = (sys.executable, "-m", "cli", "up", "--data-dir", str(data_dir), *ports, *options)
    command = processes.Command(name="laurel up", argv=argv, directory=REPOSITORY, log=data_dir / "up.log", death_signal=signal.SIGTERM)
    described = data_dir / "stack.json"
    described.unlink(missing_ok=True)
    process = processes.start(command)
    try:
        processes.wait_ready(process, command, described.exists, STACK_TIMEOUT_SECONDS)
    except processes.StartError:
        stop_stack_process(process)
        raise
    return Stack(data_dir, process, msgspec.json.decode(described.read_bytes()))


def stop_stack_process(process: subprocess.Popen[bytes]) -> int:
    """Ask an `up` to stop and wait for it; answers its exit status. Killing it would be safe too: its parts die with it."""
    process.terminate()
    try:
        return process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The whole platform, running, with its demo tenant: shared by the journeys of this test process."""
    running = start_stack(tmp_path_factory.mktemp("stack") / "data")
    try:
        yield running
    finally:
        stop_stack_process(running.process)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium, headless. Per module, not per session: while Playwright's own event loop runs, no asynchronous test can."""
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        pytest.skip("there is no Chromium on this machine")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=executable, headless=True, args=list(BROWSER_OPTIONS))
        expect.set_options(timeout=PATIENCE_MILLISECONDS)
        try:
            yield started
        finally:
            started.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A tab of its own, without cookies. The test fails at its end if a script of a page has thrown."""
    with tab(browser) as opened:
        yield opened
