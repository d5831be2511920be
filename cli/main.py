"""The command line's root. Commands live in their own modules and are imported only when they run, so `--help` is quick."""

import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn

import rich_click as click


class CommandEntry(NamedTuple):
    """Where a command is, and what it does in one line."""

    module: str
    attribute: str
    summary: str


COMMANDS = {
    "up": CommandEntry("cli.up", "up", "Start the whole platform on embedded parts, until Ctrl-C."),
    "demo": CommandEntry("cli.demo", "demo", "Tell the whole story against a running stack, and verify each step."),
    "test": CommandEntry("cli.test", "test", "Run the test suite on its own embedded parts."),
    "bench": CommandEntry("cli.bench", "bench", "Run the benchmarks, each beside its floor."),
    "screenshots": CommandEntry("cli.screenshots", "screenshots", "Take a picture of every page of the console."),
    "doctor": CommandEntry("cli.doctor", "doctor", "Check everything that a running platform needs, and say what to do."),
    "api": CommandEntry("cli.processes", "api", "Run one API process against external services."),
    "worker": CommandEntry("cli.processes", "worker", "Run one worker process against external services."),
    "migrate": CommandEntry("cli.migrate", "migrate", "Bring the database's schema up to date."),
    "tenant": CommandEntry("cli.tenant", "tenant", "Create tenants."),
    "key": CommandEntry("cli.tenant", "key", "Create API keys."),
    "token": CommandEntry("cli.tenant", "token", "Make a gamer token."),
    "user": CommandEntry("cli.user", "user", "Invite people to the console."),
    "receiver": CommandEntry("cli.receiver", "receiver", "Act as a partner's webhook receiver with the answers you choose."),
    "import": CommandEntry("cli.importer", "import_", "Import events or users from a file."),
    "codes": CommandEntry("cli.codes", "codes", "Import voucher codes."),
    "rotate-secrets": CommandEntry("cli.secrets", "rotate_secrets", "Re-encrypt every stored secret with the current secret key."),
    "rebuild-rankings": CommandEntry("cli.rankings", "rebuild_rankings", "Rebuild the live rankings in Redis from PostgreSQL."),
    "verify-rankings": CommandEntry("cli.rankings", "verify_rankings", "Prove that the live rankings in Redis equal PostgreSQL."),
    "rescore": CommandEntry("cli.rescore", "rescore", "Score a leaderboard's events again."),
    "openapi": CommandEntry("cli.openapi", "openapi", "Print the API document."),
    "verify-ledger": CommandEntry("cli.ledger", "verify_ledger", "Prove that every balance equals its transfers."),
}


class LazyCommand(click.RichCommand):
    """Stands in the list of commands; the real one is imported when it is called."""

    def __init__(self, name: str, entry: CommandEntry) -> None:
        super().__init__(name=name, help=entry.summary)
        self.entry = entry

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """The real command's context: click then invokes that command."""
        real: click.Command = getattr(importlib.import_module(self.entry.module), self.entry.attribute)
        return real.make_context(info_name, args, parent, **extra)


class LazyGroup(click.RichGroup):
    """Knows the commands by name; one whose module this version does not have is simply absent."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands of this version, in the order of the table."""
        return [name for name, entry in COMMANDS.items() if importlib.util.find_spec(entry.module)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name, not yet imported."""
        return LazyCommand(cmd_name, COMMANDS[cmd_name]) if cmd_name in self.list_commands(ctx) else None


def _show_version(context: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked:
        from runtime.version import VERSION

        click.echo(f"laurel {VERSION}")
        context.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, expose_value=False, is_eager=True, callback=_show_version, help="Show the version and end.")
def laurel() -> None:
    """Laurel: events in, leaderboards that move, points earned, rewards fulfilled."""


def run(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command line and leave with its exit status: 0 done, 1 failed, 2 wrongly called.

    Leaves by `os._exit`: an interpreter that has used temporalio may crash while it is taken down.
    """
    status = _status(arguments)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            status = status or 1
    os._exit(status)


def _status(arguments: Sequence[str] | None) -> int:
    try:
        laurel.main(args=None if arguments is None else list(arguments), prog_name="laurel")
    except SystemExit as leaving:
        if isinstance(leaving.code, str):
            print(leaving.code, file=sys.stderr)
            return 1
        return leaving.code or 0
    except Exception as error:
        return _report(error)
    return 0


def _report(error: Exception) -> int:
    from domain.errors import DomainError
    from runtime.namespace import ForeignNamespaceError
    from runtime.settings import SettingError
    from stack.processes import StartError

    if isinstance(error, SettingError | StartError | DomainError | ForeignNamespaceError):
        print(f"laurel: {error}", file=sys.stderr)
    elif sys.stderr.isatty():
        from rich.console import Console

        Console(stderr=True).print_exception(max_frames=12)
    else:
        traceback.print_exception(error)
    return 1
