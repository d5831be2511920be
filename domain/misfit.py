"""What is wrong with a body, in words for whoever wrote it: every error at once, each at its place, with the choices and the near miss.

msgspec decides whether a body fits, and stops at the first error with words for programmers of Python. Only when it refuses is the value
walked here beside its type. The walk is bounded by the body; at most `MOST_ERRORS` are told, near misses are looked for among these alone,
and what the sender wrote is repeated cut short.
"""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from itertools import islice
from typing import Annotated, Any, NamedTuple
from uuid import UUID

import msgspec
from msgspec import Meta, inspect

MOST_ERRORS = 20
SHOWN_CHARACTERS = 60
PLACE_LEVELS = 16
LIKENESS = 0.75
_ALIASES: Mapping[str, tuple[str, ...]] = {
    "event_type": ("type",),
    "reward_slug": ("slug",),
    "price": ("prices",),
    "user": ("user_id", "external_user_id"),
    "user_id": ("external_user_id", "external_id", "external_ids"),
    "id": ("event_id", "external_id"),
    "average": ("avg",),
    "ttl": ("ttl_seconds",),
}
"""What people write for a name that is not like theirs. It is proposed only where the body knows such a member and lacks it."""
PATTERN_WORDS: Mapping[str, str] = {
    r"^https?://[^\s]+$": "must be a URL that starts with https:// or http://",
    r"^[^/\x00-\x1f]+$": "must not contain '/' or a control character",
    r"^(\*|https?://[A-Za-z0-9.\[\]:-]+)$": "must be an origin such as https://play.example.com, without a path, or *",
}
"""What the patterns of members ask for, said in words."""
MAX_WHOLE_AS_FLOAT = 2**53 - 1


class Misfit(NamedTuple):
    """One error: the member as clients write it (`config.timeframe.type`), and what is wrong, as the end of a sentence."""

    field: str
    message: str


def misfits(value: Any, shape: Any, prefix: str = "") -> list[Misfit]:
    """Every error of a decoded JSON value as `shape`, in the order of the shape's members; empty when this walk finds none."""
    errors: list[Misfit] = []
    for error in _walk(value, inspect.type_info(shape), prefix):
        errors.append(error)
        if len(errors) == MOST_ERRORS:
            break
    return errors


def near_miss(name: str, known: Iterable[str], likeness: float = LIKENESS) -> str | None:
    """The known name that this one was probably meant to be: other case, other separators, another spelling; None when nothing is like."""
    folded: dict[str, str] = {}
    for each in known:
        folded.setdefault(_folded(each), each)
    name = name[:SHOWN_CHARACTERS]
    wanted = _folded(name)
    if wanted in folded:
        return folded[wanted]
    for alias in _ALIASES.get(name, ()):
        if alias in folded.values():
            return alias
    close = difflib.get_close_matches(wanted, folded, n=1, cutoff=likeness)
    return folded[close[0]] if close else None


def _folded(name: str) -> str:
    """`fulfillmentData`, `fulfilment-data` and `fulfillment_data` are one word."""
    return re.sub(r"[^a-z0-9]", "", name.lower()).replace("fulfillment", "fulfilment")


def choice_problem(value: Any, choices: Iterable[Any]) -> str:
    """Why this is none of the choices, which are listed."""
    known = [str(choice) for choice in choices]
    listed = ", ".join(known)
    meant = near_miss(value, known) if isinstance(value, str) else None
    proposed = f"; did you mean {meant}?" if meant is not None and meant != value else ""
    return f"{shown(value)} is not one of {listed}{proposed}"


def unknown_member(name: str, known: Iterable[str]) -> str:
    """What to say of a member that is not known here."""
    meant = near_miss(name, known)
    return "is not a known member" + (f"; did you mean {meant}?" if meant is not None else "")


def shown(value: Any) -> str:
    """A value as its sender wrote it, cut short."""
    if isinstance(value, str):
        value = value[: SHOWN_CHARACTERS + 1]
    text = msgspec.json.encode(value).decode() if isinstance(value, str | int | float | bool | None) else kind_of(value)
    return cut(text)


def cut(text: str) -> str:
    """A text of the sender's as it is repeated to it: whole when it is short."""
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"


def place_of(path: Sequence[str | int]) -> str:
    """Names and numbers as clients write a place, `config.rules[0].filters`, at most its first levels."""
    place = ""
    for step in path[:PLACE_LEVELS]:
        place = f"{place}[{step}]" if isinstance(step, int) else _member(place, step)
    return place if len(path) <= PLACE_LEVELS else place + "…"


