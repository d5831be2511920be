"""The API's sentences in Vietnamese: refusals, what is wrong with a field, and reasons that the platform gives.

The API speaks English. `locale/vi/LC_MESSAGES/api.po` has each of its sentences, with `{}` where a fact stands, and the Vietnamese for it.
A guard test collects the sentences from the code, so none is without its translation.
"""

import re
from functools import lru_cache
from typing import NamedTuple

from console.i18n import catalogue, language

LONGEST = 1000
"""Longer texts are shown as they are: each is compared with every sentence."""
HOLE = "{}"


class Sentence(NamedTuple):
    """One entry: what to look for, and the Vietnamese with as many holes."""

    pattern: re.Pattern[str]
    vietnamese: str


@lru_cache(maxsize=1)
def vietnamese() -> dict[str, str]:
    """Vietnamese by English sentence."""
    return {str(message.id): str(message.string) for message in catalogue("vi", "api") if message.id}


@lru_cache(maxsize=1)
def sentences() -> list[Sentence]:
    """Those with holes, the most particular first."""
    with_holes = sorted((english for english in vietnamese() if HOLE in english), key=lambda english: -len(english.replace(HOLE, "")))
    return [Sentence(re.compile("(.+?)".join(map(re.escape, each.split(HOLE))), re.DOTALL), vietnamese()[each]) for each in with_holes]


def translated(text: str) -> str | None:
    """The sentence in Vietnamese; None when it is in no catalog. Facts in it are kept, phrases among them translated too."""
    if text in vietnamese():
        return vietnamese()[text]
    if len(text) > LONGEST:
        return None
    for each in sentences():
        if found := each.pattern.fullmatch(text):
            return each.vietnamese.format(*(vietnamese().get(fact) or translated(fact) or fact for fact in found.groups()))
    return None


def said(text: str | None) -> str:
    """What the API says, in the language of the person; as it is where no catalog has it, such as a reason that somebody wrote."""
    if not text or language() == "en":
        return text or ""
    return translated(text) or text
