"""What the journeys share: an API of a test file's own with a tenant in it, and a person who is signed in to the shared stack's console."""

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack

import pytest
import pytest_asyncio
from playwright.sync_api import Browser, Page

from runtime.postgres import Pool
from runtime.settings import Settings
from tests.builders.api import World, make_world, serving
from tests.conftest import Stack, settings_for
from tests.console_browser import enter, tab
from tests.fairness import Pair, make_pair


@pytest.fixture(scope="module")
def url(postgres_url: str, redis_server: str) -> Iterator[str]:
    """The address of an API that runs for all tests of one file, without Temporal."""
    with serving(settings_for(postgres_url, redis_server, "127.0.0.1:1")) as address:
        yield address


@pytest_asyncio.fixture
async def world(pool: Pool, settings: Settings, url: str) -> World:
    """The only tenant of that API: `pool` has emptied the database before."""
    return await make_world(settings, url)


@pytest.fixture(scope="module", params=["light", "dark"])
def person(browser: Browser, stack: Stack, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A tab in which the demo's person is signed in, in light and in dark colours."""
    with tab(browser, color_scheme=request.param, viewport={"width": 1280, "height": 900}) as page:
        enter(page, stack.described)
        yield page


@pytest_asyncio.fixture
async def pair(stack: Stack) -> AsyncIterator[Pair]:
    """A good tenant and a hostile one on the shared stack."""
    with ExitStack() as clients:
        yield await make_pair(stack, clients)
