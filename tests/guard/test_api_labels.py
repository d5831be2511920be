"""The console tells people in Vietnamese what the API says in English: every refusal, what is wrong with a field, and every reason."""

import ast
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import pytest

from console import api_labels
from console.i18n import LOCALES, locale
from console.labels import WORDS
from console.refusal_labels import WORDS as CODES
from console.refusal_labels import refusal_text
from domain import errors, misfit
from domain.scoring import why
from tests.guard.test_docs import error_codes

REPOSITORY = Path(__file__).parent.parent.parent
FOLDERS = ("api", "domain", "storage", "activities", "loops")
REFUSALS = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, errors.DomainError)}
MACHINES_ONLY = {
    "token.py": "tokens of identity providers and gamers",
    "credential.py": "keys and tokens",
    "admission.py": "keys, tokens, tenants and browsers",
    "credential_text.py": "keys and tokens",
    "guesses.py": "keys that nobody has",
    "principal.py": "tokens of gamers",
    "rule.py": "roles of keys and tokens",
    "socket.py": "WebSockets",
    "middleware.py": "what comes before a route is found",
    "event.py": "events, which the console does not send",
    "ingestion.py": "events, which the console does not send",
    "log.py": "events, which the console does not send",
    "wire.py": "bodies that no JSON writer makes",
    "canonical_json.py": "bodies that no JSON writer makes",
}
"""Files whose sentences the console never gets, with what they are about."""
BUILT_OF_WORDS = {"must be {} {}", "must be a whole number, {}", "has {} {}; at most {} are allowed", "needs at least {} {}"}
"""Sentences with words where others have facts. `test_errors_of_a_body_are_told_in_vietnamese` has each of them."""
TOLD_BY = {"refusal"}
"""Methods that make a refusal of their sentence: the expression's parser."""


def sentences_of(node: ast.AST) -> Iterator[str]:
    """The text with `{}` for each fact; each branch of a choice."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    elif isinstance(node, ast.IfExp):
        yield from sentences_of(node.body)
        yield from sentences_of(node.orelse)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        yield from (first + second for first in sentences_of(node.left) for second in sentences_of(node.right))


def refused(call: ast.Call) -> Iterator[str]:
    """What a call that makes a refusal says."""
    made = call.func
    if isinstance(made, ast.Name) and made.id in REFUSALS and call.args:
        yield from sentences_of(call.args[0])
    elif isinstance(made, ast.Attribute) and made.attr == "of" and isinstance(made.value, ast.Name) and made.value.id in REFUSALS:
        yield from sentences_of(call.args[-1])
    elif isinstance(made, ast.Attribute) and made.attr in TOLD_BY and call.args:
        yield from sentences_of(call.args[0])
    elif isinstance(made, ast.Name) and made.id == "Misfit":
        yield from sentences_of(call.args[-1])
    for given in call.keywords:
        if given.arg in ("reason", "empty_reason"):
            yield from sentences_of(given.value)


def told_in(path: Path) -> Iterator[str]:
    """Every sentence that a file says to a caller."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield from refused(node)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (
            node.name.endswith("_problem") or node.name.startswith("_why") or node.name == "_wrong"
        ):
            for each in ast.walk(node):
                if isinstance(each, ast.Return) and each.value is not None:
                    yield from sentences_of(each.value)


def told() -> dict[str, str]:
    """Every sentence that can reach the console, with the file that says it."""
    found: dict[str, str] = {}
    for folder in FOLDERS:
        for path in sorted((REPOSITORY / folder).rglob("*.py")):
            if path.name not in MACHINES_ONLY:
                found |= dict.fromkeys(told_in(path), str(path.relative_to(REPOSITORY)))
    found |= dict.fromkeys((text for text in why.SENTENCES.values() if text != "{text}"), "domain/scoring/why.py")
    found |= dict.fromkeys([*misfit.PATTERN_WORDS.values(), *misfit._NAMES.values()], "domain/misfit.py")
    return {text: path for text, path in found.items() if text not in BUILT_OF_WORDS and text.replace("{}", "").strip(" :;'()")}


def filled(sentence: str) -> str:
    """The sentence as the API says it, with some fact in each place."""
    numbers = iter(range(3, 100))
    return re.sub(r"{\w*}", lambda _: f"x{next(numbers)}", sentence)


def test_every_sentence_of_the_api_is_there_in_vietnamese() -> None:
    missing = {text: path for text, path in told().items() if api_labels.translated(filled(text)) is None}
    assert not missing, "\n".join(f"{path}: {text}" for text, path in sorted(missing.items()))


