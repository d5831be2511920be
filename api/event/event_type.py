"""Declared event types: the admin's side, and what each process remembers of them for ingestion (contract 2)."""

from typing import Annotated, Any
from uuid import UUID

import msgspec
import psycopg
from litestar import delete, get, patch, post
from msgspec import UNSET, Meta, UnsetType

from api.pagination import Page, decode_cursor, encode_cursor
from api.principal import Principal
from api.rule import ADMIN
from domain import limits
from domain.errors import AlreadyExists, InvalidState, LimitReached, NotFound, ValidationError
from domain.event.event_type import DeclaredType, EventType, TypeRules, check_schema_shape, check_type_name, count_nodes
from domain.event.event_wire import EventTypeAnswer, EventTypeListAnswer
from domain.rule.pattern import ENGINE
from domain.tenant.tenant import TenantAccess
from domain.wire import rfc3339
from runtime.ids import utc_now
from runtime.json_schema import compile_schema, schema_problem
from runtime.postgres import Connection, Pool, transaction
from runtime.shelf import Recent
from runtime.tasks import SharedAnswers
from storage.event import event_type as storage

KNOWN_TENANTS = 1_000
Description = Annotated[str, Meta(max_length=2_000, examples=["A purchase that was paid"])]


class TypeMemory:
    """The event types of tenants, as compiled checks. Read again when the tenant's `event_types_version` has moved.

    The version comes with the credential's admission, which is at most a second old: no event costs a query of its own.
    """

    def __init__(self, pool: Pool) -> None:
        """Nothing is known yet."""
        self._pool = pool
        self._queries = SharedAnswers("event types")
        self._known = Recent[UUID, tuple[int, dict[str, DeclaredType]]](KNOWN_TENANTS)

    async def rules_of(self, tenant: TenantAccess) -> TypeRules | None:
        """The rules for events of the tenant; None where every type goes."""
        if tenant.any_type_goes:
            return None
        version = tenant.event_types_version
        known = self._known.get(tenant.tenant_id)
        if known is None or known[0] < version:
            types = await self._queries.ask((tenant.tenant_id, version), lambda: self._read(tenant.tenant_id))
            known = (version, types)
            self._known.keep(tenant.tenant_id, known)
        return TypeRules(tenant.settings.event_types == "declared", known[1])

    async def _read(self, tenant_id: UUID) -> dict[str, DeclaredType]:
        async with self._pool.connection() as connection:
            types = await storage.list_types(connection, tenant_id, after=None, limit=limits.EVENT_TYPES.value)
        return {each.name: _compiled(each) for each in types}


def _compiled(declared: EventType) -> DeclaredType:
    if declared.schema is None:
        return DeclaredType(declared.server_only, None, 0)
    return DeclaredType(declared.server_only, compile_schema(declared.schema, ENGINE), count_nodes(declared.schema))


SchemaForm = Annotated[
    dict[str, Any],
    Meta(description="Of `attrs`", examples=[{"type": "object", "properties": {"amount": {"type": "number"}}, "required": ["amount"]}]),
]


class EventTypeBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What is said of a new type. `schema` is a JSON Schema (2020-12) for attrs, without references."""

    name: Annotated[str, Meta(examples=["purchase.settled"])]
    description: Description | None = None
    schema: SchemaForm | None = None
    server_only: bool = False
    is_system: bool = False


class EventTypeChange(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is changed of a type; what is not given stays."""

    description: Description | UnsetType | None = UNSET
    schema: SchemaForm | UnsetType | None = UNSET
    server_only: bool | UnsetType = UNSET


def type_answer(declared: EventType) -> EventTypeAnswer:
    """The type as its tenant sees it."""
    return EventTypeAnswer(
        name=declared.name,
        description=declared.description,
        schema=declared.schema,
        server_only=declared.server_only,
        is_system=declared.is_system,
        created_at=rfc3339(declared.created_at),
        updated_at=rfc3339(declared.updated_at),
    )


def _check_schema(schema: dict[str, Any] | None) -> None:
    if schema is None:
        return
    check_schema_shape(schema)
    problem = schema_problem(schema)
    if problem is not None:
        raise ValidationError.of("schema", f"is not a JSON Schema: {problem}")


async def _present(connection: Connection, tenant_id: UUID, name: str) -> EventType:
    declared = await storage.find_type(connection, tenant_id, name)
    if declared is None:
        raise NotFound("Event type not found")
    return declared


@post("/v1/admin/event-types", rule=ADMIN, refusals=(AlreadyExists, LimitReached))
async def create_event_type(principal: Principal, data: EventTypeBody, pool: Pool) -> EventTypeAnswer:
    """Declare an event type."""
    check_type_name(data.name)
    _check_schema(data.schema)
    now = utc_now()
    declared = EventType(**msgspec.structs.asdict(data), created_at=now, updated_at=now)
    try:
        async with transaction(pool) as connection:
            await storage.begin_change(connection, principal.tenant_id)
            await storage.insert_type(connection, principal.tenant_id, declared)
    except psycopg.errors.UniqueViolation:
        raise AlreadyExists("An event type with this name already exists") from None
    return type_answer(declared)


@get("/v1/admin/event-types", rule=ADMIN)
async def list_event_types(principal: Principal, pool: Pool, page: Page) -> EventTypeListAnswer:
    """List the declared event types by name."""
    after = None if page.cursor is None else str(decode_cursor(page.cursor, 1)[0])
    async with pool.connection() as connection:
        types = await storage.list_types(connection, principal.tenant_id, after=after, limit=page.limit)
    cursor = encode_cursor(types[-1].name) if len(types) == page.limit else None
    return EventTypeListAnswer(event_types=[type_answer(each) for each in types], next_cursor=cursor)


@get("/v1/admin/event-types/{name:str}", rule=ADMIN)
async def get_event_type(principal: Principal, name: str, pool: Pool) -> EventTypeAnswer:
    """Get a declared event type."""
    async with pool.connection() as connection:
        return type_answer(await _present(connection, principal.tenant_id, name))


@patch("/v1/admin/event-types/{name:str}", rule=ADMIN)
async def update_event_type(principal: Principal, name: str, data: EventTypeChange, pool: Pool) -> EventTypeAnswer:
    """Change the given fields of an event type. Events accepted within the next second may still be checked against the old ones."""
    _check_schema(None if isinstance(data.schema, UnsetType) else data.schema)
    given = {field: value for field, value in msgspec.structs.asdict(data).items() if value is not UNSET}
    async with transaction(pool) as connection:
        await storage.begin_change(connection, principal.tenant_id)
        present = await _present(connection, principal.tenant_id, name)
        declared = msgspec.structs.replace(present, **given, updated_at=utc_now())
        await storage.update_type(connection, principal.tenant_id, declared)
    return type_answer(declared)


@delete("/v1/admin/event-types/{name:str}", rule=ADMIN, status_code=204, refusals=(InvalidState,))
async def delete_event_type(principal: Principal, name: str, pool: Pool) -> None:
    """Delete an event type, unless it is a system type. Accepted events of the type are kept."""
    async with transaction(pool) as connection:
        await storage.begin_change(connection, principal.tenant_id)
        if (await _present(connection, principal.tenant_id, name)).is_system:
            raise InvalidState("A system event type cannot be deleted", present="system")
        await storage.delete_type(connection, principal.tenant_id, name)


routes: list[Any] = [create_event_type, list_event_types, get_event_type, update_event_type, delete_event_type]
