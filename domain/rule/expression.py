"""points_expression: a small arithmetic language, parsed into a whitelisted tree and run in IEEE doubles (contract 3).

There are two ways to run a tree, with equal results: `evaluate` (the reference, which also says why there are no points) and `emit`
(Python source in single assignments). In both, what has no value is NaN and NaN stays NaN to the end.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import msgspec

from domain import limits
from domain.errors import ValidationError
from domain.rule.condition import Document, value_at

MAX_LENGTH = 1000
MAX_DEPTH = 32
LIMIT = float(limits.RULE_POINTS.value)
"""A rule's result beyond ± this gives no points."""

NAN = math.nan
_NUMBER = r"(?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)"
_WORD = r"(?P<word>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)"
_TOKEN = re.compile(rf"[ \t\r\n]*(?:{_NUMBER}|{_WORD}|(?P<sign>[-+*/%(),]))", re.ASCII)


class Node(msgspec.Struct, frozen=True):
    """A part of the tree."""


class Number(Node, frozen=True):
    """A literal."""

    value: float


class Path(Node, frozen=True):
    """A value of the event, under `attrs.` or `actor.metadata.`."""

    path: str


class Negative(Node, frozen=True):
    """Unary minus."""

    operand: Node


class Chain(Node, frozen=True):
    """`first op operand op operand …` from left to right: flat, so that a long sum is not a deep tree."""

    first: Node
    rest: tuple[tuple[str, Node], ...]


class Call(Node, frozen=True):
    """One of FUNCTIONS."""

    function: str
    arguments: tuple[Node, ...]


def least(*values: float) -> float:
    """The smallest; NaN if any is NaN."""
    return NAN if any(value != value for value in values) else min(values)


def greatest(*values: float) -> float:
    """The greatest; NaN if any is NaN."""
    return NAN if any(value != value for value in values) else max(values)


def floor(value: float) -> float:
    """The next whole number down; NaN and infinities stay what they are."""
    return float(math.floor(value)) if math.isfinite(value) else value


def ceil(value: float) -> float:
    """The next whole number up; NaN and infinities stay what they are."""
    return float(math.ceil(value)) if math.isfinite(value) else value


def round_half_even(value: float) -> float:
    """The nearest whole number, ties to the even one; NaN and infinities stay what they are."""
    return float(round(value)) if math.isfinite(value) else value


FUNCTIONS: Mapping[str, Callable[..., float]] = {
    "min": least,
    "max": greatest,
    "abs": abs,
    "floor": floor,
    "ceil": ceil,
    "round": round_half_even,
}


def numeric(value: Any) -> float:
    """A value of an event as a double: booleans are 1 and 0; what is no number (or missing) is NaN."""
    return float(value) if type(value) in (float, int, bool) else NAN


def scaled(result: float) -> int | None:
    """A rule's result in 1/10 000 point, half-even; None (no points) if it is not finite or beyond ±LIMIT."""
    if not -LIMIT <= result <= LIMIT:
        return None
    product = result * 10_000.0
    nearest = round(product)
    # The product is exact to 0.002 here, so only near a tie does the exact (slow) rounding of the double itself decide.
    if -0.49 < product - nearest < 0.49:
        return nearest
    return round(round(result, 4) * 10_000.0)


