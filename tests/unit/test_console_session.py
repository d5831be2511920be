"""Cookies of the console, and what an attempt to sign in is counted under."""

from console.session import (
    GUEST_COOKIE,
    SESSION_COOKIE,
    THEME_COOKIE,
    attempt_keys,
    device_of,
    make_cookie,
    with_own_cookies,
)

SECRET = b"a secret of the tests"


def test_over_https_what_proves_a_person_is_bound_to_the_host() -> None:
    for name in (SESSION_COOKIE, GUEST_COOKIE):
        cookie = make_cookie(name, "x", secure=True)
        assert (cookie.key, cookie.path, cookie.secure, cookie.domain) == (f"__Host-{name}", "/", True, None)
        assert make_cookie(name, "x", secure=False).key == name
    assert make_cookie(THEME_COOKIE, "dark", secure=True).path == "/console"


def test_a_known_browser_is_counted_by_itself() -> None:
    device = device_of(SECRET, "Eve@example.com", "abc")
    (own,) = attempt_keys(SECRET, "eve@example.com", "192.0.2.1", device)
    assert own not in attempt_keys(SECRET, "eve@example.com", "192.0.2.1")
    of_others = [device_of(SECRET, "bob@example.com", "abc"), device_of(b"other", "eve@example.com", "abc")]
    for forged in ("abc", "abc.00", device[:-1], "\udc80.é", *of_others):
        assert len(attempt_keys(SECRET, "eve@example.com", "192.0.2.1", forged)) == 3


def test_the_console_reads_none_but_its_own_cookies_and_none_in_quotes() -> None:
    headers = [
        (b"host", b"a"),
        (b"cookie", b'other=1; laurel_session=abc; laurel_flash="' + b'\\"' * 100 + b'"'),
        (b"cookie", b"__Host-laurel_device=d.e;laurel_theme=dark; x__Host-laurel_guest=f"),
    ]
    assert with_own_cookies(headers) == [(b"host", b"a"), (b"cookie", b" laurel_session=abc;__Host-laurel_device=d.e;laurel_theme=dark")]
    assert with_own_cookies([(b"cookie", b"other=1")]) == []
