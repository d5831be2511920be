"""Earning rules: the admin's side (contract 4)."""

from typing import Any
from uuid import UUID

from litestar import Request, delete, get, patch, post, put

from api.auth import Principal, allow
from api.if_match import check_version
from api.pagination import Page
from domain.errors import NotFound, ValidationFault
from domain.points.earning_rule import EarningRule, parse_earning_rule
from domain.wire import rfc3339, score_number
from runtime.ids import new_id, utc_now
from runtime.postgres import Connection, Pool, transaction
from storage.points.currency import find_currency
from storage.points.earning_rule import KeptRule, archive_rule, find_rule, list_rules, write_rule

ADMIN = [allow("admin")]


def kept_wire(kept: KeptRule) -> dict[str, Any]:
    """The rule as JSON values."""
    return {
        "rule_id": str(kept.rule_id),
        **kept.definition,
        "budget_spent": score_number(kept.budget_spent) if kept.definition.get("budget") is not None else None,
        "active": kept.active,
        "version": kept.version,
        "created_at": rfc3339(kept.created_at),
        "updated_at": rfc3339(kept.updated_at),
    }


async def _checked(connection: Connection, principal: Principal, value: Any) -> EarningRule:
    rule = parse_earning_rule(value)
    if await find_currency(connection, principal.tenant_id, rule.currency) is None:
        raise ValidationFault.of("currency", "is not a currency of this tenant")
    return rule


async def _present(connection: Connection, principal: Principal, rule_id: UUID, *, lock: bool = False) -> KeptRule:
    kept = await find_rule(connection, principal.tenant_id, rule_id, lock=lock)
    if kept is None:
        raise NotFound("Earning rule not found")
    return kept


@post("/v1/admin/earning-rules", guards=ADMIN, status_code=201)
async def add_rule(data: dict[str, Any], principal: Principal, pool: Pool) -> dict[str, Any]:
    """Create a rule. It applies to events accepted from now on."""
    async with transaction(pool) as connection:
        rule = await _checked(connection, principal, data)
        return kept_wire(await write_rule(connection, principal.tenant_id, new_id(), rule, utc_now()))


@get("/v1/admin/earning-rules", guards=ADMIN)
async def show_rules(principal: Principal, pool: Pool, page: Page) -> dict[str, Any]:
    """The rules, newest first."""
    async with transaction(pool) as connection:
        rules = await list_rules(connection, principal.tenant_id, after=page.after_id(), limit=page.limit)
    return {"earning_rules": [kept_wire(kept) for kept in rules], "next_cursor": page.cursor_of(list(rules), "rule_id")}


@get("/v1/admin/earning-rules/{rule_id:uuid}", guards=ADMIN)
async def show_rule(rule_id: UUID, principal: Principal, pool: Pool) -> dict[str, Any]:
    """One rule."""
    async with transaction(pool) as connection:
        return kept_wire(await _present(connection, principal, rule_id))


@put("/v1/admin/earning-rules/{rule_id:uuid}", guards=ADMIN)
async def replace_rule(
    rule_id: UUID, data: dict[str, Any], request: Request[Any, Any, Any], principal: Principal, pool: Pool
) -> dict[str, Any]:
    """Replace a rule. Events accepted earlier are scored by the version in force at that time."""
    async with transaction(pool) as connection:
        check_version(request, (await _present(connection, principal, rule_id, lock=True)).version)
        rule = await _checked(connection, principal, data)
        return kept_wire(await write_rule(connection, principal.tenant_id, rule_id, rule, utc_now()))


@patch("/v1/admin/earning-rules/{rule_id:uuid}", guards=ADMIN)
async def change_rule(
    rule_id: UUID, data: dict[str, Any], request: Request[Any, Any, Any], principal: Principal, pool: Pool
) -> dict[str, Any]:
    """Change the given fields of a rule."""
    async with transaction(pool) as connection:
        present = await _present(connection, principal, rule_id, lock=True)
        check_version(request, present.version)
        rule = await _checked(connection, principal, {**present.definition, **data})
        return kept_wire(await write_rule(connection, principal.tenant_id, rule_id, rule, utc_now()))


@delete("/v1/admin/earning-rules/{rule_id:uuid}", guards=ADMIN, status_code=204)
async def end_rule(rule_id: UUID, principal: Principal, pool: Pool) -> None:
    """Archive a rule. Events accepted from now on earn nothing by it."""
    async with transaction(pool) as connection:
        if not await archive_rule(connection, principal.tenant_id, rule_id, utc_now()):
            raise NotFound("Earning rule not found")


routes: list[Any] = [add_rule, show_rules, show_rule, replace_rule, change_rule, end_rule]
