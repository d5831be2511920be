"""The example beside a body in the API document can be sent as it stands, but for the ids in it."""

from collections.abc import Iterator
from typing import Any

from cli.openapi import api_document
from tests.builders.api import World
from tests.builders.seeded_tenant import NEEDS_TEMPORAL, ask, make, seed

LEFT_OUT = (NEEDS_TEMPORAL, "/v1/operator/")
"""Schedules in Temporal, and what no tenant asks for."""
PLAYER = "player-42"
"""The user of all examples."""
LISTS = {"external_ids": "external_id", "item_ids": "item_id"}


def examples() -> Iterator[tuple[str, Any]]:
    """Each route that takes a body, with its example."""
    for path, operations in api_document()["paths"].items():
        for method, operation in operations.items():
            if "requestBody" in operation and not any(part in path for part in LEFT_OUT):
                yield f"{method.upper()} {path}", operation["requestBody"]["content"]["application/json"]["example"]


def with_ids(example: Any, things: dict[str, str]) -> Any:
    """The example with the ids of what is there."""
    if isinstance(example, list):
        return [with_ids(each, things) for each in example]
    if not isinstance(example, dict):
        return example
    made = {name: with_ids(value, things) for name, value in example.items()}
    made |= {name: things[name] for name, value in example.items() if name in things and name.endswith("_id") and value is not None}
    return made | {name: [things[LISTS[name]]] for name in LISTS.keys() & example.keys() if example[name] is not None}


def is_about(error: dict[str, Any], example: Any) -> bool:
    """Whether the refusal is about something that stands in the example; a state of what it names is another thing."""
    fields = [each["field"] for each in error.get("details", ())]
    return not fields or any(field.partition(".")[0].partition("[")[0] in example for field in fields)


def test_no_example_is_refused_for_what_it_says(world: World) -> None:
    things = seed(world)
    wrong = {}
    with world.client() as admin:
        make(admin, "/v1/users", {"external_id": PLAYER})
        for route, example in examples():
            answer = ask(admin, route, things, with_ids(example, things | {"external_id": PLAYER}))
            if answer.status_code == 400 and is_about(answer.json()["error"], example):
                wrong[route] = answer.json()["error"]["message"]
    assert not wrong, wrong
