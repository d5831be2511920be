"""The pump of an endpoint: sends what is due to it, some at a time and at its rate, and sleeps while nothing is due (contract 5).

It holds no connection while it waits or sends, and it has a task queue of its own, so a dead or slow endpoint delays nobody else's
deliveries and no fulfilment.
"""

import asyncio
import contextlib
import functools
import logging
import random
import time
from datetime import datetime, timedelta

from temporalio import activity

from domain import limits
from domain.errors import NotFound
from domain.redemption.redemption import Redemption, is_order, is_too_late
from domain.webhook.webhook import DeliveryState, EndpointInput, Shift, error_class
from loops.webhook.attempt import AttemptClaim, Waits, exchange, is_gone, move_on, open_secrets, result_of, switch_off
from loops.webhook.send_slot import Throttle
from loops.webhook.wakeup import EndpointWakeup
from runtime.crypto import Vault
from runtime.http import ExchangeOutcome, Sender
from runtime.ids import utc_now
from runtime.postgres import DATABASE_AWAY, Connection, Pool, transaction
from runtime.resolver import OwnFaultError
from storage.redemption.command import tell_attempted
from storage.redemption.redemption import find_redemption, lock_redemption
from storage.webhook import delivery as deliveries
from storage.webhook.delivery import AttemptResult, Trigger, cancel_due, hold_due
from storage.webhook.due_delivery import Claimed, claim_due, lock_due, next_due, reserve_send_slots, withdraw_claim
from storage.webhook.endpoint import find_endpoint

log = logging.getLogger(__name__)

LOOK_SECONDS = 30.0
"""How long a pump sleeps at most when no notification comes."""
FULL_SECONDS = 0.5
"""How long a pump waits when the tenant has as many sends under way as it may."""
LOCKED_SECONDS = 0.5
"""How long a pump waits when somebody else has all rows locked that are due."""
STALE_SECONDS = 0.2
"""A send that waited longer than this for its turn looks again at what it was given."""
OWN_FAULT_SECONDS = 2.0
"""How long a delivery waits that could not be sent for want of something of ours."""
HEARTBEAT_SECONDS = 3.0
SHIFT_SECONDS = 11 * 3600.0
AWAY_SECONDS = 1.0
RECORD_TRIES = 20
NEWS_SECONDS = 10.0
"""A pump runs at least this long before it ends for the workflow to tell that deliveries fail, or do so no more."""
STAY_SECONDS = 10.0
"""While all slots of the process are taken, a pump without work gives its own up after this time, so that no endpoint waits for ever."""
BUSY_STAY_SECONDS = 60.0
"""The same for one with work."""
LEAVES_PER_SECOND = 10.0
"""So many pumps of a process do so in a second at most: each costs Temporal a few tasks, also when nobody waits for the slot."""


