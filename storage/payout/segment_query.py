"""A segment as SQL over `app_user`: one statement finds everybody who is in it, by the same rules as `domain.rule.segment`."""

from typing import Any

from psycopg.types.json import Jsonb

from domain.rule.condition import Condition
from domain.rule.segment import UserSegment

TIER_OF = "(SELECT m.tier FROM user_tier AS m WHERE m.tenant_id = u.tenant_id AND m.user_id = u.user_id)"


def segment_clause(segment: UserSegment) -> tuple[str, dict[str, Any]]:
    """What has to hold of `app_user AS u`, and the named parameters, which begin with `segment_`."""
    parts, parameters = ["true"], dict[str, Any]()
    if segment.tiers is not None:
        parts.append(f"coalesce({TIER_OF} = ANY(%(segment_tiers)s), false)")
        parameters["segment_tiers"] = sorted(segment.tiers)
    for number, condition in enumerate(segment.conditions):
        keys = {f"segment_{number}_key_{place}": key for place, key in enumerate(condition.segments)}
        value = "u.attributes" + "".join(f" -> %({name})s::text" for name in keys)
        operand = f"segment_{number}"
        parts.append(_clause(condition, f"({value})", f"%({operand})s"))
        parameters |= keys | {operand: _parameter(condition)}
    return " AND ".join(parts), parameters


def _parameter(condition: Condition) -> Any:
    operand = condition.operand
    is_plain = condition.operator in ("exists", "starts_with", "gt", "gte", "lt", "lte")
    return operand if is_plain or (condition.operator == "contains" and isinstance(operand, str)) else Jsonb(operand)


def _clause(condition: Condition, value: str, operand: str) -> str:
    """SQL's null is a path that is not there; a null in the attributes is a value. Equality of jsonb is that of the conditions."""
    operator = condition.operator
    text = f"({value} #>> '{{}}')"
    if operator == "exists":
        return f"(({value} IS NOT NULL) = {operand})"
    if operator in ("eq", "ne"):
        return f"(coalesce({value} = {operand}::jsonb, false) = {'true' if operator == 'eq' else 'false'})"
    if operator in ("in", "nin"):
        found = f"EXISTS (SELECT FROM jsonb_array_elements({operand}::jsonb) AS listed WHERE listed = {value})"
        return found if operator == "in" else f"NOT {found}"
    if operator == "starts_with":
        return f"(CASE jsonb_typeof({value}) WHEN 'string' THEN starts_with({text}, {operand}::text) ELSE false END)"
    if operator == "contains":
        return _contains(condition, value, operand)
    sign = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}[operator]
    if isinstance(condition.operand, str):  # code points, as the conditions compare
        return f"(CASE jsonb_typeof({value}) WHEN 'string' THEN {text} COLLATE \"C\" {sign} {operand}::text ELSE false END)"
    return f"(CASE jsonb_typeof({value}) WHEN 'number' THEN {text}::numeric {sign} {operand}::numeric ELSE false END)"


def _contains(condition: Condition, value: str, operand: str) -> str:
    if not isinstance(condition.operand, str):
        element, string = f"{operand}::jsonb", "false"
    else:
        element, string = f"to_jsonb({operand}::text)", f"strpos({value} #>> '{{}}', {operand}::text) > 0"
    listed = f"EXISTS (SELECT FROM jsonb_array_elements({value}) AS listed WHERE listed = {element})"
    return f"(CASE jsonb_typeof({value}) WHEN 'string' THEN {string} WHEN 'array' THEN {listed} ELSE false END)"
