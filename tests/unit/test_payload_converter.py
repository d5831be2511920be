"""What goes into a workflow's history comes out as it was."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest

from runtime.temporal import DATA_CONVERTER


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    identity: UUID
    at: datetime
    day: date
    amount: Decimal
    wait: timedelta
    note: str | None = None


SAMPLE = Sample(
    identity=UUID(int=7),
    at=datetime(2026, 3, 29, 1, 30, tzinfo=UTC),
    day=date(2026, 3, 29),
    amount=Decimal("1.10"),
    wait=timedelta(hours=72),
)


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (SAMPLE, Sample),
        ([SAMPLE], list[Sample]),
        (None, None),
        (b"\x00\xff", bytes),
        ({"a": [1, "b"]}, dict[str, Any]),
        (SAMPLE.wait, timedelta),
    ],
)
def test_values_survive(value: Any, hint: Any) -> None:
    converter = DATA_CONVERTER.payload_converter
    payloads = converter.to_payloads([value])
    assert converter.from_payloads(payloads, [hint])[0] == value


def test_a_field_of_a_newer_version_is_ignored() -> None:
    converter = DATA_CONVERTER.payload_converter
    payload = converter.to_payloads([{**msgspec.to_builtins(SAMPLE), "later": 1}])
    assert converter.from_payloads(payload, [Sample])[0] == SAMPLE
