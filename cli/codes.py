"""`laurel codes import`: a pool of voucher codes from a file, straight into the database."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import rich_click as click
from rich.console import Console
from rich.progress import Progress

from cli.tenant import BY_COMMAND, known_tenant
from domain.errors import RewardNotFound, ValidationError
from domain.reward.code import check_pool, code_problem
from domain.reward.reward import Reward
from runtime import postgres
from runtime.ids import utc_now
from runtime.postgres import Connection, acting, name_actor
from runtime.settings import Settings
from stack.data_directory import data_dir_option, read_stack, settings_for
from storage.reward.code import copy_codes
from storage.reward.reward import find_reward
from storage.tenant.audit import record

CODES_PER_BATCH = 50_000
LINES_PER_REPORT = 250_000


def batches(file: Path) -> Iterator[tuple[list[str], int]]:
    """The codes of the file, one a line, with the bytes read so far; empty lines are left out.

    ValidationError names the line that cannot be a code: what came before its batch has been imported, and a second run leaves it out.
    """
    waiting: list[str] = []
    size = 0
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            size += len(line)
            code = _code_of(line, number)
            if code:
                waiting.append(code)
            if len(waiting) == CODES_PER_BATCH:
                yield waiting, size
                waiting = []
    yield waiting, size


def _code_of(line: bytes, number: int) -> str:
    try:
        code = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
    except UnicodeDecodeError:
        raise ValidationError(f"line {number}: is not UTF-8") from None
    if code and (problem := code_problem(code)):
        raise ValidationError(f"line {number}: {problem}")
    return code


async def pool_of(connection: Connection, tenant_id: UUID, named: str) -> Reward:
    """The reward of that id or slug; RewardNotFound, and ValidationError when it gives no codes."""
    try:
        found = await find_reward(connection, tenant_id, reward_id=UUID(named))
    except ValueError:
        found = await find_reward(connection, tenant_id, slug=named)
    if found is None:
        raise RewardNotFound(f"Reward '{named}' not found")
    if found.fulfilment.type != "codes":
        raise ValidationError(f"the reward '{named}' is fulfilled by {found.fulfilment.type}, not by codes")
    return found


async def bring_in(
    settings: Settings, tenant: str, named: str, file: Path, *, variant_id: str | None = None, length: int
) -> tuple[int, int]:
    """Import the file of so many bytes in transactions of 50 000 codes; answers how many were new and how many were known."""
    console = Console(stderr=True)
    added = read = reported = 0
    connection = await postgres.connect(settings.session_url, "codes")
    acting.set((BY_COMMAND, ""))
    async with connection:
        tenant_id = (await known_tenant(connection, tenant)).tenant_id
        reward = await pool_of(connection, tenant_id, named)
        check_pool(reward, variant_id)
        with Progress(console=console, disable=not console.is_terminal) as progress:
            task = progress.add_task(file.name, total=length)
            for codes, size in batches(file):
                async with connection.transaction():
                    await name_actor(connection)
                    new = await copy_codes(connection, tenant_id, reward.reward_id, codes, now=utc_now(), variant_id=variant_id)
                    facts = {"file": file.name, "variant_id": variant_id, "added": new, "known": len(codes) - new}
                    await record(
                        connection, tenant_id, action="import", subject="reward_code", subject_id=str(reward.reward_id), facts=facts
                    )
                added += new
                read += len(codes)
                progress.update(task, completed=size)
                if not console.is_terminal and read - reported >= LINES_PER_REPORT:
                    reported = read
                    console.print(f"{read} codes read, {added} new")
    return added, read - added


@click.group()
def codes() -> None:
    """Import voucher codes."""


@codes.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--reward", "named", required=True, metavar="R", help="Id or slug of the reward.")
@click.option("--variant", "variant_id", metavar="V", help="The variant whose pool it is, for a reward that has variants.")
@click.option("--tenant", metavar="T", help="Id of the tenant; without it, the stack's demo tenant.")
@data_dir_option
def import_codes(file: Path, named: str, variant_id: str | None, tenant: str | None, data_dir: Path) -> None:
    """Put the codes in FILE, one a line, into the pool of a reward. A code that was ever in it is left out, so a second run is harmless."""
    tenant = tenant or read_stack(data_dir).tenant_id
    added, known = asyncio.run(bring_in(settings_for(data_dir), tenant, named, file, variant_id=variant_id, length=file.stat().st_size))
    click.echo(f"{added} codes imported, {known} known already", err=True)
