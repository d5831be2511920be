"""Writes and compiles the Python function that scores one type of event for all boards and earning rules that look at it.

Only names that this file makes and constants that it binds reach the source; the rules' own words never do (paths and operands are bound
as objects). What several rules share (a path, a condition, an expression, a timeframe) is computed once for an event.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from types import CodeType
from typing import Any

import msgspec

from domain.leaderboard.definition import Aggregation, Timeframe
from domain.leaderboard.standing import Contribution
from domain.leaderboard.window import WindowIndex
from domain.leaderboard.window_sequence import TimelinePart
from domain.points.earning_rule import EarningVersion, RuleEarning, Wish, event_cap, limits_of
from domain.rule.condition import MISSING, Condition, condition_source, parse_conditions, same
from domain.rule.expression import FUNCTIONS, NAN, Node, emit, numeric, parse_expression, scaled

Run = Callable[[Sequence[Any], Any, list[int]], None]
Compiler = Callable[[str], CodeType]
"""Makes code of a module's source. Python's own lets no other thread run meanwhile: seconds, for the longest rules there may be."""


def compile_here(source: str) -> CodeType:
    """Python's own compiler."""
    return compile(source, "<rules>", "exec")


_FIXED: dict[str, Any] = {
    "__builtins__": {},
    "_MISSING": MISSING,
    "_type": type,
    "_str": str,
    "_int": int,
    "_float": float,
    "_bool": bool,
    "_dict": dict,
    "_enumerate": enumerate,
    "_same": same,
    "_numeric": numeric,
    "_scaled": scaled,
    "_nan": NAN,
    "_Contribution": Contribution,
    "_Earning": RuleEarning,
    "_Wish": Wish,
    **{f"_f_{name}": function for name, function in FUNCTIONS.items()},
}


class Code(msgspec.Struct, frozen=True):
    """`run(events, outcome, place)`: `place[0]` is the index of the event at work. `source` is for people and tests; `boards` is how many
    look at an event, those with a timeline once for each segment."""

    run: Run
    source: str
    boards: int = 0


class _Rule(msgspec.Struct, frozen=True):
    conditions: tuple[Condition, ...]
    expression: Node


class _Scope:
    """Lines of one block; a value that an outer block has computed already is not computed again."""

    def __init__(self, writer: "_Writer", indent: int, outer: "_Scope | None" = None) -> None:
        self.writer, self.indent = writer, indent
        self.known: dict[str, str] = dict(outer.known) if outer else {}

    def line(self, text: str) -> None:
        self.writer.lines.append("    " * self.indent + text)

    def value(self, source: str) -> str:
        """The name that holds this expression's value."""
        name = self.known.get(source)
        if name is None:
            name = self.known[source] = self.writer.fresh("v")
            self.line(f"{name} = {source}")
        return name

    def inner(self) -> "_Scope":
        return _Scope(self.writer, self.indent + 1, self)

    def path(self, path: str) -> str:
        """The name that holds the path's value, or MISSING."""
        name = "d"
        for segment in path.split("."):
            key = self.writer.constant(segment)
            guard = "" if name == "d" else f" if _type({name}) is _dict else _MISSING"
            name = self.value(f"{name}.get({key}, _MISSING){guard}")
        return name

    def double(self, path: str) -> str:
        """The name that holds the path's value as a double; NaN when it is missing or no number."""
        return self.value(f"_numeric({self.path(path)})")

    def points(self, expression: Node) -> str:
        """The name that holds the expression's points in 1/10 000, or None."""
        return self.value(f"_scaled({emit(expression, self.value, self.double)})")

    def test(self, conditions: tuple[Condition, ...]) -> str:
        """An expression that is true when all conditions hold."""
        return " and ".join(self.condition(condition) for condition in conditions) or "True"

    def condition(self, condition: Condition) -> str:
        source = condition_source(condition, self.path(condition.path), self.writer.constant)
        return self.known.get(source, source)


