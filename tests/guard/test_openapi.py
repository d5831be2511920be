"""The API document in the repository is that of the code."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker

from cli.openapi import api_document, formatted

COMMITTED = Path(__file__).parents[2] / "docs" / "openapi.json"


def test_the_committed_document_is_current() -> None:
    assert COMMITTED.read_text() == formatted(api_document()), "run ./laurel openapi > docs/openapi.json"


OPERATIONS = {
    f"{method.upper()} {path}": operation
    for path, operations in api_document()["paths"].items()
    for method, operation in operations.items()
    if method in ("get", "post", "put", "patch", "delete")
}
DOCUMENT = api_document()
GROUPS = {tag["name"] for tag in DOCUMENT["tags"]}


def refusals_of(operation: dict[str, Any]) -> set[str]:
    """The codes that an operation is said to answer."""
    return {code for answer in operation["responses"].values() if "$ref" in answer for code in answer["$ref"].split("/")[-1].split("-")}


@pytest.mark.parametrize("route", OPERATIONS)
def test_an_operation_says_all_that_a_caller_needs(route: str) -> None:
    operation = OPERATIONS[route]
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", operation["operationId"])
    assert 3 <= len(operation["summary"]) <= 120
    assert operation["description"]
    assert set(operation["tags"]) <= GROUPS
    assert "security" in operation
    assert {each["name"] for each in operation.get("parameters", []) if each["in"] == "path"} == set(re.findall(r"\{(\w+)\}", route))
    assert "{id}" not in route, "parameters have their full name (contract 6)"
    if route.split(" ")[0] in ("PUT", "PATCH"):
        assert "requestBody" in operation
    if operation["security"]:
        wanted = {"FORBIDDEN", "RATE_LIMITED", "UNAVAILABLE", "INTERNAL_ERROR", "AUTH_INVALID_KEY"}
        assert refusals_of(operation) >= wanted | ({"NOT_FOUND"} if "{" in route else set())


def test_every_refusal_has_an_example_of_its_code() -> None:
    examples = DOCUMENT["components"]["examples"]
    for code, example in examples.items():
        assert example["value"]["error"].keys() >= {"code", "message", "status", "request_id"}
        assert example["value"]["error"]["code"] == code
        assert example["value"]["error"]["message"]
    for operation in OPERATIONS.values():
        for status, answer in operation["responses"].items():
            if "$ref" in answer:
                shown = DOCUMENT["components"]["responses"][answer["$ref"].split("/")[-1]]["content"]["application/json"]["examples"]
                assert {examples[code]["value"]["error"]["status"] for code in shown} == {int(status)}


def test_everything_that_the_document_refers_to_is_in_it() -> None:
    for reference in set(re.findall(r'"#/([^"]+)"', COMMITTED.read_text())):
        found: Any = DOCUMENT
        for part in reference.split("/"):
            found = found[part]


VERBS = {
    "get": {"list", "get", "export", "watch"},
    "post": {"create", "send", "identify", "import", "explain", "preview"},
    "put": {"replace", "set"},
    "patch": {"update", "report"},
    "delete": {"archive", "delete", "revoke", "erase"},
}
"""One verb for each act, by the method; `set` gives a user what it has one of, `report` is the partner's callback."""
DOMAIN_VERBS = {
    *("adjust", "approve", "backfill", "cancel", "claim", "close", "disable", "enable", "fail", "fulfil", "pause", "pay", "purchase"),
    *("recover", "redeem", "reject", "replay", "resend", "resume", "retry", "reverse", "rotate", "test", "trigger"),
}
"""What is done to a thing of the domain, by POST."""


@pytest.mark.parametrize("route", OPERATIONS)
def test_an_act_has_one_verb(route: str) -> None:
    method, verb = route.split(" ")[0].lower(), OPERATIONS[route]["operationId"].split("_")[0]
    assert verb in VERBS[method] | (DOMAIN_VERBS if method == "post" else set())


def answers() -> Iterator[tuple[str, dict[str, Any]]]:
    """Each operation's id with the schema of its JSON."""
    for operation in OPERATIONS.values():
        for status, answer in operation["responses"].items():
            content = answer.get("content", {}).get("application/json")
            if content is not None and status < "300":
                yield operation["operationId"], content["schema"]


@pytest.mark.parametrize(("operation", "schema"), list(answers()))
def test_an_answer_says_what_is_in_it(operation: str, schema: dict[str, Any]) -> None:
    shape = DOCUMENT["components"]["schemas"][schema["$ref"].rsplit("/", 1)[-1]]
    assert shape["properties"]
    assert shape["description"]
    assert operation.startswith("list_") <= ("next_cursor" in shape["properties"] or operation == "list_user_leaderboards")


def schemas(value: Any, place: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema within a value, with its place."""
    if isinstance(value, dict):
        yield place, value
        for name, each in value.items():
            if name not in ("example", "examples"):
                yield from schemas(each, f"{place}/{name}")
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from schemas(each, f"{place}/{number}")


def test_no_object_is_left_undescribed() -> None:
    found = [place for place, each in schemas(DOCUMENT, "") if each.get("type") == "object" and each.keys() <= {"type", "description"}]
    assert found == []


def test_no_schema_has_a_member_of_its_own_name() -> None:
    """Generators make a class of such a member that takes the name of the whole."""
    shapes = DOCUMENT["components"]["schemas"]
    own = {name: re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower() for name in shapes}
    assert [name for name, shape in shapes.items() if own[name] in shape.get("properties", {})] == []


def test_a_body_requires_nothing_that_has_a_default() -> None:
    for shape in DOCUMENT["components"]["schemas"].values():
        for name, member in shape.get("properties", {}).items():
            assert not ("default" in member and name in shape.get("required", ()))


def test_an_example_is_what_its_schema_says() -> None:
    places = [*DOCUMENT["paths"].values(), *DOCUMENT["webhooks"].values()]
    contents = [
        part["content"]["application/json"]
        for operations in places
        for operation in operations.values()
        for part in (operation.get("requestBody", {}), *operation["responses"].values())
        if "application/json" in part.get("content", {})
    ]
    assert len(contents) > 150
    for content in contents:
        known = Draft202012Validator({**content["schema"], "components": DOCUMENT["components"]}, format_checker=FormatChecker())
        assert [each.message for each in known.iter_errors(content["example"])] == [], content["schema"]


def test_every_operation_is_named_once_and_described() -> None:
    operations = [
        operation
        for path in api_document()["paths"].values()
        for name, operation in path.items()
        if name in ("get", "post", "put", "patch", "delete")
    ]
    names = [operation["operationId"] for operation in operations]
    assert sorted(names) == sorted(set(names))
    assert [operation["operationId"] for operation in operations if not operation.get("description")] == []
