"""The event log for admins: what came, what it did, and what broke scoring (contract 2)."""

from datetime import date, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import get, post
from msgspec import Meta, structs

from api.event.explained import BoardEffect, EventEffects, RuleEffect, effects_of
from api.pagination import Page, decode_cursor, encode_cursor
from api.principal import Principal
from api.query import Between
from api.rule import ADMIN
from domain.errors import EventsExpired, InvalidState, NotFound, ValidationError
from domain.event.event import decode_stored
from domain.event.event_wire import (
    DeadLetterAnswer,
    DeadLetterListAnswer,
    EventEarning,
    EventListAnswer,
    EventSender,
    EventState,
    EventSummary,
    ReplayedEvent,
)
from domain.wire import FreeForm, amount_number, optional_rfc3339, rfc3339
from runtime.ids import utc_now
from runtime.postgres import Connection, Pool, transaction
from runtime.settings import Settings
from storage.event import search as storage
from storage.event.search import END, DeadLetter, FoundEvent, LogPlace, Search
from storage.tenant.tenant import find_tenant
from storage.tenant.user import find_user

SAME_ID = 50
MAX_BOARDS = 200


class EventParams(Between, frozen=True, kw_only=True):
    """Which events."""

    event_id: Annotated[str, Meta(max_length=255)] | None = None
    type: Annotated[str, Meta(max_length=255)] | None = None
    user_id: Annotated[str, Meta(max_length=255, description="The tenant's own id of the user")] | None = None


class SenderParams(msgspec.Struct, frozen=True, kw_only=True):
    """Whose event, where several gamers sent one with this id."""

    user_id: Annotated[str, Meta(max_length=255, description="The tenant's own id of the user")] | None = None


class EventDetails(EventSummary, frozen=True, kw_only=True):
    """An event, and what it did."""

    event: Annotated[FreeForm | None, Meta(description="As it was sent; null when it cannot be read")]
    state: EventState
    dead_letter: DeadLetterAnswer | None
    earnings: list[EventEarning]
    leaderboards: list[BoardEffect]
    earning_rules: list[RuleEffect]


def event_summary(event: FoundEvent) -> EventSummary:
    """An event in a list."""
    return EventSummary(
        event_id=event.event_id,
        type=event.type,
        user_id=event.external_user_id,
        sender=EventSender.GAMER if event.sender else EventSender.SERVER,
        occurred_at=rfc3339(event.occurred_at),
        accepted_at=rfc3339(event.accepted_at),
        position=event.position,
    )


def letter_answer(letter: DeadLetter) -> DeadLetterAnswer:
    """A dead letter as admins see it."""
    return DeadLetterAnswer(
        position=letter.position,
        event_id=letter.event_id,
        reason=letter.reason,
        accepted_at=rfc3339(letter.accepted_at),
        created_at=rfc3339(letter.created_at),
        replayed_at=optional_rfc3339(letter.replayed_at),
    )


def _place(page: Page, until: datetime) -> LogPlace:
    if page.cursor is None:
        return LogPlace(until.date())
    day, position = decode_cursor(page.cursor, 2)
    try:
        return LogPlace(min(date.fromisoformat(day), until.date()), max(0, min(int(position), END)))
    except (TypeError, ValueError, OverflowError):
        raise ValidationError.of("cursor", "is not a cursor for this list") from None


async def _search(connection: Connection, principal: Principal, params: EventParams, partitions: int) -> Search | None:
    """What the query string asks for; None when it names a user whom the tenant does not have."""
    tenant = await find_tenant(connection, principal.tenant_id)
    user_id: UUID | None = None
    if params.user_id is not None:
        user = await find_user(connection, principal.tenant_id, params.user_id)
        if user is None:
            return None
        user_id = user.user_id
    created_at = utc_now() if tenant is None else tenant.created_at
    oldest = created_at - timedelta(days=1)  # nothing of the tenant is older, whatever the clocks of two machines say
    until = utc_now() + timedelta(days=1)
    return Search(
        partitions=range(partitions) if user_id is None else [user_id.bytes[15] % partitions],
        since=oldest if params.since is None else max(params.since, oldest),
        until=until if params.until is None else min(params.until, until),
        type=params.type,
        user_id=user_id,
    )


@get("/v1/admin/events", rule=ADMIN)
async def list_events(params: EventParams, principal: Principal, pool: Pool, settings: Settings, page: Page) -> EventListAnswer:
    """List accepted events, newest first. `from` and `to` are about `accepted_at`.

    A call searches a limited part of the log: a page can be short or even empty and still have a `next_cursor`.
    """
    async with pool.connection() as connection:
        search = await _search(connection, principal, params, settings.scoring_partitions)
        if search is None:
            return EventListAnswer(events=[], next_cursor=None)
        if params.event_id is not None:
            same = await storage.events_of_id(
                connection, principal.tenant_id, params.event_id, range(settings.scoring_partitions), limit=page.limit
            )
            return EventListAnswer(events=[event_summary(each) for each in same if _fits(each, search)], next_cursor=None)
        found, place = await storage.search_events(connection, principal.tenant_id, search, _place(page, search.until), limit=page.limit)
    cursor = None if place is None else encode_cursor(place.day.isoformat(), place.position)
    return EventListAnswer(events=[event_summary(each) for each in found], next_cursor=cursor)


