"""The JSON schemas of the API document: Structs as what may be sent, and as what is answered.

The two differ: what has a default need not be sent, and is always answered. Only a field that can be `UNSET` may be missing in an answer.
A Struct that is both, with different schemas, is called `NameInput` as a body.
"""

import json
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import inspect

PLACE = "#/components/schemas/{name}"
INPUT = "Input"
FREE_FORM: dict[str, Any] = {
    "title": "FreeForm",
    "description": "An object whose members you choose",
    "type": "object",
    "additionalProperties": True,
}
ANSWER = "Answer"
"""`RewardItemAnswer`, which shows the `RewardItem` of the domain, is `RewardItem` to clients."""
CHANGE = "Change"
EXAMPLE_DEPTH = 8
EXAMPLES = {"date-time": "2025-11-18T12:00:00Z", "uuid": "0193f1de-7c1a-7e2b-9d65-0c8b5d1f4a10", "date": "2025-11-18"}
"""What stands in examples for a format, where the field gives no example of its own."""

SCHEMAS_WITHIN = frozenset({"properties", "items", "prefixItems", "additionalProperties", "anyOf", "oneOf"})
NULL = {"type": "null"}

Schema = dict[str, Any]


class SchemaBook:
    """The schemas of every shape that the document refers to. First tell it all bodies and answers, then ask for `schemas`."""

    def __init__(self) -> None:
        """Knows no shape."""
        self._sent: dict[str, Schema] = {}
        self._answered: dict[str, Schema] = {}
        self._classes: dict[str, type] = {}

    def body(self, shape: Any) -> Schema:
        """A reference to the shape as a request body."""
        found, known = _described(shape)
        for kind in _objects(inspect.type_info(shape)):
            if isinstance(kind, inspect.StructType) and not kind.forbid_unknown_fields:
                known[kind.cls.__name__]["additionalProperties"] = True
        self._sent |= known
        return _renamed(found, self._sent.keys(), INPUT)

    def part(self, shape: type) -> Schema:
        """A reference to the shape as the body of a change: every member may be left out."""
        self.body(shape)
        own = shape.__name__ + CHANGE
        whole = self._sent[shape.__name__]
        properties = {name: _without_default(schema) for name, schema in whole["properties"].items()}
        kept = {name: value for name, value in whole.items() if name != "required"}
        self._sent[own] = kept | {"title": own, "properties": properties}
        return _renamed({"$ref": PLACE.format(name=own)}, self._sent.keys(), INPUT)

    def answer(self, shape: Any) -> Schema:
        """The schema of an answer of this shape, by reference where it is a Struct or a TypedDict."""
        found, known = _described(shape)
        for kind in _objects(inspect.type_info(shape)):
            if self._classes.setdefault(kind.cls.__name__, kind.cls) is not kind.cls:
                raise ValueError(f"two classes that are answered have the name {kind.cls.__name__}")
            known[kind.cls.__name__] = _as_answered(known[kind.cls.__name__], kind)
        self._answered |= known
        return found

    def members(self, shape: type[msgspec.Struct]) -> dict[str, Schema]:
        """The schemas of a Struct's fields by their names, where the Struct itself is not in the document: query parameters."""
        found, known = _described(shape)
        own: dict[str, Schema] = known.pop(_name_of(found))["properties"]
        self._answered |= known
        return own

    def finish(self, document: Schema) -> dict[str, Schema]:
        """All schemas by their names. The references of `document` to bodies that need no name of their own lose its suffix."""
        both = self._sent.keys() & self._answered.keys()
        shown = {name.removesuffix(ANSWER) for name in self._answered}
        twice = {name for name in both if self._sent[name] != self._answered[name]} | ((self._sent.keys() - both) & shown)
        while more := {name for name in both - twice if self._refers(name, twice)}:
            twice |= more
        found = dict(self._answered)
        for name, schema in self._sent.items():
            own = name + INPUT if name in twice else name
            found.setdefault(own, _tell_defaults(_renamed(schema, twice, INPUT)) | {"title": own})
        _rename_in_place(document, {name + INPUT: name for name in self._sent if name not in twice})
        return _published(document, found)

    def _refers(self, name: str, names: set[str]) -> bool:
        return any(_name_of(each) in names for each in _references(self._sent[name]))


