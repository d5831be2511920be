"""What each board and each earning rule made of one event, recomputed by the versions in force when it was accepted (contract 2)."""

from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta, structs

from domain import limits
from domain.leaderboard.board_wire import LeaderboardId, WindowKey
from domain.leaderboard.definition import BoardStatus, BoardVersion
from domain.points.earning_limit import NOTHING_KNOWN, periods_of
from domain.points.earning_rule import EarningVersion
from domain.points.ledger_wire import CurrencyId
from domain.scoring.earning_why import Known, Promise, promise, why_less
from domain.scoring.rules import Explanation, RuleBook, ScorableEvent, explain
from domain.scoring.why import SilenceCause, Why, at_instant, sentence
from domain.tenant.erasure import PREFIX
from domain.wire import Id, Number, amount_number, score_number
from runtime.postgres import Connection
from storage.event.search import FoundEvent
from storage.leaderboard.definition import boards_by_id, find_window
from storage.points.earning_limit import budgets_spent, facts_of, usage_of
from storage.points.ledger import accounts_of
from storage.scoring.rule_book import load_rule_book

MOST_RULES = 20
"""So many rules of a board that gave nothing say why."""
ERASED = Why(code=SilenceCause.USER_ERASED)


class FailedRule(msgspec.Struct, frozen=True, kw_only=True):
    """A rule of a board that gave nothing, and why."""

    rule: Annotated[int, Meta(description="Its place in the list of rules, from 0", examples=[0])]
    event_type: str
    why: Why | None
    reason: Annotated[str | None, Meta(description="`why` in words")]


class BoardEffect(msgspec.Struct, frozen=True, kw_only=True):
    """What a board made of an event, or why it made nothing of it."""

    leaderboard_id: LeaderboardId
    version: Annotated[int | None, Meta(description="Of the definition in force then; null before the first")]
    counted: bool = False
    points: Number | None = None
    window_key: WindowKey | None = None
    why: Why | None = None
    reason: Annotated[str | None, Meta(description="`why` in words")] = None
    rules: Annotated[list[FailedRule], Meta(description="Its rules that gave nothing")] = []

    def silent(self, why: Why, rules: Sequence[FailedRule] = ()) -> "BoardEffect":
        """The same board, which made nothing of the event."""
        return structs.replace(self, why=why, reason=sentence(why), rules=list(rules))


class RuleEffect(msgspec.Struct, frozen=True, kw_only=True):
    """What an earning rule gave for an event, or why it gave less than it promised."""

    rule_id: Id
    name: str
    version: int
    currency_id: CurrencyId
    matched: bool
    promised: Number
    given: Number
    why: Why | None
    reason: Annotated[str | None, Meta(description="`why` in words")]


class EventEffects(msgspec.Struct, frozen=True, kw_only=True):
    """What boards and earning rules made of an event, those that did something first."""

    leaderboards: list[BoardEffect] = []
    earning_rules: list[RuleEffect] = []


async def effects_of(
    connection: Connection, tenant_id: UUID, event: FoundEvent, *, document: dict[str, Any], given: Mapping[str, int]
) -> EventEffects:
    """What boards and earning rules made of the event. `given`: what rules gave, by id, in the smallest unit."""
    book = await load_rule_book(connection, tenant_id, event.accepted_at, between=False)
    told = document | {"tenant_id": str(tenant_id)}
    scorable = ScorableEvent(event.position, event.accepted_at, event.occurred_at.astimezone(UTC), event.user_id, told)
    return EventEffects(
        leaderboards=await _boards(connection, tenant_id, book, event=event, scorable=scorable),
        earning_rules=await _rules(connection, tenant_id, book, event=event, scorable=scorable, given=given),
    )


async def _boards(
    connection: Connection, tenant_id: UUID, book: RuleBook, *, event: FoundEvent, scorable: ScorableEvent
) -> list[BoardEffect]:
    then = {board.board_id: board for board in book.boards if board.valid_from <= event.accepted_at}
    now = {board.board_id: board for board in book.boards}
    first = {board.board_id: board.valid_from for board in reversed(book.boards)}
    active = [board for board in now.values() if BoardStatus.ACTIVE in (board.status, (then.get(board.board_id) or board).status)]
    ordered = sorted(active, key=lambda board: not _looks_at(then.get(board.board_id) or board, event.type))[: limits.EXPLAINED.value]
    names = await boards_by_id(connection, tenant_id, [board.board_id for board in ordered])
    said = []
    for board in ordered:
        version = then.get(board.board_id)
        effect = BoardEffect(leaderboard_id=names[board.board_id].leaderboard_id, version=version.version if version else None)
        if version is None:
            said.append(effect.silent(at_instant(SilenceCause.NOT_IN_FORCE, first[board.board_id])))
        else:
            said.append(await _board(connection, tenant_id, version, event=event, scorable=scorable, effect=effect))
    return sorted(said, key=lambda each: not each.counted)


def _looks_at(board: BoardVersion, event_type: str) -> bool:
    return any(rule.event_type in ("*", event_type) for rule in board.config.scoring.rules)