def _fits(event: FoundEvent, search: Search) -> bool:
    return (
        search.type in (None, event.type) and search.user_id in (None, event.user_id) and search.since <= event.accepted_at < search.until
    )


@get("/v1/admin/events/{event_id:path}", rule=ADMIN)
async def get_event(params: SenderParams, event_id: str, principal: Principal, pool: Pool, settings: Settings) -> EventDetails:
    """Get an event with what it did: what each board and each earning rule in force at the time made of it, or why not.

    `user_id` distinguishes events with the same id from several gamers.
    """
    wanted = params.user_id
    async with transaction(pool) as connection:
        same = await storage.events_of_id(
            connection, principal.tenant_id, event_id.removeprefix("/"), range(settings.scoring_partitions), limit=SAME_ID
        )
        event = next((each for each in same if wanted in (None, each.external_user_id)), None)
        if event is None:
            raise NotFound("Event not found")
        document = _document(await storage.event_body(connection, principal.tenant_id, event))
        letter = await storage.find_dead_letter(connection, principal.tenant_id, event.position)
        scored = await storage.scored_position(connection, principal.tenant_id, event.scoring_partition)
        earnings = await storage.earnings_of(connection, principal.tenant_id, event.position)
        state = EventState.SCORED if event.position <= scored else EventState.PENDING
        state = state if letter is None else EventState.DEAD_LETTER
        did = EventEffects()
        if document and state is EventState.SCORED:
            given = {row["rule_id"]: row["amount"] for row in earnings if row["kind"] == "earn"}
            did = await effects_of(connection, principal.tenant_id, event, document=document, given=given)
    return EventDetails(
        **structs.asdict(event_summary(event)),
        event=document and document | {"tenant_id": str(principal.tenant_id)},
        state=state,
        dead_letter=None if letter is None else letter_answer(letter),
        earnings=[_earning(row) for row in earnings],
        leaderboards=did.leaderboards,
        earning_rules=did.earning_rules,
    )


def _document(body: bytes) -> dict[str, Any] | None:
    """The stored event, or None when it cannot be read (which is then what the dead letter says)."""
    try:
        return decode_stored(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _earning(row: dict[str, Any]) -> EventEarning:
    return EventEarning(
        transaction_id=row["transfer_id"],
        rule_id=row["rule_id"],
        currency_id=row["currency_id"],
        amount=amount_number(row["amount"], row["decimal_places"]),
    )


@get("/v1/admin/dead-letters", rule=ADMIN)
async def list_dead_letters(principal: Principal, pool: Pool, page: Page) -> DeadLetterListAnswer:
    """List events that broke scoring, with the reason, newest first."""
    before = END
    if page.cursor is not None:
        (before,) = decode_cursor(page.cursor, 1)
        if not isinstance(before, int) or not 0 <= before <= END:
            raise ValidationError.of("cursor", "is not a cursor for this list")
    async with pool.connection() as connection:
        letters = await storage.list_dead_letters(connection, principal.tenant_id, before=before, limit=page.limit)
    cursor = encode_cursor(letters[-1].position) if len(letters) == page.limit else None
    return DeadLetterListAnswer(dead_letters=[letter_answer(letter) for letter in letters], next_cursor=cursor)


@post("/v1/admin/dead-letters/{position:int}/replay", rule=ADMIN, status_code=202, refusals=(InvalidState, EventsExpired))
async def replay_dead_letter(principal: Principal, position: int, pool: Pool) -> ReplayedEvent:
    """Score an event that broke scoring again, as if it was accepted now: by the current rules, into windows that are open now."""
    if not 0 <= position <= END:
        raise NotFound("Dead letter not found")
    async with transaction(pool) as connection:
        letter = await storage.find_dead_letter(connection, principal.tenant_id, position, lock=True)
        if letter is None:
            raise NotFound("Dead letter not found")
        if letter.replayed_at is not None:
            raise InvalidState("This dead letter has already been replayed", present="replayed")
        new_position = await storage.replay(connection, principal.tenant_id, letter)
        if new_position is None:
            raise EventsExpired("The event is no longer kept")
    return ReplayedEvent(event_id=letter.event_id, position=new_position)


routes: list[Any] = [list_events, get_event, list_dead_letters, replay_dead_letter]
