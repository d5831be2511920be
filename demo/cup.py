"""The demo's cup: a board that pays items, whose window closes, and what every winner must have got, reckoned from the input alone."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from demo.boards import BOARDS, Row, definition
from demo.client import DemoApi, until
from demo.play import Result
from demo.stage import Stage

PAID_SECONDS = 60.0
TIERS = (("winner", 1, 1, 1000), ("podium", 2, 3, 500), ("top ten", 4, 10, 100))
"""Name, first and last rank, points. The winner gets a trophy too."""


class Cup:
    """A board of one window that pays items when it closes. Its scores are those of the league."""

    def __init__(self, stage: Stage, api: DemoApi, run: str) -> None:
        """`run` is in the id of the board."""
        self.stage, self.api = stage, api
        self.board_id = f"{run}-cup"
        self.trophy, self.points = "", dict[str, str]()
        self.payout: dict[str, Any] = {}

    async def prepare(self, run: str, results: Sequence[Result]) -> None:
        """Items, a config, and the board, whose window holds everything that is played."""
        self.trophy = await self.item({"name": "Trophy", "reward_type": "badge"})
        tiers = []
        for name, first, last, points in TIERS:
            self.points[name] = await self.item({"name": f"{points} points", "reward_type": "points", "reward_value": points})
            items = [self.points[name], *([self.trophy] if first == 1 else [])]
            tiers.append({"name": name, "min_rank": first, "max_rank": last, "item_ids": items})
        config = await self.api.call("POST", "/v1/admin/reward-configs", {"name": f"Rewards of {run}", "tiers": tiers}, expect=(201,))
        board = definition(BOARDS[0], run) | {
            "leaderboard_id": self.board_id,
            "name": "Cup with rewards",
            "reward_config_id": config["reward_config_id"],
        }
        begin, end = min(result.played_at for result in results) - timedelta(days=1), datetime.now(UTC) + timedelta(days=1)
        span = {"starts_at": begin.isoformat(), "ends_at": end.isoformat()}
        board["config"] |= {"timeframe": {"type": "custom", "grace_seconds": 0, **span}}
        await self.api.call("POST", "/v1/admin/leaderboards", board, expect=(201,))

    async def item(self, body: dict[str, Any]) -> str:
        """A reward item; its id."""
        return str((await self.api.call("POST", "/v1/admin/reward-items", body, expect=(201,)))["item_id"])

    async def award(self, expected: Sequence[Row]) -> None:
        """Close the window and see that every winner has exactly the items of its final rank."""
        self.stage.chapter("The cup closes, and its winners are paid")
        path = f"/v1/admin/leaderboards/{self.board_id}/windows"
        key = (await self.api.call("GET", path))["windows"][0]["window_key"]
        await self.api.call("POST", f"{path}/{quote(key, safe='')}/close", {}, expect=(202,))

        async def paid() -> Any:
            window = (await self.api.call("GET", path))["windows"][0]
            return window if window["status"] == "paid" else None

        window = await until(paid, PAID_SECONDS)
        self.stage.check(window is not None, "its window is closed, and paid")
        if window is None:
            return
        winners = expected[: TIERS[-1][2]]
        won = {row.user_id: self.items_of(row.rank) for row in winners}
        self.payout = window["payout"]
        self.stage.check(self.payout["paid"] == len(winners), f"{len(winners)} winners were paid", str(self.payout))
        total = sum(points for _, first, last, points in TIERS for row in winners if first <= row.rank <= last)
        self.stage.check(self.payout["total"].get("points") == total, f"{total:,} points in all", str(self.payout["total"]))
        given = {user: await self.given_to(user, window["window_id"]) for user in won}
        self.stage.check(given == won, "each has exactly the items of its final rank", f"{given} instead of {won}")

    def items_of(self, rank: int) -> list[str]:
        """The items of the tier that the rank is in."""
        name = next(name for name, first, last, _ in TIERS if first <= rank <= last)
        return sorted([self.points[name], *([self.trophy] if rank == 1 else [])])

    async def given_to(self, user: str, window_id: str) -> list[str]:
        """The items that the user got for this window."""
        answer = await self.api.call("GET", f"/v1/users/{quote(user, safe='')}/grants?source_id={window_id}")
        return sorted(grant["item_id"] for grant in answer["grants"])
