"""Ingestion: events come in, one by one or a hundred at once, and are answered when they are durable (contract 2)."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import msgspec
from litestar import Request, Response, post
from litestar.types import Receive, Scope
from msgspec import UNSET

from api.admission import AdmissionControl
from api.event.event_type import TypeMemory
from api.known_query import check_query
from api.middleware import Reply, cors_headers, read_body
from api.principal import Admission, Principal
from api.rule import SENDERS, rule_of
from api.tenant.credential import Authenticator
from domain.errors import DomainError, EventTypeNotDeclared, Forbidden, Unavailable, UserNotFound, ValidationError
from domain.event.event import AcceptedEvent, decode_bulk, readable_event_id, validate_event
from domain.event.event_type import TypeRules
from domain.event.event_wire import (
    AcceptedEventAnswer,
    BatchStatus,
    EventBatch,
    EventBatchResults,
    EventResult,
    EventStatus,
    IngestionEventV1,
)
from runtime.ids import utc_now
from runtime.metrics import EVENTS_REFUSED
from runtime.postgres import Pool
from storage.event.log import GroupCommitWriter, NewEvent, Outcome, is_known

SINGLE = "/v1/events"
BULK = "/v1/events/bulk"
GAMER_EVENT_AGE = timedelta(hours=24)
"""How old an event from a gamer's token may be."""

REPEATED = b',"status":"accepted","duplicate":true}'

_encode = msgspec.json.encode


class Ingest:
    """Answers the two ingest paths as a plain function of the request, in front of Litestar (see `api/middleware.py`)."""

    paths = frozenset({SINGLE, BULK})

    def __init__(
        self, control: AdmissionControl, authenticator: Authenticator, writer: GroupCommitWriter, *, types: TypeMemory, pool: Pool
    ) -> None:
        """`writer` makes events durable; `types` knows the event types that tenants declared; `pool` is for what is rarely asked."""
        self._control, self._rules = control, {SINGLE: rule_of(send_event), BULK: rule_of(send_events)}
        self._authenticator = authenticator
        self._pool = pool
        self._types = types
        self._writer = writer

    async def answer(self, scope: Scope, receive: Receive) -> Reply:
        """The answer, after the commit. Raises what `api/errors.py` maps."""
        headers: list[tuple[bytes, bytes]] = scope["headers"]  # type: ignore[assignment]
        is_single = scope["path"] == SINGLE
        rule = self._rules[scope["path"]]
        admission = None if scope["query_string"] else self._control.admit_plain(headers, rule)
        if admission is None:
            admission = await self._control.admit(scope, rule)
            check_query(scope["query_string"], ())
        body = await read_body(headers, receive)
        reply = await (self._take_one if is_single else self._take_many)(admission, body)
        origin = scope.get("state", {}).get("cors_origin")
        return reply if origin is None else Reply(status=reply.status, body=reply.body, headers=cors_headers(origin))

    async def take(self, admission: Admission, body: bytes, *, is_single: bool) -> Reply:
        """What became of the event, or of the events, in the body of a request that was let in."""
        return await (self._take_one if is_single else self._take_many)(admission, body)

    async def _take_one(self, admission: Admission, body: bytes) -> Reply:
        try:
            tenant = admission.tenant
            rules = None if tenant.any_type_goes else await self._types.rules_of(tenant)
            event = prepare(admission, body, utc_now(), rules)
            await self._check_users(admission, [event])
        except DomainError:
            if (repeated := await self._repeated(admission, body)) is None:
                EVENTS_REFUSED.inc()
                raise
            return Reply(status=202, body=b'{"event_id":' + _encode(repeated) + REPEATED)
        is_new = await self._writer.append(event)
        tail = b',"status":"accepted"}' if is_new else REPEATED
        return Reply(status=202, body=b'{"event_id":' + _encode(event.event_id) + tail)

    async def _take_many(self, admission: Admission, body: bytes) -> Reply:
        bodies, now = decode_bulk(body), utc_now()
        rules = await self._types.rules_of(admission.tenant)
        results: list[EventResult | None] = [None] * len(bodies)
        events: list[NewEvent] = []
        places: list[int] = []
        for place, each in enumerate(bodies):
            try:
                event = prepare(admission, each, now, rules)
                if rules is not None:
                    await asyncio.sleep(0)  # schemas may take their time: let others have a turn
                await self._check_users(admission, [event])
            except DomainError as error:
                repeated = await self._repeated(admission, each)
                results[place] = _failed(readable_event_id(each), error) if repeated is None else _accepted(repeated, is_new=False)
                await asyncio.sleep(0)  # so may finding the words for a refusal
            else:
                events.append(event)
                places.append(place)
        outcomes = await self._writer.append_many(events)
        refusal = next((outcome for outcome in outcomes if isinstance(outcome, Unavailable)), None)
        if refusal is not None and not any(isinstance(outcome, bool) for outcome in outcomes):
            raise refusal  # nothing was accepted: the whole call is a 503, and a retry is safe
        for place, event, outcome in zip(places, events, outcomes, strict=True):
            results[place] = _result(event, outcome)
        return _bulk_reply([result for result in results if result is not None])

    async def _check_users(self, admission: Admission, events: list[NewEvent]) -> None:
        """Raise `UserNotFound` when the tenant wants users to be identified first and one of these is not."""
        if admission.tenant.settings.users == "auto":
            return
        for event in events:
            if not await self._authenticator.user_exists(event.tenant_id, event.external_user_id):
                raise UserNotFound(f"User '{event.external_user_id}' not found")

    async def _repeated(self, admission: Admission, body: bytes) -> str | None:
        """The id of an event that is refused now although it was accepted before; None where it was not.

        What is no event at all stays refused. But an event from a game grows old, types change and users go: a sender that did not hear
        the first answer is to hear it again, not that its event, which counts, was not taken (contract 2, Idempotency).
        """
        principal = admission.principal
        try:
            event = validate_event(body, utc_now())
        except ValidationError:
            return None
        if principal.role == "gamer" and event.user_id != principal.external_user_id:
            return None
        async with self._pool.connection() as connection:
            return event.event_id if await is_known(connection, principal.tenant_id, _sender(principal), event.event_id) else None


