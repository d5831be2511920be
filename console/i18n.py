"""What people read, in English and Vietnamese. The English text is the key; `locale/vi/<page>.json` has the Vietnamese."""

from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path
from typing import Literal

import msgspec

Language = Literal["en", "vi"]
LANGUAGES: dict[Language, str] = {"en": "English", "vi": "Tiếng Việt"}
LOCALE = Path(__file__).parent / "locale"

language: ContextVar[Language] = ContextVar("language", default="en")
"""The language of the present request."""


@lru_cache(maxsize=1)
def vietnamese() -> dict[str, str]:
    """All catalogs together; each page brings its own file, so that two people who write pages do not meet."""
    merged: dict[str, str] = {}
    for path in sorted((LOCALE / "vi").glob("*.json")):
        merged |= msgspec.json.decode(path.read_bytes(), type=dict[str, str])
    return merged


def _(english: str, **values: object) -> str:
    """The text in the language of the present request; `{name}` in it is filled from `values`."""
    text = vietnamese().get(english, english) if language.get() == "vi" else english
    return text.format(**values) if values else text


def mark(english: str) -> str:
    """The text itself: marks it for the catalogs where it is written down before a request is there. Shown through `_`."""
    return english


def choose_language(cookie: str | None, accepted: str) -> Language:
    """The person's choice, else the first language of `Accept-Language` that is here, else English."""
    if cookie in LANGUAGES:
        return cookie
    for part in accepted.split(","):
        tag = part.partition(";")[0].strip().lower().partition("-")[0]
        if tag in LANGUAGES:
            return tag
    return "en"