def example_of_schema(schema: Schema, schemas: dict[str, Schema], depth: int = 0) -> Any:
    """A value that the schema describes, from the examples, choices and formats that stand in it."""
    if "examples" in schema:
        return schema["examples"][0]
    if "$ref" in schema:
        return example_of_schema(schemas[_name_of(schema)], schemas, depth + 1) if depth < EXAMPLE_DEPTH else {}
    for choice in ("const", "default"):
        if choice in schema and schema[choice] not in (None, [], {}):
            return schema[choice]
    if "enum" in schema:
        return schema["enum"][0]
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return example_of_schema(schema[several][0], schemas, depth)
    return _example_of_kind(schema, schemas, depth)


def _example_of_kind(schema: Schema, schemas: dict[str, Schema], depth: int) -> Any:
    kind = schema.get("type")
    kind = next((each for each in kind if each != "null"), None) if isinstance(kind, list) else kind
    if kind == "object":
        return {name: example_of_schema(each, schemas, depth) for name, each in schema.get("properties", {}).items()}
    if kind == "array":
        return [example_of_schema(schema["items"], schemas, depth)] if schema.get("items") else []
    if kind in ("integer", "number"):
        return max(schema.get("minimum", 0), min(schema.get("maximum", 1), 1))
    if kind == "boolean":
        return True
    return EXAMPLES.get(schema.get("format", ""), "text") if kind == "string" else None


def _described(shape: Any) -> tuple[Schema, dict[str, Schema]]:
    (found,), known = msgspec.json.schema_components((shape,), ref_template=PLACE)
    return _tidied(found), {name: _tidied(schema) for name, schema in known.items()}


def _tidied(schema: Schema) -> Schema:
    """The schema as generators of clients read it best: a number is `number` alone, choices of texts say that they are texts, what is said
    of a value that can be null stands beside its choices."""
    tidy = dict(schema)
    for place in SCHEMAS_WITHIN & tidy.keys():
        within = tidy[place]
        if place == "properties":
            tidy[place] = {name: _tidied(each) for name, each in within.items()}
        elif isinstance(within, list):
            tidy[place] = [_tidied(each) for each in within]
        elif isinstance(within, dict):
            tidy[place] = _tidied(within)
    if "type" not in tidy and all(isinstance(each, str) for each in tidy.get("enum", (None,))):
        tidy["type"] = "string"
    if tidy.get("required") == []:
        del tidy["required"]
    return _with_few_choices(tidy) if "anyOf" in tidy else tidy


def _with_few_choices(schema: Schema) -> Schema:
    choices = [each for each in schema["anyOf"] if each.get("type") != "integer" or each | {"type": "number"} not in schema["anyOf"]]
    if len(choices) == 1:
        only: Schema = choices[0]
        return only | {name: value for name, value in schema.items() if name != "anyOf"}
    told = [each for each in choices if each != NULL]
    if len(told) > 1:
        return schema | {"anyOf": choices}
    about = {name: told[0][name] for name in ("description", "examples") if name in told[0]}
    bare = {name: value for name, value in told[0].items() if name not in about}
    return about | schema | {"anyOf": [bare if each is told[0] else each for each in choices]}


Kind = inspect.StructType | inspect.TypedDictType


def _objects(kind: inspect.Type) -> Iterator[Kind]:
    """Every Struct and TypedDict within a type, each once."""
    waiting, seen = [kind], set()
    while waiting:
        each = waiting.pop()
        if isinstance(each, Kind):
            if each.cls in seen:
                continue
            seen.add(each.cls)
            yield each
            waiting += [field.type for field in each.fields]
        for name in ("type", "item_type", "value_type"):
            if (inner := getattr(each, name, None)) is not None:
                waiting.append(inner)
        waiting += [*getattr(each, "types", ()), *getattr(each, "item_types", ())]


