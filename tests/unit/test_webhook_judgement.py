"""What a partner's answer means and when the next attempt is due (contract 5's table)."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from domain.webhook.webhook import AnswerVerdict, Ladder, check_url, error_class, judge, next_delay, retry_after_seconds

NOW = datetime(2026, 3, 1, 4, 11, tzinfo=UTC)


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_any_2xx_is_delivered(status):
    assert judge(status, None) is AnswerVerdict.DELIVERED
    assert error_class(status, None) is None


@pytest.mark.parametrize("status", [300, 301, 302, 304, 307, 308, 410])
def test_redirects_and_gone_are_permanent(status):
    assert judge(status, None) is AnswerVerdict.PERMANENT
    assert error_class(status, None) == ("http_410" if status == 410 else "redirect")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 409, 422, 425, 429, 500, 502, 503, 504, 599])
def test_any_other_answer_is_tried_again(status):
    assert judge(status, None) is AnswerVerdict.RETRY
    assert error_class(status, None) == f"http_{status}"


@pytest.mark.parametrize("error", ["dns", "refused", "reset", "timeout", "tls"])
def test_network_errors_are_tried_again(error):
    assert judge(None, error) is AnswerVerdict.RETRY
    assert error_class(None, error) == error


@pytest.mark.parametrize("error", ["blocked_address", "bad_url"])
def test_forbidden_addresses_are_permanent(error):
    assert judge(None, error) is AnswerVerdict.PERMANENT


def test_there_are_at_most_four_attempts():
    for delays, attempts in (([], 1), ([1.0], 2), ([1.0, 2.0, 3.0], 4), ([1.0] * 9, 4)):
        ladder = Ladder(delays=delays)
        assert ladder.attempts == attempts
        assert next_delay(attempts, ladder, 0.0) is None
        assert all(next_delay(attempt, ladder, 0.0) is not None for attempt in range(1, attempts))


def test_jitter_spreads_a_delay_by_a_fifth():
    ladder = Ladder(delays=[15.0, 120.0, 900.0])
    assert next_delay(1, ladder, -1.0) == pytest.approx(12.0)
    assert next_delay(2, ladder, 1.0) == pytest.approx(144.0)
    assert next_delay(3, ladder, 0.0) == 900.0


@pytest.mark.parametrize(("asked", "wait"), [(None, 15.0), (5.0, 15.0), (60.0, 60.0), (1800.0, 1800.0), (86400.0, 1800.0)])
def test_retry_after_lengthens_a_wait_to_at_most_half_an_hour(asked, wait):
    assert next_delay(1, Ladder(), 0.0, retry_after=asked) == wait


def test_retry_after_leaves_a_longer_delay_alone_and_the_deadline_cuts_it():
    ladder = Ladder(delays=[7200.0])
    assert next_delay(1, ladder, 0.0, retry_after=86400.0) == 7200.0
    assert next_delay(1, ladder, 0.0, retry_after=86400.0, remaining=40.0) == 40.0
    assert next_delay(1, ladder, 0.0, remaining=-3.0) == 0.0


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120.0),
        (" 7 ", 7.0),
        ("0", None),
        ("-5", None),
        ("soon", None),
        ("1.5", None),
        ("9" * 400, 1e9),
        (None, None),
        ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", None),
        ("Mon, 99999999999999999999 Jan 2030 00:00:00 GMT", None),
        ("Mon, 01 Jan 2030 00:00:00 +99999999999999999999", None),
        ("Fri, 31 Dec 9999 23:59:59 -2359", 251_630_048_879.0),
        (", , ,", None),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90.0),
        (format_datetime(NOW - timedelta(seconds=90), usegmt=True), None),
    ],
)
def test_retry_after_is_read_in_both_forms(header, seconds):
    assert retry_after_seconds(header, NOW) == seconds


@pytest.mark.parametrize(
    "url",
    ["ftp://example.com/", "https://user:pass@example.com/", "https://@example.com/", "https://example.com/#x", "https:///x",
     "//example.com",
     "https://exa mple.com/", "https://example.com:99999/", "https://example.com/\u0111", "https://example.com\\@evil.com/", "https://[::1"],
)  # fmt: skip
def test_an_endpoint_address_that_could_mislead_is_refused(url):
    with pytest.raises(Exception, match="url"):
        check_url(url, https_only=False)


def test_http_is_for_development_only():
    check_url("http://127.0.0.1:9000/hook", https_only=False)
    with pytest.raises(Exception, match="https://"):
        check_url("http://example.com/hook", https_only=True)
