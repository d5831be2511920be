"""The console's templates, texts and files keep the rules that nothing else would notice."""

import html
import inspect
import re
from enum import StrEnum
from pathlib import Path

import pytest

from console.app import page_routes
from console.labels import STATE_COLOURS, WORDS
from console.nav import ENTRIES
from console.tenant.user import KINDS
from domain.leaderboard.definition import BoardStatus, TimeframeType
from domain.leaderboard.rescore import RescoreStatus
from domain.leaderboard.window_messages import WindowStatus
from domain.payout.run import RunStatus
from domain.points.ledger import TransferKind
from domain.redemption.redemption import RedemptionState
from domain.tenant.credential import KeyRole
from domain.webhook.webhook import DeliveryState

CONSOLE = Path(__file__).parent.parent.parent / "console"
TEMPLATES = sorted((CONSOLE / "templates").rglob("*.html"))
ELEMENTS = {
    "a",
    "body",
    "br",
    "button",
    "caption",
    "code",
    "datalist",
    "dd",
    "details",
    "div",
    "dl",
    "dt",
    "fieldset",
    "figcaption",
    "figure",
    "footer",
    "form",
    "h1",
    "h2",
    "h3",
    "head",
    "html",
    "input",
    "label",
    "legend",
    "li",
    "line",
    "link",
    "main",
    "meta",
    "nav",
    "ol",
    "option",
    "p",
    "path",
    "polygon",
    "polyline",
    "pre",
    "progress",
    "rect",
    "script",
    "section",
    "select",
    "small",
    "span",
    "strong",
    "summary",
    "svg",
    "table",
    "tbody",
    "td",
    "text",
    "textarea",
    "th",
    "thead",
    "title",
    "tr",
    "ul",
}
"""Those that the console's pages are made of."""
THE_SAME_EVERYWHERE: set[str] = {"Laurel", "attrs", "CORS", "ms"}


def untranslated(text: str) -> set[str]:
    """The words of a template that stand in it as they are: they would be English on a Vietnamese page."""
    text = re.sub(r"{#.*?#}", "", text, flags=re.DOTALL)
    text = re.sub(r"{% trans\b.*?{% endtrans %}", "§", text, flags=re.DOTALL)
    text = re.sub(r"{{.*?}}|{%.*?%}", "§", text, flags=re.DOTALL)
    said = re.findall(r"\s(?:title|aria-label|alt)=\"([^\"]*)\"", text)
    between = re.sub(r"<(code|pre)\b.*?</\1>", "", text, flags=re.DOTALL)
    between = re.sub(r"\s[a-z-]+=(?:\"[^\"]*\"|'[^']*')", " ", between)
    between = html.unescape(re.sub(r"<[^<>]*>", " ", between))
    return {word for part in (between, *said) for word in re.findall(r"[^\W\d_]{2,}", part)}


def test_untranslated_words_are_noticed() -> None:
    template = '<p title="Close">{{ _("Name") }} of {% if a %}<code>x</code> b{% endif %}</p>{# no #}{% trans %}Here{% endtrans %}'
    assert untranslated(template) == {"Close", "of"}


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: str(path.relative_to(CONSOLE / "templates")))
def test_templates_say_nothing_that_has_no_translation(path: Path) -> None:
    assert untranslated(path.read_text()) - THE_SAME_EVERYWHERE == set()


@pytest.mark.parametrize(
    "states",
    [RedemptionState, BoardStatus, WindowStatus, RunStatus, DeliveryState, RescoreStatus, KeyRole, TimeframeType, TransferKind],
    ids=lambda states: states.__name__,
)
def test_every_state_role_and_kind_has_its_words(states: type[StrEnum]) -> None:
    """What has none is shown as the API writes it, in every language."""
    assert {each.value for each in states} - WORDS.keys() - KINDS.keys() == set()


def test_every_cause_has_its_words() -> None:
    """What moved points, and what gave an item."""
    causes = {"event", "transfer", "expiry", "grant", "adjustment", "manual", "schedule", "leaderboard", "purchase"}
    assert causes - WORDS.keys() == set()


def test_every_state_with_a_colour_has_its_words() -> None:
    assert STATE_COLOURS.keys() - WORDS.keys() == set()


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: str(path.relative_to(CONSOLE / "templates")))
def test_templates_hold_nothing_that_the_content_security_policy_refuses(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"\sstyle\s*=|<style|\son[a-z]+\s*=\s*[\"']|<script(?![^>]*\ssrc=)|javascript:", text)
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//", text), "no third-party file"
    assert "| safe" not in text
    assert "|safe" not in text


def test_templates_are_made_of_elements_that_there_are() -> None:
    """An attribute that runs into the name (`<detailsopen>`) is an element that no browser knows."""
    for path in TEMPLATES:
        plain = re.sub(r"{#.*?#}|{{.*?}}|{%.*?%}", " ", path.read_text(), flags=re.DOTALL)
        assert set(re.findall(r"<([a-zA-Z][\w-]*)", plain)) - ELEMENTS == set(), path.name


def test_every_form_that_posts_carries_its_token() -> None:
    for path in TEMPLATES:
        for form in re.findall(r"<form[^>]*method=\"post\".*?</form>", path.read_text(), re.DOTALL):
            assert "token()" in form, f"{path.name}: {form[:80]}"


def test_every_route_knows_who_asks() -> None:
    """A handler that asks for neither `visit` nor `visitor` would skip the sign-in and the check of forms."""
    asked = {"visit", "visitor"}
    unasked = {path for route in page_routes() if not asked & inspect.signature(route.fn).parameters.keys() for path in route.paths}
    assert unasked == {"/", "/static/{file_name:str}"}


def test_every_link_of_the_navigation_has_a_page() -> None:
    paths = {path for route in page_routes() for path in route.paths}
    assert {entry.path for entry in ENTRIES} <= paths
