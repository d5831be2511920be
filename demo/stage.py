"""How the demo is seen: colour and live parts on a terminal, plain lines elsewhere; and the tally of what was verified."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.padding import Padding
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table

PLAIN_LINE_EVERY_SECONDS = 1.0
MARGIN = (0, 0, 0, 3)


class StoryError(Exception):
    """The story cannot go on; the message says which step failed and why."""


class Stage:
    """Prints the story, and counts the checks that held and those that did not."""

    def __init__(self) -> None:
        """Colour and movement only where someone is looking."""
        self.console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
        self.live = self.console.is_terminal
        self.verified = 0
        self.failures: list[str] = []
        self.number = 0

    def chapter(self, title: str) -> None:
        """Begin the next part of the story."""
        self.number += 1
        self.console.print(f"\n[bold cyan]{self.number}. {escape(title)}[/]")

    def say(self, text: str) -> None:
        """One line of the story."""
        self.console.print(f"   {escape(text)}")

    def link(self, name: str, address: str) -> None:
        """One address worth opening."""
        self.console.print(f"   {escape(name)}: [underline blue]{escape(address)}[/]")

    def check(self, held: bool, claim: str, otherwise: str = "") -> bool:
        """Note whether a claim of the story held; `otherwise` says what was found instead."""
        if held:
            self.verified += 1
            self.console.print(f"   [green]✓[/] {escape(claim)}")
        else:
            self.failures.append(claim + (f": {otherwise}" if otherwise else ""))
            self.console.print(f"   [bold red]✗ {escape(claim)}[/]" + (f": {escape(otherwise)}" if otherwise else ""))
        return held

    @contextmanager
    def progress(self, total: int) -> Iterator["Progress"]:
        """A progress bar with a board below it while events are sent."""
        if not self.live:
            yield Progress(self, total, None)
            return
        with Live(console=self.console, refresh_per_second=8, transient=True) as live:
            yield Progress(self, total, live)

    def board(self, title: str, rows: Sequence[tuple[int, str, str]]) -> None:
        """The first lines of a board."""
        if self.live:
            self.console.print(Padding(board_table(title, rows), MARGIN))
        else:
            for rank, user_id, score in rows:
                self.say(f"{rank:>3}. {user_id:<24} {score:>10}")

    def curtain(self) -> int:
        """Say how it went; the exit status: 0 if every check held, else 1."""
        if self.failures:
            lines = "\n".join(f"✗ {escape(failure)}" for failure in self.failures)
            title = f"{len(self.failures)} failed, {self.verified} verified"
            self.console.print(Panel(f"[bold red]{lines}[/]", title=title, border_style="red"))
            return 1
        self.console.print(f"\n[bold green]All {self.verified} steps were verified.[/]")
        return 0


class Progress:
    """How far the sending is, and who leads."""

    def __init__(self, stage: Stage, total: int, live: Live | None) -> None:
        """`live` is None where nobody watches: then a plain line comes now and then."""
        self.stage, self.total, self.live = stage, total, live
        self.done = 0
        self.started = self.last_line = time.monotonic()

    def sent(self, count: int) -> None:
        """So many more events were acknowledged."""
        self.done += count

    def show(self, title: str, rows: Sequence[tuple[int, str, str]]) -> None:
        """The board as it stands now."""
        now = time.monotonic()
        rate = self.done / max(now - self.started, 0.001)
        text = f"{self.done:,} of {self.total:,} events acknowledged, {rate:,.0f}/s"
        if self.live is not None:
            grid = Table.grid(padding=(0, 1))
            grid.add_row(text)
            grid.add_row(ProgressBar(total=self.total, completed=self.done, width=60))
            grid.add_row(board_table(title, rows))
            self.live.update(Padding(grid, MARGIN))
        elif now - self.last_line >= PLAIN_LINE_EVERY_SECONDS and rows:
            self.last_line = now
            leaders = ", ".join(f"{rank}. {user_id} {score}" for rank, user_id, score in rows[:3])
            self.stage.say(f"{text}; {leaders}")


def board_table(title: str, rows: Sequence[tuple[int, str, str]]) -> Table:
    """A board as a table."""
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("rank", justify="right", style="dim")
    table.add_column("user", min_width=24)
    table.add_column("score", justify="right", style="yellow")
    for rank, user_id, score in rows:
        table.add_row(str(rank), escape(user_id), score)
    return table
