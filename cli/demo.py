"""`laurel demo`: the whole story against a running stack, every step verified."""

import asyncio
import contextlib
from pathlib import Path
from uuid import UUID

import rich_click as click

from cli.tenant import make_tenant
from demo.client import partner
from demo.play import FileError, Result, make_results, read_results
from demo.stage import Stage, StoryError
from demo.story import Place, Story
from domain.tenant.credential import KeyRole
from runtime import postgres
from runtime.ids import utc_now
from runtime.settings import SettingError, Settings
from stack.data_directory import data_dir_option, read_stack, settings_for
from storage.tenant import credential


@click.command()
@data_dir_option
@click.option("--file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Match results as CSV, two events a match.")
@click.option("--events", type=click.IntRange(min=2), help="How many events at most. Default: the whole file; 2000 of generated play.")
@click.option("--receiver-port", type=click.IntRange(0, 65535), default=0, help="The partner's port; 0 (the default) picks one.")
def demo(data_dir: Path, file: Path | None, events: int | None, receiver_port: int) -> None:
    """Tell the whole story against a running stack, and verify each step.

    Events are sent, boards move, points are earned, a reward is redeemed, a partner in a process of its own gets the signed webhook,
    verifies it and calls back. The exit status is 0 only if every step was verified.
    """
    stage = Stage()
    try:
        results = read_results(file) if file else make_results(events or 2000, utc_now())
        asyncio.run(tell(stage, data_dir, results[:events], receiver_port))
    except (StoryError, FileError) as error:
        stage.check(False, str(error))
    except KeyboardInterrupt:
        stage.check(False, "the story was interrupted")
    raise SystemExit(stage.curtain())


async def tell(stage: Stage, data_dir: Path, results: list[Result], receiver_port: int) -> None:
    """The story on the stack of this data directory, or on the services that the environment names; raises `StoryError`."""
    place = await find_place(data_dir)
    story = Story(stage, place, results)
    try:
        async with partner(receiver_port) as receiver:
            await story.tell(receiver)
    finally:
        await story.api.http.aclose()


async def find_place(data_dir: Path) -> Place:
    """Addresses and keys: those of the stack's demo tenant. Where there is none, a tenant is made for this demo."""
    settings = settings_for(data_dir)
    api_url, api_key, fulfilment_key = settings.public_url, "", ""
    with contextlib.suppress(SettingError):
        stack = read_stack(data_dir)
        if stack.database_url == settings.database_url:
            api_url, api_key, fulfilment_key = stack.api_url, stack.api_key, stack.fulfilment_key
    if not api_key:
        api_key, fulfilment_key = await make_keys(settings)
    return Place(
        api_url=api_url,
        api_key=api_key,
        fulfilment_key=fulfilment_key,
        temporal_ui_url=settings.temporal_ui_url,
        temporal_namespace=settings.temporal_namespace,
    )


async def make_keys(settings: Settings) -> tuple[str, str]:
    """The keys of a new tenant, of roles admin and fulfilment."""
    connection = await postgres.connect(settings.session_url, "demo")
    async with connection, connection.transaction():
        tenant = await make_tenant(connection, "Demo")
        partner_key = await credential.create_key(connection, UUID(tenant["tenant_id"]), name="Partner", role=KeyRole.FULFILMENT)
        return tenant["api_key"], partner_key.text
