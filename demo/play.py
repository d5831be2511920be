"""What the demo plays: match results from a file or made up, and the events that tell Laurel of them."""

import csv
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

COLUMNS = ("date", "home_team", "away_team", "home_score", "away_score", "tournament", "neutral")
NOON = timedelta(hours=12)
SEED = 20260301
PLAYERS = (
    "Aino", "Bảo Châu", "Chidi", "Dariusz", "Élodie", "Fatima", "Giulia", "Hiroshi", "Ines", "João", "Kwame", "Leilani",
    "Mehmet", "Nguyễn An", "Olga", "Pilar", "Quinn", "Ravi", "Søren", "Thandiwe", "Ulrike", "Valentín", "Wei", "Xochitl", "Yusuf", "Zoë",
)  # fmt: skip
CUPS = ("Friendly", "Friendly", "League", "League", "Cup")


class FileError(ValueError):
    """The file cannot be played; the message names the line."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One side's result of one match."""

    team: str
    played_at: datetime
    goals: int
    conceded: int
    tournament: str
    neutral: bool

    @property
    def points(self) -> int:
        """3 for a victory, 1 for a draw."""
        return 3 if self.goals > self.conceded else 1 if self.goals == self.conceded else 0


def read_results(path: Path) -> list[Result]:
    """Two results for each line of a CSV with `COLUMNS`, played at noon UTC of the line's date; raises `FileError`."""
    results: list[Result] = []
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file)
        missing = [name for name in COLUMNS if name not in (rows.fieldnames or ())]
        if missing:
            raise FileError(f"{path} has no column {', '.join(missing)}")
        for row in rows:
            try:
                results += both_sides(row)
            except ValueError as error:
                raise FileError(f"{path}, line {rows.line_num}: {error}") from None
    if not results:
        raise FileError(f"{path} holds no match")
    return results


def both_sides(row: dict[str, str]) -> tuple[Result, Result]:
    """The two results of one line."""
    played_at = datetime.strptime(row["date"], "%Y-%m-%d").replace(tzinfo=UTC) + NOON
    home, away = int(row["home_score"]), int(row["away_score"])
    neutral = row["neutral"].upper() == "TRUE"

    def side(name: str, goals: int, conceded: int) -> Result:
        return Result(
            team=user_id_of(row[name]), played_at=played_at, goals=goals, conceded=conceded, tournament=row["tournament"], neutral=neutral
        )

    return side("home_team", home, away), side("away_team", away, home)


def user_id_of(team: str) -> str:
    """A team's name as an external id: as it is written, but without `/` and control characters (contract 1)."""
    name = "".join(character if character.isprintable() and character != "/" else "-" for character in team).strip()
    if not name or name in (".", "..", "me"):
        raise ValueError(f"{team!r} cannot be a user id")
    return name


def make_results(count: int, now: datetime) -> list[Result]:
    """Made-up play: `count` results, the same ones at every run, of matches that ended in the last day before `now`."""
    source = random.Random(SEED)
    strength = {player: source.uniform(0.6, 2.4) for player in PLAYERS}
    results: list[Result] = []
    matches = (count + 1) // 2
    for number in range(matches):
        home, away = source.sample(PLAYERS, 2)
        goals, conceded = (min(9, int(source.expovariate(1 / strength[player]))) for player in (home, away))
        played_at = (now - timedelta(days=1) * (matches - number) / matches).replace(microsecond=0)
        side = Result(
            team=home,
            played_at=played_at,
            goals=goals,
            conceded=conceded,
            tournament=source.choice(CUPS),
            neutral=source.random() < 0.2,
        )
        results += (side, msgspec.structs.replace(side, team=away, goals=conceded, conceded=goals))
    return results[:count]


def events_of(results: list[Result], run: str) -> Iterator[dict[str, Any]]:
    """The results as events (contract 2). `run` keeps this demo apart from earlier ones on the same stack."""
    for number, result in enumerate(results):
        yield {
            "event_id": f"{run}-{number}",
            "type": "match.completed",
            "actor": {"user_id": result.team, "metadata": {"demo": run}},
            "occurred_at": result.played_at.isoformat().replace("+00:00", "Z"),
            "attrs": {
                "goals": result.goals,
                "conceded": result.conceded,
                "victory": result.goals > result.conceded,
                "draw": result.goals == result.conceded,
                "points": result.points,
                "tournament": result.tournament,
                "neutral": result.neutral,
            },
        }
