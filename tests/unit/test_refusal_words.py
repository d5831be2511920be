"""What the API refuses is told in the language of the person."""

import pytest

from api.errors import known_codes
from console.i18n import LOCALES, locale
from console.refusal_labels import WORDS, refusal_text


def test_every_code_of_the_api_has_its_sentence() -> None:
    assert known_codes().keys() == WORDS.keys()


def test_in_english_the_api_speaks_for_itself() -> None:
    assert refusal_text("INVALID_STATE", "The payout run is completed") == "The payout run is completed"


@pytest.mark.parametrize("code", WORDS)
def test_in_vietnamese_the_sentence_of_the_code_stands_before_what_the_api_says(code: str) -> None:
    kept = locale.set(LOCALES["vi"])
    try:
        told = refusal_text(code, "limit: must be at most 500")
        assert told.endswith("(limit: must be at most 500)")
        assert not told.startswith(WORDS[code])
        assert refusal_text("SOMETHING_NEW", "as it is") == "as it is"
    finally:
        locale.reset(kept)