class _Parser:
    """Recursive descent; the depth is checked before each step down."""

    PRECEDENCE: ClassVar[tuple[tuple[str, ...], ...]] = (("+", "-"), ("*", "/", "%"))

    def __init__(self, text: str, field: str) -> None:
        self.text, self.field = text, field
        self.kind: str | None = None
        self.symbol, self.start, self.end = "", 0, 0
        self.step()

    def refusal(self, message: str, start: int | None = None) -> ValidationError:
        position = (self.start if start is None else start) + 1
        return ValidationError.of(self.field, f"{message} (at position {position})")

    def step(self) -> None:
        found = _TOKEN.match(self.text, self.end)
        if found is None:
            rest = self.text[self.end :]
            self.start = self.end + len(rest) - len(rest.lstrip(" \t\r\n"))
            self.kind, self.symbol = None, ""
            if self.start < len(self.text):
                raise self.refusal(f"unexpected {self.text[self.start]!r}")
            return
        self.kind = found.lastgroup
        self.symbol = found[self.kind or 0]
        self.start, self.end = found.start(self.kind or 0), found.end()

    def expect(self, sign: str) -> None:
        if self.symbol != sign:
            raise self.refusal(f"expected {sign!r}" + (f" instead of {self.symbol!r}" if self.symbol else ""))
        self.step()

    def chain(self, level: int, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise self.refusal(f"nested deeper than {MAX_DEPTH}")
        if level == len(self.PRECEDENCE):
            return self.atom(depth)
        first = self.chain(level + 1, depth)
        rest = []
        while self.kind == "sign" and self.symbol in self.PRECEDENCE[level]:
            operator = self.symbol
            self.step()
            rest.append((operator, self.chain(level + 1, depth)))
        return Chain(first, tuple(rest)) if rest else first

    def atom(self, depth: int) -> Node:
        if self.kind == "number":
            return self.number()
        if self.kind == "word":
            return self.word(depth)
        if self.symbol == "-":
            self.step()
            return Negative(self.chain(len(self.PRECEDENCE), depth + 1))
        if self.symbol == "(":
            self.step()
            inner = self.chain(0, depth + 1)
            self.expect(")")
            return inner
        raise self.refusal(f"unexpected {self.symbol!r}" if self.symbol else "unexpected end")

    def number(self) -> Node:
        value = float(self.symbol)
        if not math.isfinite(value):
            raise self.refusal("number is out of range")
        self.step()
        return Number(value)

    def word(self, depth: int) -> Node:
        name, start = self.symbol, self.start
        self.step()
        if self.symbol == "(":
            if name not in FUNCTIONS:
                raise self.refusal(f"unknown function {name!r}; the functions are {', '.join(FUNCTIONS)}", start)
            return self.call(name, start, depth)
        if not name.startswith(("attrs.", "actor.metadata.")):
            raise self.refusal(
                f"unknown name {name!r}: a path starts with attrs. or actor.metadata., as in attrs.{name.rpartition('.')[2]}", start
            )
        return Path(name)

    def call(self, name: str, start: int, depth: int) -> Node:
        self.step()
        arguments = [self.chain(0, depth + 1)]
        while self.symbol == ",":
            self.step()
            arguments.append(self.chain(0, depth + 1))
        self.expect(")")
        if name not in ("min", "max") and len(arguments) != 1:
            raise self.refusal(f"{name} takes one argument", start)
        return Call(name, tuple(arguments))


def parse_expression(text: str, field: str = "points_expression") -> Node:
    """The tree of an expression; ValidationError with the 1-based position of what is wrong."""
    if len(text) > MAX_LENGTH:
        raise ValidationError.of(field, f"is longer than {MAX_LENGTH} characters (at position {MAX_LENGTH + 1})")
    if not text.strip():
        raise ValidationError.of(field, "cannot be empty (at position 1)")
    parser = _Parser(text, field)
    tree = parser.chain(0, 1)
    if parser.start < len(text) or parser.symbol:
        raise parser.refusal(f"unexpected {parser.symbol!r}")
    return tree


def evaluate(node: Node, document: Document) -> tuple[int | None, str | None]:
    """(points in 1/10 000, None), or (None, why there are no points)."""
    reasons: list[str] = []
    result = _value(node, document, reasons)
    points = scaled(result)
    if points is not None:
        return points, None
    if reasons:
        return None, reasons[0]
    return None, "the result is not finite" if not math.isfinite(result) else "the result is beyond ±1000000000"


def _value(node: Node, document: Document, reasons: list[str]) -> float:
    match node:
        case Number():
            return node.value
        case Path():
            value = numeric(value_at(document, node.path))
            if value != value:
                reasons.append(f"{node.path} is missing or not a number")
            return value
        case Negative():
            return -_value(node.operand, document, reasons)
        case Call():
            return FUNCTIONS[node.function](*[_value(argument, document, reasons) for argument in node.arguments])
        case Chain():
            result = _value(node.first, document, reasons)
            for operator, operand in node.rest:
                result = _apply(operator, result, _value(operand, document, reasons), reasons)
            return result
    raise AssertionError(node)


def _apply(operator: str, left: float, right: float, reasons: list[str]) -> float:
    if operator == "+":
        return left + right
    if operator == "-":
        return left - right
    if operator == "*":
        return left * right
    if right == 0:
        reasons.append("division by zero")
        return NAN
    return left / right if operator == "/" else left % right


def emit(node: Node, assign: Callable[[str], str], path: Callable[[str], str]) -> str:
    """Python source of a tree: `assign` binds one operation and returns its name (the same for an equal one), `path` names a path's double.

    The names `_nan` and `_f_<function>` must be bound by the caller. Equal to `evaluate` before `scaled`.
    """
    match node:
        case Number():
            return repr(node.value)
        case Path():
            return path(node.path)
        case Negative():
            return assign(f"-{emit(node.operand, assign, path)}")
        case Call():
            arguments = ", ".join(emit(argument, assign, path) for argument in node.arguments)
            return assign(f"_f_{node.function}({arguments})")
        case Chain():
            result = emit(node.first, assign, path)
            for operator, operand in node.rest:
                right = emit(operand, assign, path)
                guarded = operator in "/%" and not (type(operand) is Number and operand.value)
                result = assign(f"{result} {operator} {right}" + (f" if {right} else _nan" if guarded else ""))
            return result
    raise AssertionError(node)