def _sender(principal: Principal) -> str:
    return f"g:{principal.external_user_id}" if principal.role == "gamer" else ""


def prepare(admission: Admission, body: bytes, now: datetime, rules: TypeRules | None = None) -> NewEvent:
    """The event in `body` as the principal may send it; raises `ValidationError`, `Forbidden` or `EventTypeNotDeclared`."""
    event = validate_event(body, now)
    principal = admission.principal
    if principal.role == "gamer":
        _check_gamer(event, principal.external_user_id, now)
    if rules is not None:
        rules.check(event.type, event.attrs, body=body, is_gamer=principal.role == "gamer")
    return NewEvent(
        tenant_id=principal.tenant_id,
        sender=_sender(principal),
        event_id=event.event_id,
        type=event.type,
        external_user_id=event.user_id,
        occurred_at=event.occurred_at,
        body=event.body,
    )


def _check_gamer(event: AcceptedEvent, external_id: str | None, now: datetime) -> None:
    if event.user_id != external_id:
        raise Forbidden("This token can only send events for its own user")
    if event.occurred_at < now - GAMER_EVENT_AGE:
        message = "Validation failed: occurred_at is more than 24 hours old"
        raise ValidationError(message, details=[{"field": "occurred_at", "message": message}])


def _result(event: NewEvent, outcome: Outcome) -> EventResult:
    if isinstance(outcome, DomainError):
        return _failed(event.event_id, outcome)
    return _accepted(event.event_id, is_new=outcome)


def _accepted(event_id: str, *, is_new: bool) -> EventResult:
    return EventResult(event_id=event_id, status=EventStatus.ACCEPTED, duplicate=UNSET if is_new else True)


def _failed(event_id: str | None, refusal: DomainError) -> EventResult:
    EVENTS_REFUSED.inc()
    error = refusal.message if isinstance(refusal, ValidationError) else f"{refusal.code}: {refusal.message}"
    return EventResult(event_id=event_id, status=EventStatus.FAILED, error=error)


def _bulk_reply(results: list[EventResult]) -> Reply:
    accepted = sum(result.status is EventStatus.ACCEPTED for result in results)
    some = BatchStatus.PARTIAL if accepted else BatchStatus.FAILED
    status = BatchStatus.ACCEPTED if accepted == len(results) else some
    answer = EventBatchResults(status=status, total=len(results), accepted=accepted, failed=len(results) - accepted, results=results)
    return Reply(status=202, body=_encode(answer))


async def _by_litestar(request: Request[Any, Any, Any], admission: Admission, *, is_single: bool) -> Response[bytes]:
    """For the ways to write these paths that the front leaves to the router."""
    ingest: Ingest = request.app.state.ingest
    body = await read_body(request.scope["headers"], request.receive)  # type: ignore[arg-type]
    reply = await ingest.take(admission, body, is_single=is_single)
    return Response(reply.body, status_code=reply.status, media_type="application/json")


@post(
    SINGLE,
    rule=SENDERS,
    status_code=202,
    body=IngestionEventV1,
    refusals=(EventTypeNotDeclared, UserNotFound),
    answers={202: AcceptedEventAnswer},
)
async def send_event(request: Request[Any, Any, Any], admission: Admission) -> Response[bytes]:
    """Accept one event (IngestionEventV1). The response is sent when it is on disk."""
    return await _by_litestar(request, admission, is_single=True)


@post(BULK, rule=SENDERS, status_code=202, body=EventBatch, answers={202: EventBatchResults})
async def send_events(request: Request[Any, Any, Any], admission: Admission) -> Response[bytes]:
    """Accept 1 to 100 events. Each is handled on its own; the results have the order of the request."""
    return await _by_litestar(request, admission, is_single=False)


routes: list[Any] = [send_event, send_events]