def kind_of(value: Any) -> str:
    """What a JSON value is, with its article."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    kinds: Mapping[type, str] = {str: "a string", int: "a whole number", float: "a number", list: "a list", dict: "an object"}
    return kinds.get(type(value), "something else")


_NAMES: Mapping[type[inspect.Type], str] = {
    inspect.NoneType: "null",
    inspect.BoolType: "true or false",
    inspect.IntType: "a whole number",
    inspect.FloatType: "a number",
    inspect.DecimalType: "a number",
    inspect.StrType: "a string",
    inspect.UUIDType: "a UUID",
    inspect.DateTimeType: "an RFC 3339 time with an offset, such as 2025-11-18T12:00:00Z",
    inspect.DateType: "a date, such as 2025-11-18",
    inspect.StructType: "an object",
    inspect.TypedDictType: "an object",
    inspect.DictType: "an object",
    inspect.ListType: "a list",
    inspect.VarTupleType: "a list",
    inspect.TupleType: "a list",
    inspect.SetType: "a list",
    inspect.FrozenSetType: "a list",
}


_FORMATS: Mapping[type[inspect.Type], Any] = {
    inspect.DateTimeType: Annotated[datetime, Meta(tz=True)],
    inspect.UUIDType: UUID,
    inspect.DateType: date,
}


def _walk(value: Any, kind: inspect.Type, place: str) -> Iterator[Misfit]:
    if isinstance(kind, inspect.Metadata):
        yield from _walk(value, kind.type, place)
    elif isinstance(kind, inspect.UnionType):
        yield from _walk_union(value, kind, place)
    elif isinstance(kind, inspect.StructType) and isinstance(value, dict):
        yield from _walk_struct(value, kind, place)
    elif isinstance(kind, inspect.ListType | inspect.VarTupleType | inspect.SetType | inspect.FrozenSetType) and isinstance(value, list):
        yield from _of_size(value, kind, place=place, one="entry", several="entries")
        for number, item in enumerate(value[: getattr(kind, "max_length", None)]):  # what is too much has been told
            yield from _walk(item, kind.item_type, f"{place}[{number}]")
    elif isinstance(kind, inspect.DictType) and isinstance(value, dict):
        yield from _of_size(value, kind, place=place, one="member", several="members")
        for name, item in islice(value.items(), kind.max_length):
            yield from _walk(item, kind.value_type, _member(place, name))
    elif isinstance(kind, inspect.EnumType):
        choices = [member.value for member in kind.cls]
        if value not in choices or isinstance(value, bool):
            yield Misfit(place, choice_problem(value, choices))
    elif isinstance(kind, inspect.LiteralType):
        if value not in kind.values or isinstance(value, bool):
            yield Misfit(place, choice_problem(value, kind.values))
    elif (problem := _leaf_problem(value, kind)) is not None:
        yield Misfit(place, problem)


def _member(place: str, name: str) -> str:
    return f"{place}.{cut(name)}" if place else cut(name)


def _walk_struct(value: dict[str, Any], kind: inspect.StructType, place: str) -> Iterator[Misfit]:
    known = {field.encode_name: field for field in kind.fields}
    tag = {kind.tag_field} if kind.tag_field is not None else set()
    unknown = (name for name in value if name not in known and name not in tag) if kind.forbid_unknown_fields else ()
    strange = list(islice(unknown, MOST_ERRORS))  # a body of thousands must not be compared with everything that is known here
    meant = {near_miss(name, known) for name in strange}
    for name, field in known.items():
        if name in value:
            yield from _walk(value[name], field.type, _member(place, name))
        elif field.required and name not in meant:  # the misspelt one says it already
            yield Misfit(_member(place, name), "is required")
    missing = [name for name in known if name not in value]
    for name in strange:
        yield Misfit(_member(place, str(name)), unknown_member(str(name), missing))


def _walk_union(value: Any, kind: inspect.UnionType, place: str) -> Iterator[Misfit]:
    """The errors beside the member of the union that is of the value's kind; when none is, what would have been."""
    tried = [list(islice(_walk(value, each, place), MOST_ERRORS)) for each in kind.types]
    if any(not errors for errors in tried):
        return
    tagged = [each for each in kind.types if isinstance(each, inspect.StructType) and each.tag_field is not None]
    if tagged and isinstance(value, dict):
        field = str(tagged[0].tag_field)
        own = next((each for each in tagged if each.tag == value.get(field)), None)
        if own is not None:
            yield from _walk(value, own, place)
        elif field in value:
            yield Misfit(_member(place, field), choice_problem(value[field], [each.tag for each in tagged]))
        else:
            yield Misfit(_member(place, field), f"is required: one of {', '.join(str(each.tag) for each in tagged)}")
        return
    same_kind = [errors for each, errors in zip(kind.types, tried, strict=True) if _is_of_kind(value, each)]
    if same_kind:
        yield from same_kind[0]
        return
    names = list(dict.fromkeys(_name(each) for each in kind.types if not isinstance(each, inspect.NoneType)))
    if "a number" in names and "a whole number" in names:
        names.remove("a whole number")
    yield Misfit(place, f"must be {' or '.join(names)}, not {kind_of(value)}")


