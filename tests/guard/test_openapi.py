"""The API document in the repository is that of the code."""

from pathlib import Path

from cli.openapi import api_document, formatted

COMMITTED = Path(__file__).parents[2] / "docs" / "openapi.json"


def test_the_committed_document_is_current() -> None:
    assert COMMITTED.read_text() == formatted(api_document()), "run ./laurel openapi > docs/openapi.json"


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
