"""The console's templates, texts and files keep the rules that nothing else would notice."""

import ast
import inspect
import json
import re
from pathlib import Path

import pytest

from console.app import page_routes
from console.nav import ENTRIES
from console.text import LOCALE, vietnamese

CONSOLE = Path(__file__).parent.parent.parent / "console"
TEMPLATES = sorted((CONSOLE / "templates").rglob("*.html"))
CALL = re.compile(r"""\b_\(\s*("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')""")
PLACE = re.compile(r"{(\w+)}")


def texts_of_templates() -> set[str]:
    plain = [re.sub(r"{#.*?#}", "", path.read_text(), flags=re.DOTALL) for path in TEMPLATES]
    return {ast.literal_eval(found) for text in plain for found in CALL.findall(text)}


def texts_of_modules() -> set[str]:
    found = set()
    for path in CONSOLE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("_", "mark"):
                found |= {each.value for each in node.args if isinstance(each, ast.Constant) and isinstance(each.value, str)}
    return found


def test_every_text_is_there_in_vietnamese() -> None:
    missing = (texts_of_templates() | texts_of_modules()) - vietnamese().keys()
    assert not missing, "\n".join(sorted(missing))


def test_every_vietnamese_text_fills_in_what_the_english_one_does() -> None:
    assert [english for english, text in vietnamese().items() if set(PLACE.findall(english)) != set(PLACE.findall(text))] == []


def test_no_vietnamese_text_is_left_over() -> None:
    unused = vietnamese().keys() - texts_of_templates() - texts_of_modules()
    assert not unused, "\n".join(sorted(unused))


def test_catalogs_agree_where_they_have_the_same_text() -> None:
    known: dict[str, str] = {}
    for path in sorted((LOCALE / "vi").glob("*.json")):
        for english, text in json.loads(path.read_text()).items():
            assert known.setdefault(english, text) == text, f"{path.name}: {english}"


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: str(path.relative_to(CONSOLE / "templates")))
def test_templates_hold_nothing_that_the_content_security_policy_refuses(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"\sstyle\s*=|<style|\son[a-z]+\s*=\s*[\"']|<script(?![^>]*\ssrc=)|javascript:", text)
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//", text), "no third-party file"
    assert "| safe" not in text
    assert "|safe" not in text


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
