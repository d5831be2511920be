"""The demo's story, step by step, over the public API only. Each step checks what it sees against an account of its own."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Sequence
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import msgspec

from demo.boards import BOARDS, POINTS_PER_LEAGUE_POINT, Board, Row, definition, earned, reckon
from demo.client import DemoApi, Partner, until
from demo.cup import Cup
from demo.play import Result, events_of
from demo.stage import Progress, Stage, StoryError

BATCH = 100
CONNECTIONS = 6
SHOWN = 5
STOCK = 3
PRICE = 10_000
SETTLE_SECONDS = 60.0
SECONDS_PER_EVENT = 1 / 500
PARTNER_SECONDS = 45.0


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where the demo plays: addresses and the demo tenant's keys."""

    api_url: str
    api_key: str
    fulfilment_key: str
    temporal_ui_url: str
    temporal_namespace: str


class Story:
    """One run of the demo. `run` is in every id that it makes, so it can be told again and again on the same stack."""

    def __init__(self, stage: Stage, place: Place, results: Sequence[Result]) -> None:
        """`results` is what is played."""
        self.stage, self.place, self.results = stage, place, list(results)
        self.run = f"demo-{secrets.token_hex(4)}"
        self.api = DemoApi(place.api_url, place.api_key, CONNECTIONS + 2)
        self.earned = earned(self.results)
        self.cup = Cup(self.stage, self.api, self.run)
        self.hero, self.price = self.choose_hero()
        self.endpoint_id = self.rule_id = ""

    def choose_hero(self) -> tuple[str, int]:
        """Who will redeem, and what the reward costs: the hero can pay it once, but not twice for certain."""
        hero = reckon(BOARDS[0], self.results)[0].user_id
        return hero, max(1, min(PRICE, self.earned[hero] * 2 // 3))

    async def tell(self, partner: Partner) -> None:
        """The whole story; raises `StoryError` where it cannot go on."""
        try:
            await self.prepare(partner)
            await self.play()
            await self.watch_boards()
            await self.watch_points()
            await self.cup.award(reckon(BOARDS[0], self.results))
            before = await self.api.balance(self.hero)
            redemption = await self.redeem()
            await self.watch_partner(partner, redemption["redemption_id"])
            await self.settle(redemption["redemption_id"], before)
        finally:
            await self.tidy()

    async def prepare(self, partner: Partner) -> None:
        """Boards, an earning rule, a reward and a webhook endpoint."""
        self.stage.chapter("A programme is set up")
        for board in BOARDS:
            await self.api.call("POST", "/v1/admin/leaderboards", definition(board, self.run), expect=(201,))
        self.stage.say(f"{len(BOARDS)} leaderboards: {', '.join(board.name for board in BOARDS)}")
        await self.cup.prepare(self.run, self.results)
        self.stage.say("a cup that rewards its first ten")
        rule = await self.api.call("POST", "/v1/admin/earning-rules", self.earning_rule(), expect=(201,))
        self.rule_id = rule["rule_id"]
        self.stage.say(f"an earning rule: {POINTS_PER_LEAGUE_POINT} points for each league point")
        subscription = {"url": partner.url, "events": ["reward_redeemed"], "description": f"partner of {self.run}"}
        endpoint = await self.api.call("POST", "/v1/admin/webhook-endpoints", subscription, expect=(201,))
        self.endpoint_id = endpoint["endpoint_id"]
        await partner.introduce(endpoint["secret"], self.place.api_url, self.place.fulfilment_key)
        self.stage.say(f"a partner in a process of its own ({partner.process.pid}) listens on {partner.url}")
        await self.api.call("POST", "/v1/admin/rewards", self.reward(), expect=(201,))
        self.stage.say(f"a reward: Voucher, {self.price:,} points, {STOCK} pieces in stock")

    def earning_rule(self) -> dict[str, Any]:
        """Points for this run's events only."""
        return {
            "name": f"League points, {self.run}",
            "event_type": "match.completed",
            "conditions": {"actor.metadata.demo": {"eq": self.run}},
            "points_expression": f"attrs.points * {POINTS_PER_LEAGUE_POINT}",
            "currency": "points",
        }

    def reward(self) -> dict[str, Any]:
        """A voucher that the partner fulfils."""
        return {
            "slug": f"{self.run}-voucher",
            "name": "Voucher",
            "type": "voucher",
            "value": 10,
            "prices": [{"currency": "points", "amount": self.price}],
            "stock": STOCK,
            "fulfilment": {"type": "webhook", "endpoint_id": self.endpoint_id, "deadline_seconds": 3600},
        }

    async def play(self) -> None:
        """Send every event in bulk over several connections, and show the first board move."""
        events = list(events_of(self.results, self.run))
        self.stage.chapter(f"{len(events):,} events are sent, {BATCH} a call over {CONNECTIONS} connections")
        batches = [events[start : start + BATCH] for start in range(0, len(events), BATCH)]
        waiting = iter(batches)
        started = time.monotonic()
        with self.stage.progress(len(events)) as progress:
            watcher = asyncio.create_task(self.watch_live(progress))
            try:
                senders = [asyncio.create_task(self.send(waiting, progress)) for _ in range(CONNECTIONS)]
                await asyncio.gather(*senders)
            finally:
                watcher.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await watcher
            done = progress.done
        seconds = time.monotonic() - started
        claim = f"all {len(events):,} events were acknowledged in {seconds:.1f} s ({len(events) / seconds:,.0f}/s)"
        self.stage.check(done == len(events), claim)
        again = await self.api.call("POST", "/v1/events/bulk", {"events": batches[0]}, expect=(202,))
        repeats = sum(1 for each in again["results"] if each.get("duplicate") is True)
        claim = f"sending the first {len(batches[0])} again is acknowledged as {len(batches[0])} duplicates"
        self.stage.check(repeats == len(batches[0]), claim, f"{repeats} duplicates")

    async def send(self, waiting: Any, progress: Progress) -> None:
        """One connection's share: the next batch as long as there is one."""
        for batch in waiting:
            answer = await self.api.call("POST", "/v1/events/bulk", {"events": batch}, expect=(202,))
            if answer["accepted"] != len(batch):
                refused = next(each for each in answer["results"] if each["status"] != "accepted")
                raise StoryError(f"an event was refused: {refused}")
            progress.sent(len(batch))

    async def watch_live(self, progress: Progress) -> None:
        """Show the first board again and again until cancelled."""
        board = BOARDS[0]
        while True:
            page = await self.api.call("GET", f"/v1/leaderboards/{self.run}-{board.key}?limit={SHOWN}", expect=(200,))
            progress.show(board.name, shown(page["entries"]))
            await asyncio.sleep(0.25)

    async def watch_boards(self) -> None:
        """Compare every board, row by row, with an account made from the input alone."""
        self.stage.chapter("The boards are compared row by row with an independent computation")
        seconds = SETTLE_SECONDS + len(self.results) * SECONDS_PER_EVENT
        deadline = time.monotonic() + seconds
        for board in BOARDS:
            expected = reckon(board, self.results)
            await self.compare(board, expected, max(1.0, deadline - time.monotonic()))

    async def compare(self, board: Board, expected: list[Row], seconds: float) -> None:
        """One board: wait until scoring has caught up with it, then say whether every row is right."""
        entries: list[dict[str, Any]] = []

        async def equal() -> bool:
            nonlocal entries
            entries = await self.api.whole_board(f"{self.run}-{board.key}")
            return [line(entry) for entry in entries] == [line_of(row) for row in expected]

        held = await until(equal, seconds)
        if held:
            self.stage.board(board.name, shown(entries[:SHOWN]))
        self.stage.check(held, f"{board.name}: {len(expected)} rows, each as reckoned", difference(entries, expected))

    async def watch_points(self) -> None:
        """What the hero earned stands in its ledger."""
        self.stage.chapter("Points were earned")
        hero, want = self.hero, self.earned[self.hero]

        async def arrived() -> bool:
            return await self.api.earned(hero, self.rule_id) == want

        held = await until(arrived, SETTLE_SECONDS)
        found = "" if held else f"{await self.api.earned(hero, self.rule_id):,}"
        self.stage.check(held, f"{hero} earned {want:,} points: the transfers of the rule in its ledger say so", found)
        self.stage.say(f"{hero} has {(await self.api.balance(hero))['available']:,} points")

    async def redeem(self) -> dict[str, Any]:
        """The hero redeems; one who has too few points is refused; the same key again changes nothing."""
        self.stage.chapter("A reward is redeemed")
        poor = f"{self.run}-newcomer"
        await self.api.call("POST", "/v1/users", {"external_id": poor, "display_name": "Newcomer"}, expect=(201,))
        refusal = await self.api.call("POST", "/v1/redemptions", self.order(poor), expect=(409,))
        facts = (refusal["error"]["code"], refusal["error"].get("available"), refusal["error"].get("required"))
        self.stage.check(facts == ("INSUFFICIENT_POINTS", 0, self.price), "a newcomer without points is refused", str(refusal))
        key = f"{self.run}-1"
        redemption: dict[str, Any] = await self.api.call("POST", "/v1/redemptions", self.order(self.hero), expect=(201,), key=key)
        claim = f"{self.hero} redeems a Voucher for {self.price:,} points"
        self.stage.check(redemption["points_spent"] == self.price, claim, str(redemption))
        again = await self.api.call("POST", "/v1/redemptions", self.order(self.hero), expect=(201,), key=key)
        self.stage.check(again["redemption_id"] == redemption["redemption_id"], "the same order sent twice is one redemption", str(again))
        return redemption

    def order(self, user: str) -> dict[str, Any]:
        """The body of a redemption."""
        return {"external_user_id": user, "slug": f"{self.run}-voucher"}

    async def watch_partner(self, partner: Partner, redemption_id: str) -> None:
        """The partner got the signed webhook, verified it from the raw bytes, and called back; a forged one it refuses."""
        self.stage.chapter("The partner gets the signed webhook")
        facts = await partner.wait_for(
            lambda each: each["kind"] == "webhook" and each["event"].get("redemption_id") == redemption_id, PARTNER_SECONDS
        )
        if facts is None:
            raise StoryError(f"no good webhook arrived within {PARTNER_SECONDS:.0f} s; what did: {partner.reports}")
        self.stage.check(True, "the webhook arrived")
        self.stage.check(facts["seed_signature"], "its X-GamifyEngine-Signature holds over the raw body")
        self.stage.check(facts["standard_signature"], "its webhook-signature (Standard Webhooks) holds too")
        event = facts["event"]
        told = (event["external_user_id"], event["points_spent"], event["reward"]["name"])
        self.stage.check(told == (self.hero, self.price, "Voucher"), "it names the user, the reward and the points", str(told))
        await self.forge(partner)
        callback = await partner.wait_for(
            lambda each: each == {**each, "kind": "callback", "redemption_id": redemption_id}, PARTNER_SECONDS
        )
        status = callback["status"] if callback else None
        self.stage.check(status == 200, "the partner called back: fulfilled, with a voucher code", f"status {status}")

    async def forge(self, partner: Partner) -> None:
        """A webhook signed with another secret."""
        body = {"event": "reward_redeemed", "redemption_id": "forged"}
        headers = {"X-GamifyEngine-Timestamp": str(int(time.time())), "X-GamifyEngine-Signature": "0" * 64, "Authorization": ""}
        answer = await self.api.http.post(partner.url, json=body, headers=headers)
        self.stage.check(answer.status_code == 401, "a forged webhook is refused by the partner", f"status {answer.status_code}")

    async def settle(self, redemption_id: str, before: dict[str, int]) -> None:
        """The redemption is final, the ledger is settled, the stock is one less, and the workflow's history tells it all."""
        self.stage.chapter("The ledger is settled")
        path = f"/v1/redemptions/{redemption_id}"

        async def final() -> bool:
            return bool((await self.api.call("GET", path))["status"] == "fulfilled")

        held = await until(final, PARTNER_SECONDS)
        redemption = await self.api.call("GET", path)
        self.stage.check(held, "the redemption is fulfilled", redemption["status"])
        for move in redemption["timeline"]:
            self.stage.say(f"{move['at']}  {move['from'] or '·'} → {move['to']}  by {move['by']}")
        after = await self.api.balance(self.hero)
        want = {**before, "available": before["available"] - self.price, "lifetime_spent": before["lifetime_spent"] + self.price}
        claim = f"{self.hero} has {want['available']:,} points left, {want['held']:,} held; {self.price:,} were spent"
        self.stage.check(after == want, claim, f"{after} instead of {want}")
        await self.check_stock()
        await self.check_history(redemption["workflow_id"])

    async def check_stock(self) -> None:
        """One piece less in the catalog."""
        reward = await self.api.call("GET", f"/v1/rewards/catalog/{self.run}-voucher")
        self.stage.check(reward["stock"] == STOCK - 1, f"{STOCK - 1} of {STOCK} pieces are left in stock", str(reward["stock"]))

    async def check_history(self, workflow_id: str) -> None:
        """The workflow is in Temporal, complete, under the address that people open."""
        base = f"{self.place.temporal_ui_url}/namespaces/{self.place.temporal_namespace}/workflows"
        asked = f"{self.place.temporal_ui_url}/api/v1/namespaces/{self.place.temporal_namespace}/workflows/{quote(workflow_id, safe='')}"
        status: str = ""

        async def completed() -> bool:
            nonlocal status
            answer = await self.api.http.get(asked, headers={"Authorization": ""})
            found = answer.json() if answer.status_code == 200 else {}
            status = found.get("workflowExecutionInfo", {}).get("status", f"answer {answer.status_code}")
            return bool(status.endswith("COMPLETED"))

        held = await until(completed, PARTNER_SECONDS)
        self.stage.check(held, "its whole life stands in Temporal, completed", status)
        self.stage.chapter("Look for yourself")
        self.stage.link("The redemption's workflow", f"{base}/{quote(workflow_id, safe='')}")
        if self.cup.payout:
            self.stage.link("The payout of the cup", f"{base}/{quote(self.cup.payout['workflow_id'], safe='')}")
        self.stage.link("The scoring of events", f"{base}/{quote('scoring:0', safe='')}")
        self.stage.link("A board (with the API key)", f"{self.place.api_url}/v1/leaderboards/{self.run}-{BOARDS[0].key}")

    async def tidy(self) -> None:
        """Take the endpoint and the rule out of service, since the partner goes away; the boards and the reward stay to be looked at."""
        made = {"/v1/admin/webhook-endpoints/": self.endpoint_id, "/v1/admin/earning-rules/": self.rule_id}
        for path, identity in made.items():
            if identity:
                with contextlib.suppress(StoryError):
                    await self.api.call("DELETE", path + identity)


def shown(entries: Sequence[dict[str, Any]]) -> list[tuple[int, str, str]]:
    """Entries as the stage shows them."""
    return [(entry["rank"], entry["user_id"], f"{Decimal(entry['score']).normalize():,f}") for entry in entries]


def line(entry: dict[str, Any]) -> tuple[int, str, Decimal, str]:
    """What is compared of an entry of the API."""
    return entry["rank"], entry["user_id"], Decimal(entry["score"]), entry["updated_at"][:19]


def line_of(row: Row) -> tuple[int, str, Decimal, str]:
    """What is compared of a reckoned row: `updated_at` is the instant at which the score was reached."""
    return row.rank, row.user_id, row.score, row.reached_at.isoformat()[:19]


def difference(entries: Sequence[dict[str, Any]], expected: Sequence[Row]) -> str:
    """The first row that is not as reckoned."""
    if len(entries) != len(expected):
        return f"{len(entries)} rows instead of {len(expected)}"
    wrong = next(((line(entry), line_of(row)) for entry, row in zip(entries, expected, strict=True) if line(entry) != line_of(row)), None)
    return f"{wrong[0]} instead of {wrong[1]}" if wrong else ""
