"""Earning rules: the admin's side (contract 4)."""

from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, delete, get, patch, post, put

from api.declared import As, PartOf
from api.if_match import check_version
from api.pagination import Page
from api.principal import Principal
from api.rule import ADMIN
from domain.errors import LimitReached, NotFound, ValidationError, VersionConflict
from domain.points.earning_rule import EarningRule, parse_earning_rule
from domain.points.earning_rule_wire import EarningRuleAnswer, EarningRuleListAnswer
from domain.wire import rfc3339, score_number
from runtime.ids import new_id, utc_now
from runtime.postgres import Connection, Pool, transaction
from storage.points.currency import find_currency
from storage.points.earning_rule import KeptRule, archive_rule, find_rule, list_rules, write_rule


def rule_answer(kept: KeptRule) -> EarningRuleAnswer:
    """The rule as admins see it."""
    known = {
        "rule_id": kept.rule_id,
        "budget_spent": score_number(kept.budget_spent) if kept.definition.get("budget") is not None else None,
        "active": kept.active,
        "version": kept.version,
        "created_at": rfc3339(kept.created_at),
        "updated_at": rfc3339(kept.updated_at),
    }
    definition = msgspec.to_builtins(msgspec.convert(kept.definition, EarningRule))  # older rows lack what was added since
    return msgspec.convert(definition | known, EarningRuleAnswer)


async def _checked(connection: Connection, principal: Principal, value: Any) -> EarningRule:
    rule = parse_earning_rule(value)
    if await find_currency(connection, principal.tenant_id, rule.currency) is None:
        raise ValidationError.of("currency", "is not a currency of this tenant")
    return rule


async def _present(connection: Connection, principal: Principal, rule_id: UUID, *, lock: bool = False) -> KeptRule:
    kept = await find_rule(connection, principal.tenant_id, rule_id, lock=lock)
    if kept is None:
        raise NotFound("Earning rule not found")
    return kept


@post("/v1/admin/earning-rules", rule=ADMIN, status_code=201, refusals=(LimitReached,))
async def create_earning_rule(data: Annotated[dict[str, Any], As(EarningRule)], principal: Principal, pool: Pool) -> EarningRuleAnswer:
    """Create a rule. It applies to events accepted from now on."""
    async with transaction(pool) as connection:
        rule = await _checked(connection, principal, data)
        return rule_answer(await write_rule(connection, principal.tenant_id, new_id(), rule, now=utc_now()))


@get("/v1/admin/earning-rules", rule=ADMIN)
async def list_earning_rules(principal: Principal, pool: Pool, page: Page) -> EarningRuleListAnswer:
    """List earning rules, newest first."""
    async with transaction(pool) as connection:
        rules = await list_rules(connection, principal.tenant_id, after=page.after_id(), limit=page.limit)
    return EarningRuleListAnswer(earning_rules=[rule_answer(kept) for kept in rules], next_cursor=page.cursor_of(list(rules), "rule_id"))


@get("/v1/admin/earning-rules/{rule_id:uuid}", rule=ADMIN)
async def get_earning_rule(rule_id: UUID, principal: Principal, pool: Pool) -> EarningRuleAnswer:
    """Get an earning rule."""
    async with transaction(pool) as connection:
        return rule_answer(await _present(connection, principal, rule_id))


@put("/v1/admin/earning-rules/{rule_id:uuid}", rule=ADMIN, refusals=(VersionConflict, LimitReached))
async def replace_earning_rule(
    rule_id: UUID, data: Annotated[dict[str, Any], As(EarningRule)], request: Request[Any, Any, Any], principal: Principal, pool: Pool
) -> EarningRuleAnswer:
    """Replace a rule. Events accepted earlier are scored by the version in force at that time."""
    async with transaction(pool) as connection:
        check_version(request, (await _present(connection, principal, rule_id, lock=True)).version)
        rule = await _checked(connection, principal, data)
        return rule_answer(await write_rule(connection, principal.tenant_id, rule_id, rule, now=utc_now()))


@patch("/v1/admin/earning-rules/{rule_id:uuid}", rule=ADMIN, refusals=(VersionConflict, LimitReached))
async def update_earning_rule(
    rule_id: UUID, data: Annotated[dict[str, Any], PartOf(EarningRule)], request: Request[Any, Any, Any], principal: Principal, pool: Pool
) -> EarningRuleAnswer:
    """Change the given fields of a rule."""
    async with transaction(pool) as connection:
        present = await _present(connection, principal, rule_id, lock=True)
        check_version(request, present.version)
        rule = await _checked(connection, principal, {**present.definition, **data})
        return rule_answer(await write_rule(connection, principal.tenant_id, rule_id, rule, now=utc_now()))


@delete("/v1/admin/earning-rules/{rule_id:uuid}", rule=ADMIN, status_code=204)
async def archive_earning_rule(rule_id: UUID, principal: Principal, pool: Pool) -> None:
    """Archive a rule. Events accepted from now on earn nothing by it."""
    async with transaction(pool) as connection:
        if not await archive_rule(connection, principal.tenant_id, rule_id, utc_now()):
            raise NotFound("Earning rule not found")


routes: list[Any] = [
    create_earning_rule,
    list_earning_rules,
    get_earning_rule,
    replace_earning_rule,
    update_earning_rule,
    archive_earning_rule,
]
