"""A hostile tenant beside a good one: what the good one waits for is measured alone and beside the other, in turns, on the same stack.

What the machine does meanwhile happens to both sides, so only the ratio within one run is judged, never a time alone.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from statistics import median
from typing import Any

import httpx

from runtime.settings import Settings, load_settings
from tests.builders.api import World, make_world
from tests.conftest import Stack
from tests.journey.programme import event, eventually

FACTOR = 2.0
SLACK_SECONDS = 0.025
"""Allowed on top: below it a ratio tells of the machine's scheduler, not of Laurel."""
TRIES = 3
"""What is unfair is so each time; what else runs on a machine is not."""
START_SECONDS = 60.0
LOOK_SECONDS = 0.005
Action = Callable[[], Any]


class Hostile:
    """Threads that do these actions without a pause while they are let, one for each."""

    def __init__(self, actions: tuple[Action, ...]) -> None:
        self._actions = actions
        self._let, self._over = threading.Event(), threading.Event()
        self._begun = [0] * len(actions)
        self._idle = [threading.Event() for _ in actions]
        self.errors: list[BaseException] = []
        self._threads = [threading.Thread(target=self._run, args=(place,), daemon=True) for place in range(len(actions))]

    def _run(self, place: int) -> None:
        while True:
            self._idle[place].set()
            self._let.wait()
            if self._over.is_set():
                return
            self._idle[place].clear()
            self._begun[place] += 1
            try:
                self._actions[place]()
            except BaseException as error:
                self.errors.append(error)
                time.sleep(0.05)

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """Every action has begun when the block begins, and has ended when it is left."""
        before = list(self._begun)
        self._let.set()
        try:
            eventually(lambda: all(now > then for now, then in zip(self._begun, before, strict=True)), seconds=START_SECONDS)
            yield
        finally:
            self._let.clear()
            for each in self._idle:
                assert each.wait(START_SECONDS), "a hostile action does not end"

    def __enter__(self) -> "Hostile":
        for each in self._threads:
            each.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._let.set()
        for each in self._threads:
            each.join(START_SECONDS)


def hold_fair(measure: Action, *hostile: Action, rounds: int = 4, samples: int = 15, calm: Action | None = None) -> None:
    """Fail when the median of `measure` beside all `hostile` actions at once is more than twice that of it alone, and the slack.

    A round is `samples` alone and as many beside. `calm` is waited for after the hostile part of a round: what the hostile tenant has
    left in a queue of its own would otherwise be part of "alone".
    """
    for _ in range(2):
        measure()  # what is slow once: connections, plans, memories
    told = []
    with Hostile(hostile) as other:
        for _ in range(TRIES):
            alone, beside = _medians(measure, other, rounds, samples, calm)
            assert not other.errors, other.errors[0]
            told.append(f"{alone * 1000:.1f} ms alone, {beside * 1000:.1f} ms beside")
            print(told[-1])
            if beside <= FACTOR * alone + SLACK_SECONDS:
                return
    raise AssertionError(f"the good tenant waits for the hostile one: {'; '.join(told)}")


def _medians(measure: Action, other: Hostile, rounds: int, samples: int, calm: Action | None) -> tuple[float, float]:
    alone: list[float] = []
    beside: list[float] = []
    for _ in range(rounds):
        alone += _seconds_of(measure, samples)
        with other.under_way():
            beside += _seconds_of(measure, samples)
        if calm is not None:
            calm()
    return median(alone), median(beside)


def _seconds_of(measure: Action, samples: int) -> list[float]:
    taken = []
    for _ in range(samples):
        begun = time.perf_counter()
        measure()
        taken.append(time.perf_counter() - begun)
    return taken


class Pair:
    """The good tenant and the hostile one of a stack, with clients that stay open."""

    def __init__(self, good: World, hostile: World, clients: ExitStack) -> None:
        self.good_world, self.hostile_world = good, hostile
        self.clients = clients
        self.good = clients.enter_context(good.client())

    def foe(self, role: str | None = "admin") -> httpx.Client:
        """A client of the hostile tenant, with a connection of its own: each action needs one. A stranger's without a role."""
        return self.clients.enter_context(self.hostile_world.client(role))


async def make_pair(stack: Stack, clients: ExitStack) -> Pair:
    """Two new tenants; `clients` closes what they open."""
    settings: Settings = load_settings(stack.described["env"])
    url = stack.described["api_url"]
    return Pair(await make_world(settings, url), await make_world(settings, url), clients)


def asks(client: httpx.Client, path: str, statuses: set[int], **how: Any) -> Action:
    """Gets that, and has one of these answers."""

    def action() -> None:
        answer = client.get(path, **how)
        assert answer.status_code in statuses, f"{path}: {answer.status_code} {answer.text[:200]}"

    return action


def sends(client: httpx.Client, path: str, body: Callable[[], Any], statuses: set[int]) -> Action:
    """Posts what `body` makes each time, and has one of these answers."""

    def action() -> None:
        answer = client.post(path, content=json.dumps(body()), headers={"Content-Type": "application/json"})
        assert answer.status_code in statuses, f"{path}: {answer.status_code} {answer.text[:200]}"

    return action


def until(look: Callable[[], Any], *, seconds: float = START_SECONDS) -> None:
    """Wait until this is true, as closely as a measurement needs it."""
    deadline = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < deadline, f"did not come to pass in {seconds:.0f} s"
        time.sleep(LOOK_SECONDS)


def bulk(event_type: str, users: int = 100, **attrs: Any) -> Callable[[], Any]:
    """Makes a body for `/v1/events/bulk`: an event of each of so many users."""
    return lambda: {"events": [event(event_type, f"u{n}", **attrs) for n in range(users)]}
