"""What people read, in English and Vietnamese: gettext catalogues, read by Babel (docs/decisions/0029).

The English sentence is the message's id, and English plurals follow gettext's own rule, so English needs no catalogue.
`locale/vi/LC_MESSAGES/console.po` has the Vietnamese of our own sentences, `api.po` that of the API's.
"""

import io
import re
from contextvars import ContextVar
from functools import cache, lru_cache
from gettext import NullTranslations
from pathlib import Path

from babel import Locale, UnknownLocaleError
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import Translations

LANGUAGES = {"en": "English", "vi": "Tiếng Việt"}
LOCALES = {"en": Locale("en", "GB"), "vi": Locale("vi", "VN")}
"""Where the browser names no region that Babel knows."""
CATALOGUES = Path(__file__).parent / "locale"
TAG = re.compile(r"(en|vi)(?:-([a-z]{2}))?(?![a-z0-9])", re.IGNORECASE)

locale: ContextVar[Locale] = ContextVar("locale", default=LOCALES["en"])
"""The language of the present request, and the region that dates and numbers are written for."""


def language() -> str:
    """The language of the present request: a key of `LANGUAGES`."""
    return locale.get().language


def catalogue(code: str, domain: str = "console") -> Catalog:
    """The messages of a language; an empty catalogue for English."""
    path = CATALOGUES / code / "LC_MESSAGES" / f"{domain}.po"
    if not path.exists():
        return Catalog(locale=code, domain=domain)
    with path.open("rb") as file:
        return read_po(file, locale=code, domain=domain)


@cache
def translations(code: str) -> NullTranslations:
    """The catalogue as gettext reads it, compiled in memory: no compiled file can be older than its source."""
    compiled = io.BytesIO()
    write_mo(compiled, catalogue(code))
    compiled.seek(0)
    return Translations(compiled)


def plain_gettext(message: str) -> str:
    """The message in the language of the present request, its places not filled in."""
    return translations(language()).gettext(message)


def plain_ngettext(singular: str, plural: str, count: int) -> str:
    """The form for that count, its places not filled in."""
    return translations(language()).ngettext(singular, plural, count)


def _(message: str, **values: object) -> str:
    """The message in the language of the present request; `%(name)s` in it is filled from `values`, and `%%` is a percent sign."""
    return plain_gettext(message) % values


def ngettext(singular: str, plural: str, count: int, **values: object) -> str:
    """The form for that count, filled from `values`; `%(num)s` is the count itself."""
    return plain_ngettext(singular, plural, count) % {"num": count, **values}


def N_(message: str) -> str:  # noqa: N802  the name that gettext's tools look for
    """The message itself: marks it for the catalogues where it is written down before a request is there. Shown through `_`."""
    return message


@lru_cache(maxsize=64)
def known_locale(tag: str) -> Locale | None:
    """The locale that a tag of `Accept-Language` names; None when its language is not here."""
    found = TAG.match(tag.strip())
    if found is None:
        return None
    code, region = found.group(1).lower(), (found.group(2) or "").upper()
    try:
        return Locale(code, region) if region else LOCALES[code]
    except UnknownLocaleError:
        return LOCALES[code]


def choose_locale(cookie: str | None, accepted: str) -> Locale:
    """The language that the person chose, else the first of `Accept-Language` that is here, else English; the region is the browser's."""
    asked = [known for part in accepted.split(",") if (known := known_locale(part.partition(";")[0]))]
    code = cookie if cookie in LANGUAGES else next((each.language for each in asked), "en")
    return next((each for each in asked if each.language == code), LOCALES[code])
