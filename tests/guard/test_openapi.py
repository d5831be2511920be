"""The API document in the repository is that of the code."""

import re
from pathlib import Path
from typing import Any

import pytest

from api.operation import BODIES, QUERY, REFUSALS
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
    schema_tables = {*QUERY, *REFUSALS, *BODIES}
    assert schema_tables <= {operation["operationId"] for operation in OPERATIONS.values()}, "api/operation.py names what is not there"


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
