"""Redemptions as lines of CSV, for spreadsheets (contract 4, GET /v1/admin/redemptions)."""

import csv
import io
from collections.abc import Iterable
from typing import Any

import msgspec

from domain.redemption.redemption import Redemption, points_number
from domain.wire import optional_rfc3339, rfc3339

HEADER = (
    "redemption_id", "status", "flags", "external_user_id", "reward_id", "reward_slug", "reward_name", "variant_id", "points_spent",
    "currency", "source_type", "source_id", "fields", "fulfillment_data", "failure_reason", "created_at", "updated_at", "fulfilled_at",
    "deadline_at",
)  # fmt: skip

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet would run a cell that begins so: such a text gets an apostrophe in front."""


def header_line() -> str:
    """The first line."""
    return _lines([HEADER])


def csv_lines(redemptions: Iterable[Redemption]) -> str:
    """One line each, in the order of the header; objects are JSON, instants RFC 3339."""
    return _lines(_cells(each) for each in redemptions)


def _cells(each: Redemption) -> list[Any]:
    cells = [
        str(each.redemption_id),
        each.status.value,
        " ".join(each.flags),
        each.external_user_id,
        str(each.reward_id),
        each.reward.get("slug"),
        each.reward.get("name"),
        each.variant_id,
        points_number(each),
        each.currency,
        each.source_type,
        each.source_id,
        msgspec.json.encode(each.fields).decode(),
        msgspec.json.encode(each.fulfillment_data).decode(),
        each.failure_reason,
        rfc3339(each.created_at),
        rfc3339(each.updated_at),
        optional_rfc3339(each.fulfilled_at),
        optional_rfc3339(each.deadline_at),
    ]
    return [f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell for cell in cells]


def _lines(rows: Iterable[Iterable[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()