def _as_answered(schema: Schema, kind: Kind) -> Schema:
    """What an answer of the shape is: everything that has a value is there, and a client is to pass over what it does not know."""
    if isinstance(kind, inspect.TypedDictType):
        return schema
    leaves_out = kind.cls.__struct_config__.omit_defaults
    always = [field.encode_name for field in kind.fields if field.required or not (leaves_out or _may_be_unset(field))]
    if kind.tag_field is not None:
        always.insert(0, kind.tag_field)
    properties = {name: _without_default(each) for name, each in schema.get("properties", {}).items()}
    kept = {name: value for name, value in schema.items() if name not in ("required", "additionalProperties")}
    return kept | {"properties": properties} | ({"required": always} if always else {})


def _may_be_unset(field: inspect.Field) -> bool:
    return not field.required and field.default is msgspec.NODEFAULT and field.default_factory is msgspec.NODEFAULT


def _tell_defaults(schema: Schema) -> Schema:
    """The schema of a body with its defaults in words: openapi-typescript takes what has a `default` for what is always there."""
    properties = {}
    for name, each in schema.get("properties", {}).items():
        value = each.get("default")
        said = [each["description"]] if "description" in each else []
        said += [] if value in (None, [], {}) else [f"Default: {value if isinstance(value, str) else json.dumps(value)}"]
        properties[name] = _without_default(each) | ({"description": ". ".join(said)} if said else {})
        if value not in (None, [], {}) and "examples" not in each:
            properties[name]["examples"] = [value]
    return schema | ({"properties": properties} if properties else {})


def _without_default(schema: Schema) -> Schema:
    return {name: value for name, value in schema.items() if name != "default"}


def _name_of(reference: Schema) -> str:
    return str(reference["$ref"]).rsplit("/", 1)[-1]


def _references(schema: Any) -> Iterator[Schema]:
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield schema
        for each in schema.values():
            yield from _references(each)
    elif isinstance(schema, list):
        for each in schema:
            yield from _references(each)


def _renamed(schema: Schema, names: Any, suffix: str) -> Schema:
    """The schema with the suffix on its references to those names."""
    made: Schema = msgspec.json.decode(msgspec.json.encode(schema))
    for each in _references(made):
        if _name_of(each) in names:
            each["$ref"] += suffix
    return made


def _published(document: Schema, schemas: dict[str, Schema]) -> dict[str, Schema]:
    """The schemas under the names that clients see; the references of both follow."""
    names = {name: name.removesuffix(ANSWER) for name in schemas}
    if len(set(names.values())) < len(names):
        twice = sorted(name for name in names.values() if list(names.values()).count(name) > 1)
        raise ValueError(f"these schemas have the name of another one: {', '.join(twice)}")
    _rename_in_place([document, schemas], names)
    found = {names[name]: schema | ({"title": names[name]} if "title" in schema else {}) for name, schema in sorted(schemas.items())}
    _name_free_forms([document, found])
    found[FREE_FORM["title"]] = dict(FREE_FORM)
    needed = _needed(document, found)
    return {name: schema for name, schema in found.items() if name in needed}


def _name_free_forms(document: Any) -> None:
    """Let every object whose members are the tenant's refer to one schema: each would be a class of its own in generated clients."""
    waiting = [document]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            if each.get("type") == "object" and not each.keys() - {"type", "description", "examples"}:
                del each["type"]
                each["$ref"] = PLACE.format(name=FREE_FORM["title"])
            waiting += [inner for name, inner in each.items() if name not in ("example", "examples", "default")]
        elif isinstance(each, list):
            waiting += each


def _needed(document: Schema, schemas: dict[str, Schema]) -> set[str]:
    """The schemas that the document refers to, by others or at once."""
    needed: set[str] = set()
    waiting: list[Any] = [document]
    while waiting:
        more = {_name_of(each) for each in _references(waiting.pop()) if each["$ref"].startswith(PLACE.format(name=""))} - needed
        needed |= more
        waiting += [schemas[name] for name in more if name in schemas]
    return needed


def _rename_in_place(document: Any, names: dict[str, str]) -> None:
    for each in _references(document):
        if (own := names.get(_name_of(each))) is not None:
            each["$ref"] = PLACE.format(name=own)
