"""Codes that somebody brings into the pool of a reward or of an item."""

from typing import Any

from litestar.datastructures import UploadFile

from console.client import Refusal
from console.format import number
from console.i18n import ngettext
from console.request import Visit

CODES_AT_ONCE = 10_000


async def sent_codes(visit: Visit) -> list[str]:
    """The codes of a form: a text area and a text file, one code to a line."""
    text = visit.form.text("codes")
    file = visit.form.values.get("file")
    if isinstance(file, UploadFile):
        text += "\n" + (await file.read()).decode("utf-8-sig", "replace")
    return [line.strip() for line in text.splitlines() if line.strip()]


async def import_codes(visit: Visit, path: str, extra: dict[str, Any]) -> tuple[Refusal | None, str]:
    """Bring the codes of the form into a pool, some thousands at a time: the refusal, if any, and what was done in words."""
    codes = await sent_codes(visit)
    added = known = 0
    for start in range(0, max(1, len(codes)), CODES_AT_ONCE):
        part = {"codes": codes[start : start + CODES_AT_ONCE], **extra}
        answer = await visit.api.post(path, part, reason=visit.form.text("reason"))
        if answer.error is not None:
            return answer.error, ""
        added, known = added + answer.body["added"], known + answer.body["known"]
    return None, imported_words(added, known)


def imported_words(added: int, known: int) -> str:
    """“3 codes added. 1 duplicate skipped.”"""
    said = ngettext("%(num)s code added.", "%(num)s codes added.", added, num=number(added))
    if known:
        said += " " + ngettext("%(num)s duplicate skipped.", "%(num)s duplicates skipped.", known, num=number(known))
    return said