class _Writer:
    """Lines and bound constants of one function."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.bound: dict[str, Any] = dict(_FIXED)
        self._constants: dict[Any, str] = {}
        self._names = 0

    def fresh(self, letter: str) -> str:
        self._names += 1
        return f"{letter}{self._names}"

    def constant(self, value: Any) -> str:
        """The name that a value is bound to; one for equal strings and numbers."""
        key = (type(value), value) if isinstance(value, str | int | float | frozenset) else (object, id(value))
        name = self._constants.get(key)
        if name is None:
            name = self._constants[key] = self.fresh("k")
            self.bound[name] = value
        return name


def _parsed(conditions: dict[str, dict[str, Any]], expression: str) -> _Rule:
    return _Rule(parse_conditions(conditions, "conditions"), parse_expression(expression))


def generate(
    boards: Sequence[TimelinePart],
    earning_rules: Sequence[EarningVersion],
    event_type: str,
    index: Callable[..., WindowIndex],
    *,
    compiler: Compiler = compile_here,
) -> Code | None:
    """The code for one event type; None when nothing looks at it. `boards` are the active ones, in each of their segments."""
    wanted = ("*", event_type)
    concerned = []
    for part in boards:
        config = part.board.config
        rules = [_parsed(rule.conditions, rule.points_expression) for rule in config.scoring.rules if rule.event_type in wanted]
        if rules:
            concerned.append((part, parse_conditions(config.scope.filters, "filters"), rules))
    earning = [
        (version, _parsed(version.rule.conditions, version.rule.points_expression))
        for version in earning_rules
        if version.rule.event_type in wanted
    ]
    if not concerned and not earning:
        return None
    writer = _Writer()
    head, loop = _Scope(writer, 1), _Scope(writer, 2)
    writer.lines.append("def run(events, outcome, place):")
    for number, (part, _, _) in enumerate(concerned):
        head.line(f"b{number} = outcome.board({writer.constant(part.board.board_id)})")
    head.line("for i, e in _enumerate(events):")
    for line in ("place[0] = i", "d = e.document", "o = e.occurred_at", "u = e.user_id", "n = u.int"):
        loop.line(line)
    _share(
        loop,
        [filters for _, filters, _ in concerned],
        [rule for _, _, rules in concerned for rule in rules] + [rule for _, rule in earning],
    )
    windows = Counter(writer.constant(index(part.segment.timeframe, part.segment)) for part, _, _ in concerned if not _bounds(part, writer))
    for name, boards_of_it in windows.items():
        if boards_of_it > 1:
            loop.value(f"{name}.find(o)")
    for number, (part, filters, rules) in enumerate(concerned):
        _write_board(loop, number, part, filters, rules=rules, index=index)
    for version, rule in earning:
        _write_earning(loop, version, rule, index)
    source = "\n".join(writer.lines) + "\n"
    exec(compiler(source), writer.bound)  # noqa: S102 - the source is made of our own words only
    return Code(writer.bound["run"], source, len(concerned))


def _share(loop: _Scope, filters: list[tuple[Condition, ...]], rules: list[_Rule]) -> None:
    """Compute at the top of the loop what more than one place asks for, and every path once."""
    conditions = [condition for group in [*filters, *(rule.conditions for rule in rules)] for condition in group]
    sources = Counter(condition_source(condition, loop.path(condition.path), loop.writer.constant) for condition in conditions)
    for source, uses in sources.items():
        if uses > 1:
            loop.value(source)
    expressions = Counter(rule.expression for rule in rules)
    for expression, uses in expressions.items():
        if uses > 1:
            loop.points(expression)


def _write_board(
    loop: _Scope,
    number: int,
    part: TimelinePart,
    filters: tuple[Condition, ...],
    *,
    rules: list[_Rule],
    index: Callable[..., WindowIndex],
) -> None:
    """One board: its filters, the points of its rules, its window, and the user's contribution, in place."""
    scope, board = loop, part.board
    tests = _bounds(part, loop.writer) + ([loop.test(filters)] if filters else [])
    if tests:
        loop.line(f"if {' and '.join(tests)}:")
        scope = loop.inner()
    scope.line("p = None")
    for rule in rules:
        inside = scope
        if rule.conditions:
            scope.line(f"if {scope.test(rule.conditions)}:")
            inside = scope.inner()
        points = inside.points(rule.expression)
        inside.line(f"if {points} is not None:")
        inside.line(f"    p = {points} if p is None else p + {points}")
    scope.line("if p is not None:")
    counted = scope.inner()
    window = counted.value(f"{loop.writer.constant(index(part.segment.timeframe, part.segment))}.find(o)")
    counted.line(f"if {window} is not None:")
    counted.line(f"    s = b{number}.get({window}.key)")
    counted.line("    if s is None:")
    counted.line(f"        s = outcome.open_window({loop.writer.constant(board)}, {window})")
    counted.line("    if e.accepted_at < s.closes_at:")
    for line in _accumulate(board.config.scoring.aggregation):
        counted.line("        " + line)
    counted.line("    else:")
    counted.line("        s.late += 1")


