"""The Vietnamese catalogues hold every text of the console, and nothing else: as Babel's tools find the texts."""

import re
import tomllib
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract_from_dir

from console.i18n import CATALOGUES, catalogue

REPOSITORY = Path(__file__).parent.parent.parent
DOMAINS = ("console", "api")
PLACE = re.compile(r"%\((\w+)\)s")


def texts() -> Catalog:
    """What `pybabel extract` finds, by the mappings in pyproject.toml."""
    mappings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["babel"]["mappings"]
    methods = [(each["pattern"], each["method"]) for each in mappings]
    options = {each["pattern"]: {name: text for name, text in each.items() if name not in ("pattern", "method")} for each in mappings}
    found = Catalog()
    for path, line, message, _comments, context in extract_from_dir(REPOSITORY / "console", methods, options):
        found.add(message, locations=[(path, line)], context=context)
    return found


def ids(of: Catalog) -> set[str | tuple[str, ...]]:
    return {message.id if isinstance(message.id, str) else tuple(message.id) for message in of if message.id}


def forms(text: str | list[str] | tuple[str, ...]) -> tuple[str, ...]:
    """The one form of a message, or those of its counts."""
    return (text,) if isinstance(text, str) else tuple(text)


def entries(domain: str) -> list[Message]:
    return [message for message in catalogue("vi", domain) if message.id]


def test_every_text_is_there_in_vietnamese() -> None:
    assert ids(texts()) - ids(catalogue("vi")) == set()


def test_no_vietnamese_text_is_left_over() -> None:
    assert ids(catalogue("vi")) - ids(texts()) == set()


@pytest.mark.parametrize("domain", DOMAINS)
def test_no_entry_is_empty_uncertain_or_obsolete(domain: str) -> None:
    assert [each.id for each in entries(domain) if each.fuzzy or not all(forms(each.string))] == []
    assert list(catalogue("vi", domain).obsolete) == []


@pytest.mark.parametrize("domain", DOMAINS)
def test_every_entry_passes_the_checks_of_babel(domain: str) -> None:
    found = catalogue("vi", domain)
    assert {str(each.id): errors for each in entries(domain) if (errors := each.check(found))} == {}


def test_every_text_can_be_filled_in_and_the_vietnamese_one_has_the_same_places() -> None:
    for each in entries("console"):
        english = forms(each.id)[-1]
        places = set(PLACE.findall(english))
        for form in (*forms(each.id), *forms(each.string)):
            assert set(PLACE.findall(form)) | {"num"} == places | {"num"}, english
            assert form % dict.fromkeys(places | {"num"}, "")  # a percent sign that is not doubled raises


def test_what_is_counted_has_a_singular() -> None:
    """“1 variants” comes of a text with one form for all counts."""
    count = re.compile(r"%\((?:n|num)\)s [a-z]+s\b")
    assert [each.id for each in entries("console") if isinstance(each.id, str) and count.search(each.id)] == []


def test_every_catalogue_is_read_by_somebody() -> None:
    assert {path.relative_to(CATALOGUES) for path in CATALOGUES.rglob("*.*")} == {Path(f"vi/LC_MESSAGES/{each}.po") for each in DOMAINS}


def test_markup_in_a_text_is_the_same_in_vietnamese() -> None:
    """Texts of templates are markup: a tag or a quote that the English has not would break the page."""
    tags = re.compile(r"<[^>]*>|[<>&\"]")
    assert [each.id for each in entries("console") if tags.findall(forms(each.id)[-1]) != tags.findall(forms(each.string)[-1])] == []