def test_a_sentence_without_vietnamese_is_noticed(tmp_path: Path) -> None:
    source = tmp_path / "new.py"
    source.write_text('raise NotFound(f"Badge {name} has flown away")\n')
    assert [text for text in told_in(source) if api_labels.translated(filled(text)) is None] == ["Badge {} has flown away"]


def test_no_vietnamese_sentence_is_left_over() -> None:
    """Each has its longest part in some text of the code, or is what a wrong body is told."""
    texts = set(texts_of_code())
    code = "\n".join([*texts, *(error.message for error in misfit.misfits(BODY, Shape))])
    parts = {english: max(english.split("{}"), key=len).strip() for english in api_labels.vietnamese()}
    assert [english for english, part in parts.items() if part not in code] == []


def texts_of_code() -> Iterator[str]:
    for folder in FOLDERS:
        for path in (REPOSITORY / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                yield from sentences_of(node)


def test_facts_keep_their_number() -> None:
    assert [english for english, text in api_labels.vietnamese().items() if english.count("{}") < text.count("{}")] == []


def test_every_code_and_every_reason_for_a_skipped_recipient_has_its_words() -> None:
    assert error_codes() <= CODES.keys()
    assert {"user_erased", "out_of_codes", "balance_full"} <= WORDS.keys()


@pytest.mark.parametrize(
    ("message", "vietnamese"),
    [
        ("Leaderboard 'weekly' not found", "Không tìm thấy bảng xếp hạng 'weekly'"),
        ("must be a whole number, not a string", "phải là số nguyên, không phải chuỗi ký tự"),
        ("unexpected '+' (at position 4)", "không mong đợi '+' (tại vị trí 4)"),
        ("must have at most 2 decimal places", "phải có tối đa 2 chữ số thập phân"),
        ("a reason that somebody wrote", "a reason that somebody wrote"),
    ],
)
def test_facts_and_phrases_in_a_sentence_are_translated_too(message: str, vietnamese: str) -> None:
    kept = locale.set(LOCALES["vi"])
    try:
        assert api_labels.said(message) == vietnamese
    finally:
        locale.reset(kept)


class Shape(msgspec.Struct, forbid_unknown_fields=True):
    """A member for each way in which a body can be wrong."""

    kind: Literal["one", "two"]
    least: Annotated[int, msgspec.Meta(ge=3)]
    above: Annotated[float, msgspec.Meta(gt=3)]
    most: Annotated[int, msgspec.Meta(le=3)]
    below: Annotated[float, msgspec.Meta(lt=3)]
    fifth: Annotated[int, msgspec.Meta(multiple_of=5)]
    whole: int
    half: int
    name: Annotated[str, msgspec.Meta(min_length=2)]
    short: Annotated[str, msgspec.Meta(max_length=2)]
    few: Annotated[list[int], msgspec.Meta(max_length=1)]
    some: Annotated[list[int], msgspec.Meta(min_length=1)]
    several: Annotated[list[int], msgspec.Meta(min_length=2)]
    pairs: Annotated[dict[str, int], msgspec.Meta(min_length=1)]
    pair: Annotated[dict[str, int], msgspec.Meta(max_length=1)]
    two: Annotated[dict[str, int], msgspec.Meta(min_length=2)]
    either: int | str
    when: datetime
    missing: bool


BODY = {"kind": "three", "least": 1, "above": 1, "most": 9, "below": 9, "fifth": 4, "whole": 1.0, "half": 1.5, "name": "a", "short": "abc"}
BODY |= {
    "few": [1, 2],
    "some": [],
    "several": [1],
    "pairs": {},
    "pair": {"a": 1, "b": 2},
    "two": {},
    "either": [],
    "when": "now",
}


def test_errors_of_a_body_are_told_in_vietnamese() -> None:
    errors = misfit.misfits(BODY, Shape)
    assert {error.field for error in errors} == set(Shape.__struct_fields__)
    assert [each for each in errors if api_labels.translated(each.message) is None] == []


def test_a_refusal_of_fields_names_each_in_vietnamese() -> None:
    kept = locale.set(LOCALES["vi"])
    try:
        details = [{"field": "name", "message": "is required"}, {"field": "stock", "message": "must be at least 0"}]
        told_to_people = refusal_text("VALIDATION_ERROR", "name: is required; stock: must be at least 0", details)
        assert told_to_people == "name: là bắt buộc; stock: phải từ 0 trở lên"
    finally:
        locale.reset(kept)