async def _board(
    connection: Connection, tenant_id: UUID, version: BoardVersion, *, event: FoundEvent, scorable: ScorableEvent, effect: BoardEffect
) -> BoardEffect:
    """What this version of a board made of the event."""
    if _is_erased(event):
        return effect.silent(ERASED)
    try:
        said = explain(version, event.type, scorable)
    except Exception as error:  # what breaks scoring breaks its explanation too: that is the explanation
        return effect.silent(Why(code=SilenceCause.BROKEN, text=f"{type(error).__name__}: {error}"))
    if said.why is not None or said.window is None:
        return effect.silent(said.why or Why(code=SilenceCause.OUTSIDE_TIME), _failed_rules(said, event.type))
    row = await find_window(connection, tenant_id, version.board_id, said.window.key)
    closes_at = row.closes_at if row else said.window.closes_at(version.config.timeframe.grace_seconds)
    late = closes_at is not None and event.accepted_at >= closes_at
    counted = structs.replace(
        effect,
        counted=not late,
        points=None if said.points is None else score_number(said.points),
        window_key=said.window.key,
    )
    return counted.silent(Why(code=SilenceCause.WINDOW_CLOSED)) if late else counted


def _failed_rules(said: Explanation, event_type: str) -> list[FailedRule]:
    """The rules that look at the event's type, when none of them gave points; else nothing."""
    if said.why is None or said.why.code is not SilenceCause.NO_RULE:
        return []
    concerned = [rule for rule in said.rules if rule.event_type in ("*", event_type)][:MOST_RULES]
    return [FailedRule(rule=rule.rule, event_type=rule.event_type, why=rule.why, reason=rule.reason) for rule in concerned]


def _is_erased(event: FoundEvent) -> bool:
    return event.external_user_id.startswith(PREFIX)


async def _rules(
    connection: Connection,
    tenant_id: UUID,
    book: RuleBook,
    *,
    event: FoundEvent,
    scorable: ScorableEvent,
    given: Mapping[str, int],
) -> list[RuleEffect]:
    then = {version.rule_id: version for version in book.earning_rules if version.valid_from <= event.accepted_at}
    now = {version.rule_id: version for version in book.earning_rules}
    first = {version.rule_id: version.valid_from for version in reversed(book.earning_rules)}
    rules = book.rules_at(event.accepted_at)
    said = []
    for version in now.values():
        past = then.get(version.rule_id)
        if not version.rule.active and (past is None or not past.rule.active):
            continue
        if past is None:
            said.append(Promise(version=version, matched=False, why=at_instant(SilenceCause.NOT_IN_FORCE, first[version.rule_id])))
        elif not past.rule.active:
            said.append(Promise(version=past, matched=False, why=Why(code=SilenceCause.INACTIVE, text="the rule was not active then")))
        elif _is_erased(event):
            said.append(Promise(version=past, matched=False, why=ERASED))
        else:
            said.append(_promise(past, event.type, scorable, rules.window_index))
    said.sort(key=lambda each: (not given.get(str(each.version.rule_id)), each.version.rule.event_type not in ("*", event.type)))
    said = said[: limits.EXPLAINED.value]
    lacking = [each for each in said if given.get(str(each.version.rule_id), 0) < each.amount]
    known = await _known(connection, tenant_id, event, lacking)
    return [_rule(each, given.get(str(each.version.rule_id), 0), known) for each in said]


def _promise(version: EarningVersion, event_type: str, scorable: ScorableEvent, index: Any) -> Promise:
    try:
        return promise(version, event_type, scorable, index)
    except Exception as error:  # as with boards
        return Promise(version=version, matched=False, why=Why(code=SilenceCause.BROKEN, text=f"{type(error).__name__}: {error}"))


async def _known(connection: Connection, tenant_id: UUID, event: FoundEvent, lacking: Sequence[Promise]) -> Known:
    """What keeps these from giving what they promise, beyond the event: four look-ups, whatever their number."""
    if not lacking:
        return Known()
    wishes = [each.wish for each in lacking if each.wish is not None]
    accounts = await accounts_of(connection, tenant_id, event.user_id)
    keys = [key for wish in wishes for key, _ in periods_of(wish)]
    facts = await facts_of(connection, [(tenant_id, event.user_id)])
    return Known(
        balances={account.currency_id: account.posted + account.pending for account in accounts},
        facts=facts.get(event.user_id, NOTHING_KNOWN),
        usage=await usage_of(connection, dict.fromkeys((key[0] for key in keys), tenant_id), keys),
        spent=await budgets_spent(connection, tenant_id, [wish.limits.rule_id for wish in wishes]),
    )


def _rule(of: Promise, given: int, known: Known) -> RuleEffect:
    version, why = of.version, why_less(of, given, known)
    return RuleEffect(
        rule_id=version.rule_id,
        name=version.rule.name,
        version=version.version,
        currency_id=version.rule.currency,
        matched=of.matched,
        promised=amount_number(of.amount, version.decimal_places),
        given=amount_number(given, version.decimal_places),
        why=why,
        reason=None if why is None else sentence(why),
    )
