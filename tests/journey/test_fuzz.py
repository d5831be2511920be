"""Requests of every shape that the API document allows, and of some that it does not, find no defect: schemathesis walks all operations.

Long: `./laurel test tests/journey/test_fuzz.py tests/property/test_fuzz_text.py --fuzz 5000` tries so many examples of each operation.
"""

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from cli.openapi import api_document
from tests.builders.api import World
from tests.builders.seeded_tenant import NEEDS_TEMPORAL, seed

EXAMPLES = 3
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance, response_headers_conformance]
OPERATOR = "operator-key-of-the-tests"
LEFT_OUT = (NEEDS_TEMPORAL, "/ws", "/ready")
"""Needs Temporal, or speaks another protocol."""
OWN = {
    "leaderboard_id",
    "external_id",
    "user_id",
    "endpoint_id",
    "slug",
    "reward_id",
    "item_id",
    "rule_id",
    "schedule_id",
    "reward_config_id",
}
"""Ids in paths that name something that is there, so that bodies are looked at."""


def operations() -> list[Any]:
    schema = schemathesis.openapi.from_dict(api_document())
    found = [result.ok() for result in schema.get_all_operations()]
    return [each for each in found if not any(part in each.path for part in LEFT_OUT)]


def test_no_request_finds_a_defect(world: World, request: pytest.FixtureRequest) -> None:
    things, count = seed(world), request.config.getoption("--fuzz") or EXAMPLES
    errors: dict[str, str] = {}
    with world.client("server") as server:
        gamer = server.post("/v1/auth/gamer-token", json={"user_id": "ann"}).json()["token"]
    for operation in sorted(operations(), key=lambda each: each.method.upper() == "DELETE"):

        @effort(max_examples=count, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy())
        def walk(case: Any) -> None:
            own = {name: things[name] for name in case.path_parameters or {} if name in OWN}
            case.path_parameters = {**(case.path_parameters or {}), **own}
            credential = OPERATOR if "/operator/" in case.operation.path else world.keys["admin"]
            if "/purchase/" in case.operation.path:
                credential = gamer
            answer = case.call(base_url=world.url, headers={"Authorization": f"Bearer {credential}"})
            case.validate_response(answer, checks=CHECKS)

        try:
            walk()
        except (Exception, FailureGroup) as error:  # every operation is walked before the suite says what it found
            errors[f"{operation.method.upper()} {operation.path}"] = f"{type(error).__name__}: {error}"[:1500]
    assert not errors, "\n\n".join(f"{route}: {error}" for route, error in errors.items())
