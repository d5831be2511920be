"""The query as a Struct, and the schemas of the document, from the Structs of the routes."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
import pytest
from msgspec import UNSET, Meta, Struct, UnsetType

from api.query import query_as
from api.schema_book import SchemaBook, example_of_schema
from domain.errors import ValidationError


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Asked(Struct, frozen=True, kw_only=True):
    colour: Colour | None = None
    owner: UUID | None = None
    since: datetime | None = msgspec.field(name="from", default=None)
    limit: Annotated[int, Meta(ge=1, le=100)] = 10
    is_open: bool = False
    text: Annotated[str, Meta(max_length=5)] | None = None
    price: Annotated[float, Meta(ge=0, le=99.5)] | bool | None = None


def test_a_query_is_read_as_its_struct() -> None:
    asked = query_as({"colour": "red", "limit": "7", "is_open": "true", "from": "2025-11-18T14:00:00 02:00", "other": "1"}, Asked)
    assert asked == Asked(colour=Colour.RED, limit=7, is_open=True, since=datetime(2025, 11, 18, 12, tzinfo=UTC))


def test_a_query_that_may_be_of_several_kinds_is_the_first_that_it_fits() -> None:
    assert [query_as({"price": text}, Asked).price for text in ("1.5", "12", "true")] == [1.5, 12.0, True]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"limit": "0"}, "limit: must be a whole number from 1 to 100"),
        ({"limit": "1.5"}, "limit: must be a whole number from 1 to 100"),
        ({"limit": "٣"}, "limit: must be a whole number from 1 to 100"),
        ({"limit": "9" * 5000}, "limit: must be a whole number from 1 to 100"),
        ({"limit": ""}, "limit: must be a whole number from 1 to 100"),
        ({"is_open": "1"}, "is_open: must be true or false"),
        ({"colour": "green"}, 'colour: "green" is not one of red, blue'),
        ({"owner": "nobody"}, 'owner: must be a UUID, not "nobody"'),
        ({"from": "2025-11-18T12:00:00"}, "from: must be an RFC 3339 time with an offset, such as 2025-11-18T12:00:00Z"),
        ({"from": "0001-01-01T00:00:00+14:00"}, "from: must be an RFC 3339 time with an offset, such as 2025-11-18T12:00:00Z"),
        ({"price": "100"}, "price: must be a number from 0 to 99.5"),
        ({"price": "-1"}, "price: must be a number from 0 to 99.5"),
        ({"price": "nan"}, "price: must be a number from 0 to 99.5"),
        ({"text": "\0"}, "text: must not contain the character U+0000"),
        ({"text": "longer"}, "text: is longer than 5 characters"),
        ({"limit": "x", "is_open": "y"}, "limit: must be a whole number from 1 to 100; is_open: must be true or false"),
    ],
)
def test_what_does_not_fit_is_told_by_its_name(given: dict[str, str], said: str) -> None:
    with pytest.raises(ValidationError) as refused:
        query_as(given, Asked)
    assert refused.value.message == said


class Inner(Struct, kw_only=True, forbid_unknown_fields=True):
    """A part."""

    size: int = 3


class Both(Struct, kw_only=True, forbid_unknown_fields=True):
    """A thing that is sent and answered."""

    name: Annotated[str, Meta(examples=["Sword"])]
    inner: Inner
    colour: Colour = Colour.RED
    note: str | UnsetType = UNSET


class OnlySent(Struct, kw_only=True):
    count: Annotated[int, Meta(ge=5)]
    free: dict[str, Any] = {}


def document() -> tuple[dict[str, Any], dict[str, Any]]:
    book = SchemaBook()
    references = {"sent": book.body(Both), "answered": book.answer(list[Both]), "alone": book.body(OnlySent), "part": book.part(OnlySent)}
    return references, book.finish(references)


def test_what_has_a_default_need_not_be_sent_and_is_always_answered() -> None:
    references, schemas = document()
    assert references["sent"] == {"$ref": "#/components/schemas/BothInput"}
    assert references["answered"]["items"] == {"$ref": "#/components/schemas/Both"}
    assert schemas["BothInput"]["required"] == ["name", "inner"]
    assert schemas["Both"]["required"] == ["name", "inner", "colour"]
    assert schemas["BothInput"]["properties"]["inner"] == {"$ref": "#/components/schemas/InnerInput"}
    assert schemas["Inner"]["required"] == ["size"]
    assert "additionalProperties" not in schemas["Both"]


def test_a_shape_that_is_only_sent_keeps_its_name_and_its_change_requires_nothing() -> None:
    references, schemas = document()
    assert references["alone"] == {"$ref": "#/components/schemas/OnlySent"}
    assert references["part"] == {"$ref": "#/components/schemas/OnlySentChange"}
    assert schemas["OnlySent"]["required"] == ["count"]
    assert "required" not in schemas["OnlySentChange"]
    assert schemas["Colour"]["enum"] == ["blue", "red"]


def test_an_example_is_put_together_from_the_fields() -> None:
    references, schemas = document()
    assert example_of_schema(references["sent"], schemas) == {"name": "Sword", "inner": {"size": 3}, "colour": "red", "note": "text"}
    assert example_of_schema(references["alone"], schemas) == {"count": 5, "free": {}}


class Loose(Struct, kw_only=True):
    """With choices of several kinds."""

    amount: Annotated[int | float, Meta(examples=[5])]
    ends: Annotated[Annotated[int | float, Meta(description="When it ends", examples=[7])] | None, Meta()]
    way: Literal["up", "down"]
    either: int | str
    free: dict[str, Any]


def test_choices_are_as_few_as_can_be_and_say_what_they_are() -> None:
    book = SchemaBook()
    schemas = book.finish({"answer": book.answer(Loose)})
    assert schemas["Loose"]["properties"] == {
        "amount": {"type": "number", "examples": [5]},
        "ends": {"description": "When it ends", "examples": [7], "anyOf": [{"type": "number"}, {"type": "null"}]},
        "way": {"type": "string", "enum": ["down", "up"]},
        "either": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
        "free": {"$ref": "#/components/schemas/FreeForm"},
    }


class Noted(Struct, kw_only=True):
    """With an example of its own beside a reference."""

    colour: Annotated[Colour, Meta(examples=["red"])] = Colour.BLUE


def test_a_body_that_may_have_other_members_says_so_and_an_example_beside_a_reference_counts() -> None:
    book = SchemaBook()
    document = {"sent": book.body(Noted)}
    schemas = book.finish(document)
    assert schemas["Noted"]["additionalProperties"] is True
    assert "required" not in schemas["Noted"]
    assert example_of_schema(document["sent"], schemas) == {"colour": "red"}