def _is_of_kind(value: Any, kind: inspect.Type) -> bool:
    if isinstance(kind, inspect.Metadata):
        return _is_of_kind(value, kind.type)
    if isinstance(value, dict):
        return isinstance(kind, inspect.StructType | inspect.DictType | inspect.TypedDictType)
    if isinstance(value, list):
        return isinstance(kind, inspect.ListType | inspect.VarTupleType | inspect.SetType | inspect.FrozenSetType)
    if isinstance(value, bool):
        return isinstance(kind, inspect.BoolType)
    if isinstance(value, str):
        textual = inspect.StrType | inspect.EnumType | inspect.LiteralType | inspect.DateTimeType | inspect.UUIDType | inspect.DateType
        return isinstance(kind, textual)
    return isinstance(value, int | float) and isinstance(kind, inspect.IntType | inspect.FloatType)


def _name(kind: inspect.Type) -> str:
    if isinstance(kind, inspect.Metadata):
        return _name(kind.type)
    if isinstance(kind, inspect.EnumType):
        return "one of " + ", ".join(str(member.value) for member in kind.cls)
    if isinstance(kind, inspect.LiteralType):
        return "one of " + ", ".join(str(choice) for choice in kind.values)
    return _NAMES.get(type(kind), "another value")


def _leaf_problem(value: Any, kind: inspect.Type) -> str | None:
    if isinstance(kind, inspect.AnyType | inspect.RawType):
        return None
    if isinstance(kind, inspect.StrType):
        return _text_problem(value, kind) if isinstance(value, str) else _wrong(kind, value)
    if isinstance(kind, inspect.IntType | inspect.FloatType):
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number:
            return _wrong(kind, value)
        if isinstance(kind, inspect.IntType) and isinstance(value, float):
            whole = value.is_integer() and abs(value) <= MAX_WHOLE_AS_FLOAT
            return f"must be a whole number, {f'written as {int(value)}' if whole else f'not {shown(value)}'}"
        return _number_problem(value, kind)
    if isinstance(kind, inspect.BoolType):
        return None if isinstance(value, bool) else _wrong(kind, value)
    if isinstance(kind, inspect.NoneType):
        return None if value is None else _wrong(kind, value)
    if isinstance(kind, inspect.DateTimeType | inspect.UUIDType | inspect.DateType):
        return _formatted_problem(value, kind)
    return _wrong(kind, value) if type(kind) in _NAMES else None


def _wrong(kind: inspect.Type, value: Any) -> str:
    return f"must be {_name(kind)}, not {kind_of(value)}"


def _formatted_problem(value: Any, kind: inspect.DateTimeType | inspect.UUIDType | inspect.DateType) -> str | None:
    try:
        msgspec.convert(value, _FORMATS[type(kind)])
    except msgspec.ValidationError:
        return f"must be {_name(kind)}, not {shown(value)}" if isinstance(value, str) else _wrong(kind, value)
    return None


def _text_problem(value: str, kind: inspect.StrType) -> str | None:
    if kind.min_length is not None and len(value) < kind.min_length:
        return "cannot be empty" if kind.min_length == 1 else f"must have at least {kind.min_length} characters"
    if kind.max_length is not None and len(value) > kind.max_length:
        return f"is longer than {kind.max_length} characters"
    if kind.pattern is not None and re.search(kind.pattern, value) is None:
        return PATTERN_WORDS.get(kind.pattern, f"must match {kind.pattern}")
    return None


def _number_problem(value: float, kind: inspect.IntType | inspect.FloatType) -> str | None:
    bounds = ((kind.ge, "at least", 1), (kind.gt, "more than", 1), (kind.le, "at most", -1), (kind.lt, "less than", -1))
    for bound, words, sign in bounds:
        strict = words in ("more than", "less than")
        if bound is not None and (value * sign <= bound * sign if strict else value * sign < bound * sign):
            return f"must be {words} {bound:g}" if isinstance(bound, float) else f"must be {words} {bound}"
    if kind.multiple_of is not None and value % kind.multiple_of:
        return f"must be a multiple of {kind.multiple_of}"
    return None


def _of_size(value: list[Any] | dict[str, Any], kind: Any, *, place: str, one: str, several: str) -> Iterator[Misfit]:
    if kind.max_length is not None and len(value) > kind.max_length:
        yield Misfit(place, f"has {len(value)} {several}; at most {kind.max_length} are allowed")
    elif kind.min_length is not None and len(value) < kind.min_length:
        yield Misfit(place, f"needs at least {kind.min_length} {one if kind.min_length == 1 else several}")
