"""Templates: one environment, autoescaped, with the filters of `show.py` and the words of `text.py`."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from console.chart import bars, line
from console.format import FILTERS, pill, short_number, word
from console.i18n import LANGUAGES, _, language, plain_gettext, plain_ngettext
from console.nav import NAV
from console.static_files import static_url

TEMPLATES = Path(__file__).parent / "templates"


def address_of(path: str, present: Iterable[tuple[str, str]], changed: Mapping[str, str]) -> str:
    """A page's address with some query parameters changed; empty ones are left out."""
    query = {name: value for name, value in {**dict(present), **changed}.items() if value}
    return f"{path}?{urlencode(query)}" if query else path


@lru_cache(maxsize=1)
def environment() -> Environment:
    """The templates' environment; an undefined name in a template is an error, not an empty text."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        extensions=["jinja2.ext.i18n"],
    )
    # Texts across several lines are one sentence. `_`, `ngettext` and `trans` escape what they fill in, and always fill in, so `%%` is a
    # percent sign.
    made.policies["ext.i18n.trimmed"] = True
    made.install_gettext_callables(plain_gettext, plain_ngettext, newstyle=True)  # type: ignore[attr-defined]
    made.filters.update(FILTERS, items_too=lambda values, more: {**values, **more})
    made.globals.update(
        language=language,
        languages=LANGUAGES,
        static=static_url,
        nav=NAV,
        pill=pill,
        address_of=address_of,
        bars=bars,
        line=line,
        short_number=short_number,
        words_of=lambda values: {value: word(value) for value in values},
        dict_same=lambda values: {value: value for value in values},
        dict_of=lambda values, names: {value: _(names[value]) for value in values},
    )
    return made


def render(template: str, **context: Any) -> str:
    """A template as HTML, in the language and on the clock of the present request."""
    return environment().get_template(template).render(**context)
