"""Where an error of a board's form is, as its labels say it."""

import pytest

from console.leaderboard.leaderboard_form import place_words


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ("config.scoring.rules[0].points_expression", "Rule 1 · Points"),
        ("config.scoring.rules[11].conditions.attrs.mode.eqq", "Rule 12 · Conditions"),
        ("config.scope.filters.attrs.mode", "Filters"),
        ("config.timeframe.reset_time", "Windows"),
        ("leaderboard_id", "Id"),
        ("something_new", "something_new"),
    ],
)
def test_a_place_is_named_by_the_labels_of_the_form(field: str, words: str) -> None:
    assert place_words(field) == words
