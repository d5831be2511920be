"""How the console writes numbers, instants and charts."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from babel import Locale
from hypothesis import given
from hypothesis import strategies as st

from console.chart import bars, ceiling, line
from console.format import Clock, ago, clock, copyable, day_names, listed, number, price, share, short_number, span, when
from console.i18n import LOCALES, choose_locale, locale
from console.leaderboard.leaderboard_form import pointer
from console.preferences import safe_path

NOW = datetime(2026, 3, 1, 4, 11, tzinfo=UTC)


@pytest.fixture(autouse=True)
def present() -> Iterator[None]:
    clock.set(Clock(NOW, ZoneInfo("Asia/Ho_Chi_Minh")))
    kept = locale.set(LOCALES["en"])
    yield
    locale.reset(kept)


def test_numbers_stand_in_groups_of_three() -> None:
    assert [number(each) for each in (0, 1234567, -1234.5, 0.25, None)] == ["0", "1,234,567", "-1,234.5", "0.25", "–"]
    assert [short_number(each) for each in (999, 2_412_345, 8.7e9)] == ["999", "2.41m", "8.7bn"]
    locale.set(LOCALES["vi"])
    assert number(48210.5) == "48.210,5"


@given(st.integers() | st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_of_any_size_has_a_text(value: float) -> None:
    assert number(value)
    assert short_number(value)


def test_instants_are_in_the_tenants_time_with_the_exact_one_in_the_title() -> None:
    said = when(NOW)
    assert "1 Mar 2026, 11:11<" in said
    assert "11:11:00 Asia/Ho_Chi_Minh" in said
    assert ">5 min ago<" in ago(NOW - timedelta(minutes=5))
    assert ">in 2 days<" in ago((NOW + timedelta(days=2, hours=4)).isoformat())
    assert ">in 47 hr<" in ago(NOW + timedelta(hours=47))
    assert ">now<" in ago(NOW)
    assert when(None) == ago(None) == "–"
    durations = [span(each) for each in (0, 45, 725, 7500, 273600, 86400)]
    assert durations == ["0 secs", "45 secs", "12 mins 5 secs", "2 hrs 5 mins", "3 days 4 hrs", "1 day"]


def test_values_are_written_for_the_locale_of_the_person() -> None:
    locale.set(LOCALES["vi"])
    assert ">5 phút trước<" in ago(NOW - timedelta(minutes=5))
    assert "11:11 1 thg 3, 2026<" in when(NOW)
    assert [share(0.125), listed(["a", "b", "c"], "or"), day_names()["MON"]] == ["12,5%", "a, b hoặc c", "Thứ Hai"]
    locale.set(Locale("en", "US"))
    assert "Mar 1, 2026, 11:11\u202fAM<" in when(NOW)


def test_an_instant_can_be_shown_on_another_clock_which_its_title_names() -> None:
    said = when(NOW, zone="Europe/Berlin")
    assert "1 Mar 2026, 05:11<" in said
    assert "05:11:00 Europe/Berlin" in said


def test_what_is_copied_is_escaped() -> None:
    assert "<b>" not in copyable('"><b>')


@given(st.lists(st.tuples(st.text(max_size=5), st.tuples(st.floats(0, 1e15), st.floats(0, 1e15))), max_size=40))
def test_bars_stay_inside_their_chart(rows: list[tuple[str, tuple[float, float]]]) -> None:
    for bar in bars(rows).bars:
        assert 0 <= bar.y <= 170
        assert 0 <= bar.height <= 170
        assert 0 <= bar.x <= 716


@given(st.floats(0, 1e18))
def test_the_top_of_a_scale_is_not_below_its_values(value: float) -> None:
    assert ceiling(value) >= value


def test_a_course_needs_two_values() -> None:
    assert line([3]) == ""
    assert line([0, 4]).split() == ["0.0,32.0", "100.0,4.0"]


def test_the_pointer_stands_below_the_error() -> None:
    assert pointer("a + b", "unexpected '+' (at position 3)") == "a + b\n  ▲"
    assert pointer("a", "is wrong") == ""


@pytest.mark.parametrize(
    "elsewhere", ["", "https://evil.example", "//evil", "/console//evil", "/console/\\evil", "/consolex", "/console/\r\nX: y"]
)
def test_only_pages_of_the_console_are_gone_on_to(elsewhere: str) -> None:
    assert safe_path(elsewhere) == "/dashboard"


def test_a_page_of_the_console_keeps_its_query() -> None:
    assert safe_path("/console/users?q=a//b") == "/users?q=a//b"


@pytest.mark.parametrize(
    ("cookie", "accepted", "chosen"),
    [
        ("vi", "en", "vi_VN"),
        ("xx", "fr, vi;q=0.2", "vi_VN"),
        ("en", "vi-VN,vi;q=0.9,en-US;q=0.8", "en_US"),
        (None, "", "en_GB"),
        (None, "en", "en_GB"),
        (None, "EN-us", "en_US"),
        (None, "en-QQ", "en_GB"),
        (None, "en-Latn-US, eng, vi", "en_GB"),
        (None, "english; vi", "en_GB"),
    ],
)
def test_the_choice_of_a_language_wins_over_the_browser_which_tells_the_region(cookie: str | None, accepted: str, chosen: str) -> None:
    assert str(choose_locale(cookie, accepted)) == chosen


def test_amounts_have_the_singular_and_the_plural_of_points() -> None:
    said = [price({"amount": each, "currency": "points"}) for each in (1, 0, 0.5, 1000)]
    assert said == ["1 point", "0 points", "0.5 points", "1,000 points"]
    assert price({"amount": 1, "currency": "coins"}) == "1 coins"
    locale.set(LOCALES["vi"])
    assert price({"amount": 0.5, "currency": "points"}) == "0,5 điểm"