class EndpointPump:
    """Serves one endpoint until told to stop. Claims are leases, so two pumps of one endpoint never send the same attempt at once."""

    def __init__(self, pool: Pool, vault: Vault, sender: Sender, given: EndpointInput, *, throttle: Throttle | None = None) -> None:
        self.pool, self.vault, self.sender = pool, vault, sender
        self.throttle = throttle or Throttle()
        self.tenant_id, self.endpoint_id = given.tenant_id, given.endpoint_id
        self.shift = Shift(failing=given.failing)
        self.idle = False
        self._told, self._began = given.failing, time.monotonic()
        self._sends: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()

    async def run(self, wake: asyncio.Event, stop: asyncio.Event) -> Shift:
        """Send until `stop` is set or the endpoint is archived. What is under way is seen to its end, at most the endpoint's time-out."""
        self._wake = wake
        try:
            while not (stop.is_set() or self._has_news()):
                wake.clear()
                try:
                    idle_seconds = await self._take()
                except NotFound:
                    await self._end_what_is_due()
                    self.shift.archived = True
                    break
                except DATABASE_AWAY as error:
                    log.warning("the pump of endpoint %s waits for PostgreSQL: %s", self.endpoint_id, error)
                    idle_seconds = AWAY_SECONDS
                if idle_seconds > 0:
                    self.idle = not self._sends
                    await self._rest(wake, stop, idle_seconds if self.shift.failing is self._told else min(idle_seconds, NEWS_SECONDS))
                    self.idle = False
            if self._sends:
                await asyncio.wait(self._sends)
        finally:
            for send in self._sends:
                send.cancel()
        return self.shift

    def _has_news(self) -> bool:
        return self.shift.failing is not self._told and time.monotonic() >= self._began + NEWS_SECONDS

    @property
    def age_seconds(self) -> float:
        """How long it has had its slot."""
        return time.monotonic() - self._began

    async def _end_what_is_due(self) -> None:
        """What was published while the endpoint was being archived is not among what the archiving cancelled."""
        with contextlib.suppress(*DATABASE_AWAY):  # the sweep looks too
            async with transaction(self.pool) as connection:
                await cancel_due(connection, self.tenant_id, self.endpoint_id, utc_now())

    async def _take(self) -> float:
        """Start what is due and there is room for; answers for how many seconds there is nothing to do. Raises NotFound when archived."""
        room = self.throttle.room(self.tenant_id, self.endpoint_id)
        if room == 0:  # the end of one of its own sends wakes it, that of another endpoint of the tenant does not
            return FULL_SECONDS
        async with transaction(self.pool) as connection:
            endpoint = await find_endpoint(connection, self.tenant_id, self.endpoint_id)
            if not endpoint.enabled:
                await hold_due(connection, self.tenant_id, self.endpoint_id, utc_now())
                return LOOK_SECONDS
            now = utc_now()
            due = await next_due(connection, self.tenant_id, self.endpoint_id)
            if due is None or due > now:
                return LOOK_SECONDS if due is None else min(LOOK_SECONDS, (due - now).total_seconds() + 0.001)
            spacing = timedelta(seconds=1 / endpoint.rate_per_second)
            count = min(room, max(1, int(endpoint.rate_per_second)))
            locked = await lock_due(connection, self.tenant_id, self.endpoint_id, count, now=now)
            if not locked:
                return LOCKED_SECONDS
            # Turns for what is there to be sent and no more: they are shared with the orders that workflows send.
            slot_at = await reserve_send_slots(connection, self.tenant_id, self.endpoint_id, len(locked), spacing=spacing, now=now)
            spare = slot_at - now + spacing * len(locked)
            claimed = await claim_due(connection, self.tenant_id, endpoint, locked, now=now, spare=spare)
            secrets = await open_secrets(connection, self.vault, self.tenant_id, self.endpoint_id)
        for number, each in enumerate(claimed):
            claim = AttemptClaim(delivery=each.delivery, endpoint=endpoint, secrets=secrets, attempt=each.attempt)
            self._start(claim, each, slot_at + spacing * number)
        return 0.0

    def _start(self, claim: AttemptClaim, claimed: Claimed, slot_at: datetime) -> None:
        held = contextlib.ExitStack()
        held.enter_context(self.throttle.taken(self.tenant_id, self.endpoint_id))
        task = asyncio.create_task(self._send(claim, claimed.trigger, slot_at), name=f"send {claim.delivery.delivery_id}")
        self._sends.add(task)
        task.add_done_callback(functools.partial(self._ended, held))

    def _ended(self, held: contextlib.ExitStack, task: asyncio.Task[None]) -> None:
        """Look again: there is room now, and perhaps a retry, which a look that began before this end did not see."""
        held.close()
        self._sends.discard(task)
        self._wake.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a send has failed; it is taken over when its claim ends", exc_info=error)

    async def _rest(self, wake: asyncio.Event, stop: asyncio.Event, seconds: float) -> None:
        waits = [asyncio.create_task(each.wait()) for each in (wake, stop)]
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()

    async def _send(self, claim: AttemptClaim, trigger: Trigger, slot_at: datetime) -> None:
        wait = max(0.0, (slot_at - utc_now()).total_seconds())
        await asyncio.sleep(wait)
        if wait > STALE_SECONDS or claim.delivery.redeemed is not None:
            present = await self._looked_at_again(claim, trigger)
            if present is None:
                return
            claim = present
        try:
            outcome = await exchange(self.sender, claim)
        except OwnFaultError as error:
            log.warning("a send to endpoint %s waits: %s", self.endpoint_id, error)
            async with transaction(self.pool) as connection:
                later = utc_now() + timedelta(seconds=OWN_FAULT_SECONDS)
                await withdraw_claim(connection, self.tenant_id, (claim.delivery, claim.attempt), later)
            return
        self.shift.sent += 1
        for _ in range(RECORD_TRIES):
            try:
                async with transaction(self.pool) as connection:
                    state = await self._record(connection, claim, trigger, outcome)
            except DATABASE_AWAY:
                await asyncio.sleep(AWAY_SECONDS)
            else:
                self.shift.delivered += state is DeliveryState.DELIVERED
                if trigger != "test" and state in (DeliveryState.DELIVERED, DeliveryState.EXHAUSTED):
                    self.shift.failing = state is DeliveryState.EXHAUSTED
                return

    async def _looked_at_again(self, claim: AttemptClaim, trigger: Trigger) -> AttemptClaim | None:
        """The claim with the endpoint and the secrets of now; None when it must not be sent any more.

        Since it was claimed, or resent by hand, its endpoint may have been disabled, or its redemption cancelled and refunded.
        """
        taken = (claim.delivery, claim.attempt)
        async with transaction(self.pool) as connection:
            if await self._is_too_late(connection, claim, trigger):
                await withdraw_claim(connection, self.tenant_id, taken, None)
                return None
            try:
                endpoint = await find_endpoint(connection, self.tenant_id, self.endpoint_id)
            except NotFound:
                endpoint = None
            if endpoint is None or not endpoint.enabled:
                await withdraw_claim(connection, self.tenant_id, taken, utc_now())
                return None
            secrets = await open_secrets(connection, self.vault, self.tenant_id, self.endpoint_id)
        return AttemptClaim(delivery=claim.delivery, endpoint=endpoint, secrets=secrets, attempt=claim.attempt)

    async def _is_too_late(self, connection: Connection, claim: AttemptClaim, trigger: Trigger) -> bool:
        """Whether this is the `reward_redeemed` of a redemption that is over."""
        if claim.delivery.redeemed is None:
            return False
        redemption = await find_redemption(connection, self.tenant_id, claim.delivery.redeemed)
        return is_too_late(redemption, claim.delivery.delivery_id, by_hand=trigger == "manual")

    async def _record(self, connection: Connection, claim: AttemptClaim, trigger: Trigger, outcome: ExchangeOutcome) -> DeliveryState:
        """Log the answer and move the delivery on, and its redemption when this delivery is the one that asks for the fulfilment."""
        now, delivery_id, number = utc_now(), claim.delivery.delivery_id, claim.attempt.number
        redemption = await self._redemption_of(connection, claim)
        present = await deliveries.lock_delivery(connection, self.tenant_id, delivery_id)
        shown = error_class(outcome.status, outcome.error)
        await deliveries.end_attempt(connection, self.tenant_id, delivery_id, number, outcome=outcome, shown=shown, now=now)
        waits = Waits(delays=tuple(claim.endpoint.retry_delays_seconds), jitter=random.uniform(-1, 1))
        result = _planned(result_of(outcome, number, waits, now), present.state, trigger)
        await deliveries.record_result(connection, self.tenant_id, delivery_id, result, now=now)
        if is_gone(outcome):
            await switch_off(connection, self.tenant_id, self.endpoint_id, now)
        if redemption is not None and trigger == "manual":
            answer = shown or f"http_{outcome.status}"
            await tell_attempted(connection, self.tenant_id, redemption.redemption_id, attempt=number, answer=answer)
        if redemption is not None and result.state is DeliveryState.DELIVERED:
            await move_on(connection, redemption, result.state, outcome, from_workflow=False)
        return result.state

    async def _redemption_of(self, connection: Connection, claim: AttemptClaim) -> Redemption | None:
        """The redemption, locked, that this delivery asks to fulfil; None for every other delivery."""
        if claim.delivery.redeemed is None:
            return None
        redemption = await lock_redemption(connection, self.tenant_id, claim.delivery.redeemed)
        return redemption if is_order(redemption, claim.delivery.delivery_id) else None


