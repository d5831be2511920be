"""`laurel doctor`: checks everything that a running platform needs, and says what to do (contract 6)."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import psycopg
import rich_click as click
from rich.console import Console
from rich.table import Table

from runtime import postgres, schema, temporal
from runtime.namespace import namespace_owner, refusal
from runtime.redis import make_redis
from runtime.settings import Settings
from stack.data_directory import data_dir_option, settings_for
from storage.platform.installation import find_installation

OLDEST_PYTHON = (3, 11)
OLDEST_POSTGRES = schema.OLDEST_POSTGRES
CLOCK_TOLERANCE_SECONDS = 2.0
CHECK_SECONDS = 10.0


class DoctorFinding(NamedTuple):
    """What one check found. `advice` says what to do when it is not good."""

    good: bool
    found: str
    advice: str = ""


Check = Callable[[Settings], Awaitable[DoctorFinding]]


async def python_version(_settings: Settings) -> DoctorFinding:
    """The interpreter and the libraries that matter most."""
    names = ("litestar", "temporalio", "psycopg", "msgspec")
    libraries = ", ".join(f"{name} {version(name)}" for name in names)
    found = f"Python {'.'.join(map(str, sys.version_info[:3]))}, {libraries}"
    return DoctorFinding(sys.version_info >= OLDEST_PYTHON, found, "install Python 3.11 or newer and remove .venv")


async def postgres_answers(settings: Settings) -> DoctorFinding:
    """PostgreSQL: reachable, new enough, able to write."""
    async with await postgres.connect(settings.session_url, "doctor") as connection:
        row = await (await connection.execute("SELECT pg_is_in_recovery() AS standby, current_setting('server_version') AS v")).fetchone()
        number = connection.info.server_version
    assert row is not None
    good = number >= OLDEST_POSTGRES and not row["standby"]
    return DoctorFinding(good, f"PostgreSQL {row['v']}{' (standby)' if row['standby'] else ''}", "use a primary of PostgreSQL 18 or newer")


async def schema_current(settings: Settings) -> DoctorFinding:
    """The schema's revision is the newest that this code has."""
    present, newest = await asyncio.to_thread(schema.revisions, settings.session_url)
    return DoctorFinding(present == newest, f"revision {present or 'none'}, newest {newest}", "run `laurel migrate`")


async def clocks_agree(settings: Settings) -> DoctorFinding:
    """This machine's clock against the database's: signatures and deadlines rely on both."""
    async with await postgres.connect(settings.session_url, "doctor") as connection:
        row = await (await connection.execute("SELECT clock_timestamp() AS now")).fetchone()
    assert row is not None
    apart = abs((datetime.now(UTC) - row["now"]).total_seconds())
    return DoctorFinding(
        apart < CLOCK_TOLERANCE_SECONDS, f"{apart:.2f} s apart", "let NTP set the clocks of this machine and the database's"
    )


async def redis_answers(settings: Settings) -> DoctorFinding:
    """Redis: reachable. Without it the platform works, only slower."""
    client = make_redis(settings)
    try:
        found = await client.info("server")
    finally:
        await client.aclose()
    name, number = found.get("server_name", "redis"), found.get("valkey_version", found.get("redis_version"))
    return DoctorFinding(True, f"{name} {number}")


async def temporal_answers(settings: Settings) -> DoctorFinding:
    """Temporal: reachable, and its namespace has our search attributes."""
    client = await temporal.connect(settings)
    missing = await temporal.missing_search_attributes(client)
    found = f"namespace {client.namespace}, " + (f"without {', '.join(missing)}" if missing else "all search attributes")
    return DoctorFinding(not missing, found, "start a worker: it adds them")


async def one_installation(settings: Settings) -> DoctorFinding:
    """The database and the Temporal namespace belong to one installation."""
    async with await postgres.connect(settings.session_url, "doctor") as connection:
        installation = await find_installation(connection)
    owner = await namespace_owner(await temporal.connect(settings))
    if installation is None:
        return DoctorFinding(False, "the database is not set up", "run `laurel migrate`")
    if owner is None:
        return DoctorFinding(True, f"{installation}, the namespace is nobody's yet: the first worker claims it")
    return DoctorFinding(owner == str(installation), f"{installation}", refusal(settings.temporal_namespace, owner, installation))


CHECKS: dict[str, tuple[Check, str]] = {
    "Python": (python_version, ""),
    "PostgreSQL": (postgres_answers, "is LAUREL_DATABASE_URL right, and does the server run?"),
    "Schema": (schema_current, "run `laurel migrate`"),
    "Clock": (clocks_agree, ""),
    "Redis": (redis_answers, "is LAUREL_REDIS_URL right, and does the server run?"),
    "Temporal": (temporal_answers, "is LAUREL_TEMPORAL_ADDRESS right, and does the server run?"),
    "Installation": (one_installation, ""),
}


async def examine(settings: Settings) -> dict[str, DoctorFinding]:
    """Every check's finding; a check that cannot be made is a bad one."""
    findings = {}
    for name, (check, advice) in CHECKS.items():
        try:
            findings[name] = await asyncio.wait_for(check(settings), CHECK_SECONDS)
        except TimeoutError:
            findings[name] = DoctorFinding(False, f"no answer within {CHECK_SECONDS:.0f} s", advice)
        except Exception as error:  # whatever stops a check is what the reader wants to know
            reason = "not reachable" if isinstance(error, psycopg.OperationalError) else type(error).__name__
            findings[name] = DoctorFinding(False, f"{reason}: {str(error).splitlines()[0] if str(error) else error!r}", advice)
    return findings


@click.command()
@data_dir_option
def doctor(data_dir: Path) -> None:
    """Check every dependency, version, migration, search attribute and clock. Exit status 1 when something needs care."""
    settings = settings_for(data_dir)
    findings = asyncio.run(examine(settings))
    table = Table("", "what", "found", "what to do", box=None)
    for name, finding in findings.items():
        mark = "[green]✓[/green]" if finding.good else "[red]✗[/red]"
        table.add_row(mark, name, finding.found, "" if finding.good else finding.advice)
    Console(width=None if os.isatty(1) else 160).print(table)
    if not all(finding.good for finding in findings.values()):
        raise SystemExit(1)