def _bounds(part: TimelinePart, writer: _Writer) -> list[str]:
    """The tests that an event occurred in the segment; none for a board that has only one."""
    tests = [] if part.occurred_from is None else [f"o >= {writer.constant(part.occurred_from)}"]
    return tests + ([] if part.occurred_until is None else [f"o < {writer.constant(part.occurred_until)}"])


def _accumulate(aggregation: Aggregation) -> list[str]:
    """`standing.merge` of the standing with one event, written in place."""
    keeps_best = aggregation in (Aggregation.MAX, Aggregation.MIN)
    lines = [
        "c = s.by_user.get(n)",
        "if c is None:",
        f"    s.by_user[n] = _Contribution(p, 1, {'p, o' if keeps_best else 'None, None'}, o if p else None, o, e.position)",
        "else:",
        "    c.total += p",
        "    c.counted += 1",
        "    if o > c.counted_at: c.counted_at = o",
        "    if p and (c.scored_at is None or o > c.scored_at): c.scored_at = o",
        "    if e.position > c.position: c.position = e.position",
    ]
    if keeps_best:
        sign = ">" if aggregation is Aggregation.MAX else "<"
        lines.append(f"    if p {sign} c.best: c.best = p; c.best_at = o")
        lines.append("    elif p == c.best and o < c.best_at: c.best_at = o")
    return lines


def _write_earning(loop: _Scope, version: EarningVersion, parsed: _Rule, index: Callable[[Timeframe], WindowIndex]) -> None:
    """One earning rule: at most one Earning (a Wish if it has limits) for an event, after `max_per_event`, of a smallest unit or more."""
    constant, rule = loop.writer.constant, version.rule
    tests = [f"o >= {constant(rule.starts_at)}"] if rule.starts_at else []
    tests += [f"o < {constant(rule.ends_at)}"] if rule.ends_at else []
    tests += [loop.test(parsed.conditions)] if parsed.conditions else []
    scope = loop
    if tests:
        loop.line(f"if {' and '.join(tests)}:")
        scope = loop.inner()
    points = scope.points(parsed.expression)
    scope.line(f"if {points} is not None and {points} > 0:")
    cap = event_cap(rule)
    scope.line(f"    g = {points}" if cap is None else f"    g = {points} if {points} < {cap} else {cap}")
    scope.line(f"    a = g // {10 ** (4 - version.decimal_places)}")
    scope.line("    if a > 0:")
    limits = limits_of(version, index)
    if limits is not None:
        scope.line(f"        outcome.wishes.append(_Wish({constant(limits)}, e.position, u, g, o))")
        return
    fixed = f"{constant(version.rule_id)}, u, {constant(rule.currency)}"
    scope.line(f"        outcome.earnings.append(_Earning(e.position, {fixed}, g, a, o))")