def _planned(result: AttemptResult, present: DeliveryState, trigger: Trigger) -> AttemptResult:
    """The result as it is kept. Only a scheduled attempt has a ladder; one by hand that fails leaves the delivery as it was."""
    state, due_at = result.state, None
    if state is DeliveryState.DELIVERED:
        pass
    elif trigger == "manual":
        state = present
    elif trigger == "test":
        state = DeliveryState.EXHAUSTED
    elif present not in (DeliveryState.PENDING, DeliveryState.HELD):
        state = present
    elif state is DeliveryState.PENDING:
        state, due_at = present, result.next_attempt_at
    shown_at = due_at if state is DeliveryState.PENDING else None
    return AttemptResult(state=state, status=result.status, error=result.error, next_attempt_at=shown_at, due_at=due_at)


class EndpointActivities:
    """What the endpoints' workflows run; all pumps of a process share one pool, one sender and one wake-up connection."""

    def __init__(self, pool: Pool, vault: Vault, sender: Sender, database_url: str, *, slots: int = limits.ENDPOINT_PUMPS.value) -> None:
        """`slots`: how many pumps the process runs at once."""
        self._pool, self._vault, self._sender, self._slots = pool, vault, sender, slots
        self._running, self._next_leave = 0, 0.0
        self._wakeup = EndpointWakeup(database_url)
        self._throttle = Throttle()

    @activity.defn(name="pump_endpoint")
    async def pump(self, given: EndpointInput) -> Shift:
        """Send the endpoint's deliveries until it is archived, the worker shuts down, or the shift is over."""
        pump, stop = EndpointPump(self._pool, self._vault, self._sender, given, throttle=self._throttle), asyncio.Event()
        with self._wakeup.listening(str(given.endpoint_id)) as wake:
            watching = asyncio.create_task(self._watch(pump, stop), name=f"heartbeat {given.endpoint_id}")
            self._running += 1
            try:
                return await pump.run(wake, stop)
            finally:
                self._running -= 1
                watching.cancel()

    async def _watch(self, pump: EndpointPump, stop: asyncio.Event) -> None:
        """Heartbeat with the count of sends; at the end of worker or shift, or when others may want the slot, tell the pump to stop."""
        ends = time.monotonic() + SHIFT_SECONDS
        while time.monotonic() < ends and not activity.is_worker_shutdown() and not self._makes_room(pump):
            activity.heartbeat(pump.shift)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(activity.wait_for_worker_shutdown(), HEARTBEAT_SECONDS)
        stop.set()
        while True:  # what is under way may take as long as the endpoint's time-out
            activity.heartbeat(pump.shift)
            await asyncio.sleep(HEARTBEAT_SECONDS)

    def _makes_room(self, pump: EndpointPump) -> bool:
        """Whether this pump gives its slot to an endpoint that may wait for one; its own endpoint queues behind that."""
        now = time.monotonic()
        if self._running < self._slots or pump.age_seconds < (STAY_SECONDS if pump.idle else BUSY_STAY_SECONDS) or now < self._next_leave:
            return False
        self._next_leave = now + 1 / LEAVES_PER_SECOND
        return True
