"""Signing in to the console over HTTP: sessions, throttling, forged forms, headers, roles."""

import httpx
import pytest

from console.nav import ENTRIES
from tests.builders.api import World
from tests.builders.console import PASSWORD, Tab, add_person, heading, signed_in


def test_whoever_is_not_signed_in_is_led_to_the_sign_in_page_and_then_on(world: World) -> None:
    tab = Tab(world.url)
    page = tab.get("/rewards", status="active")
    assert page.url.path == "/console/sign-in"
    assert 'type="email"' in page.text
    assert 'type="password"' in page.text
    page = tab.send("/sign-in", email=add_person(world).upper(), password=PASSWORD, next="/console/rewards?status=active")
    assert page.url.path == "/console/rewards"
    assert page.url.query == b"status=active"
    assert tab.get("/sign-in").url.path == "/console/dashboard"


@pytest.mark.parametrize("elsewhere", ["https://evil.example/", "//evil.example", "/console//evil.example", "/v1/users", "/console/\\evil"])
def test_signing_in_never_leads_to_another_site(world: World, elsewhere: str) -> None:
    tab = Tab(world.url)
    tab.get("/sign-in", next=elsewhere)
    page = tab.send("/sign-in", email=add_person(world), password=PASSWORD, next=elsewhere)
    assert page.url.path == "/console/dashboard"


def test_a_wrong_password_and_an_unknown_address_get_the_same_answer(world: World) -> None:
    known, tab = add_person(world), Tab(world.url)
    answers = []
    for email in (known, "nobody@example.com"):
        answer = tab.sign_in(email, "not it at all")
        answers.append((answer.status_code, answer.text.replace(email, "x").replace(tab.token(), "")))
    assert answers[0] == answers[1]
    assert answers[0][0] == 403
    assert "laurel_session" not in tab.client.cookies


def test_attempts_are_throttled_for_an_address_that_nobody_has_as_for_one_that_somebody_has(world: World) -> None:
    for email in (add_person(world), "nobody@example.com"):
        tab = Tab(world.url)
        answers = [tab.sign_in(email, "wrong").status_code for _ in range(7)]
        assert answers == [403] * 6 + [429]
        assert tab.sign_in(email).status_code == 429, "the right password does not help either"
    assert world.rows("SELECT count(*) FROM audit_log WHERE action = 'sign_in_refused'") == [(6,)]


def test_strangers_cannot_lock_a_person_out_of_a_browser_that_it_has_used_before(world: World) -> None:
    email, known = add_person(world), Tab(world.url)
    known.sign_in(email)
    known.get("/account")
    known.send("/sign-out")
    attacker = Tab(world.url)
    while attacker.sign_in(email, "wrong").status_code != 429:
        pass
    fresh = Tab(world.url)
    assert fresh.sign_in(email).status_code == 429
    assert known.sign_in(email).status_code == 200
    assert known.get("/dashboard").url.path == "/console/dashboard"


def test_a_known_browser_is_known_for_its_own_person_and_guesses_no_more_than_others(world: World) -> None:
    email, other, tab = add_person(world), add_person(world), Tab(world.url)
    tab.sign_in(email)
    tab.get("/account")
    tab.send("/sign-out")
    assert [tab.sign_in(email, "wrong").status_code for _ in range(7)] == [403] * 6 + [429]
    attacker = Tab(world.url)
    while attacker.sign_in(other, "wrong").status_code != 429:
        pass
    assert tab.sign_in(other).status_code == 429, "the cookie was made for another address"


def test_a_suspension_ends_sessions_and_lets_nobody_in(world: World) -> None:
    email, tab = add_person(world), Tab(world.url)
    tab.sign_in(email)
    operator = {"Authorization": "Bearer operator-key-of-the-tests"}
    path = f"{world.url}/v1/operator/tenants/{world.tenant_id}"
    assert httpx.patch(path, json={"status": "suspended"}, headers=operator, timeout=60.0).status_code == 200
    assert world.rows("SELECT count(*) FROM console_session") == [(0,)]
    for page in ("/dashboard", "/users", "/stuck-work", "/account"):
        assert tab.get(page).url.path == "/console/sign-in"
    answer = tab.sign_in(email)
    assert answer.status_code == 403
    assert "suspended" in answer.text
    assert "suspended" not in tab.sign_in(email, "wrong").text, "only who knows the password is told"
    assert httpx.patch(path, json={"status": "active"}, headers=operator, timeout=60.0).status_code == 200
    assert tab.sign_in(email).status_code == 200


def test_the_password_of_an_invitation_opens_nothing_but_the_choice_of_another(world: World) -> None:
    email, tab = add_person(world), Tab(world.url)
    world.rows("UPDATE console_user SET first_password_until = now() + interval '1 day' WHERE email = %s RETURNING 1", email)
    tab.sign_in(email)
    for page in ("/dashboard", "/users", "/api-keys"):
        assert tab.get(page).url.path == "/console/account"
    assert tab.send("/account/password", present=PASSWORD, new=PASSWORD, again=PASSWORD).status_code == 400
    new = "other words in a row"
    tab.send("/account/password", present=PASSWORD, new=new, again=new)
    assert tab.get("/users").url.path == "/console/users"


def test_the_password_of_an_invitation_ends(world: World) -> None:
    email, tab = add_person(world), Tab(world.url)
    world.rows("UPDATE console_user SET first_password_until = now() - interval '1 minute' WHERE email = %s RETURNING 1", email)
    assert tab.sign_in(email).status_code == 403


@pytest.mark.parametrize("field", ["email", "password", "next"])
def test_a_file_in_the_place_of_a_field_is_a_wrong_password(world: World, field: str) -> None:
    tab = Tab(world.url)
    tab.get("/sign-in")
    data = {"form_token": tab.token(), "email": "a@example.com", "password": "x", "next": ""}
    data.pop(field)
    assert tab.client.post("/sign-in", data=data, files={field: ("a.txt", b"x")}).status_code == 403


def test_a_good_sign_in_starts_the_count_anew(world: World) -> None:
    email = add_person(world)
    for _ in range(2):
        tab = Tab(world.url)
        assert [tab.sign_in(email, "wrong").status_code for _ in range(5)] == [403] * 5
        assert tab.sign_in(email).status_code == 200


def test_the_cookie_is_for_the_server_only_and_its_text_is_not_kept(world: World) -> None:
    tab = Tab(world.url)
    tab.get("/sign-in")
    answer = tab.client.post(
        "/sign-in", data={"form_token": tab.token(), "email": add_person(world), "password": PASSWORD}, follow_redirects=False
    )
    cookie = next(each for each in answer.headers.get_list("set-cookie") if each.startswith("laurel_session="))
    assert {"HttpOnly", "SameSite=lax", "Path=/console"} <= {part.strip() for part in cookie.split(";")}
    text = cookie.split(";")[0].partition("=")[2]
    assert not world.rows("SELECT 1 FROM console_session WHERE encode(token_hash, 'escape') LIKE %s", f"%{text}%")


def test_signing_out_ends_the_session_and_signing_out_everywhere_ends_all(world: World) -> None:
    email = add_person(world)
    here, there, third = Tab(world.url), Tab(world.url), Tab(world.url)
    for tab in (here, there, third):
        tab.sign_in(email)
    stolen = dict(third.client.cookies)
    third.get("/account")
    assert third.send("/sign-out").url.path == "/console/sign-in"
    assert httpx.get(f"{world.url}/console/account", cookies=stolen, timeout=60.0).status_code == 303
    here.get("/account")
    assert here.send("/account/sign-out-everywhere").url.path == "/console/sign-in"
    assert there.get("/account").url.path == "/console/sign-in"


def test_a_session_ends_when_it_is_not_used_and_at_its_latest_end(world: World) -> None:
    for column, age in (("last_seen_at", "13 hours"), ("expires_at", "1 second")):
        tab = signed_in(world)
        world.rows(f"UPDATE console_session SET {column} = now() - interval '{age}' RETURNING 1")
        assert tab.get("/account").url.path == "/console/sign-in"


def test_changing_the_password_asks_for_the_present_one_and_signs_out_elsewhere(world: World) -> None:
    email = add_person(world)
    here, there = Tab(world.url), Tab(world.url)
    here.sign_in(email)
    there.sign_in(email)
    here.get("/account")
    new = "other words in a row"
    assert here.send("/account/password", present="wrong", new=new, again=new).status_code == 400
    assert here.send("/account/password", present=PASSWORD, new="elevenchars", again="elevenchars").status_code == 400
    assert here.send("/account/password", present=PASSWORD, new=new, again="else").status_code == 400
    assert "Password changed" in here.send("/account/password", present=PASSWORD, new=new, again=new).text
    assert there.get("/account").url.path == "/console/sign-in"
    assert there.sign_in(email).status_code == 403
    assert there.sign_in(email, new).status_code == 200
    actions = {row[0] for row in world.rows("SELECT action FROM audit_log WHERE actor = %s", f"console:{email}")}
    assert {"sign_in", "password_changed"} <= actions


def test_a_form_without_its_token_or_from_another_site_is_refused(world: World) -> None:
    tab = signed_in(world)
    other = signed_in(world)
    tab.get("/account")
    for fields, headers in (
        ({}, {}),
        ({"form_token": other.get("/account") and other.token()}, {}),
        ({"form_token": tab.token()}, {"Origin": "https://evil.example"}),
        ({"form_token": tab.token()}, {"Sec-Fetch-Site": "cross-site"}),
    ):
        answer = tab.client.post("/account/sign-out-everywhere", data=fields, headers=headers)
        assert answer.status_code == 403, (fields, headers)
    assert tab.get("/account").url.path == "/console/account"


def test_every_answer_has_a_strict_policy(world: World) -> None:
    tab = signed_in(world)
    page = tab.get("/dashboard")
    for path in ("/dashboard", "/no-such-page", page.text.split('rel="stylesheet" href="')[1].split('"')[0].removeprefix("/console")):
        headers = tab.get(path).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert (headers["x-frame-options"], headers["x-content-type-options"]) == ("DENY", "nosniff")
    assert page.headers["cache-control"] == "no-store"
    assert "immutable" in headers["cache-control"]


def test_every_link_of_the_navigation_leads_to_a_page_with_one_heading(world: World) -> None:
    for role in ("admin", "viewer"):
        tab = signed_in(world, role)
        for entry in ENTRIES:
            page = tab.get(entry.path)
            assert (page.status_code, page.url.path) == (200, f"/console{entry.path}"), page.text
            assert heading(page)
            assert page.text.count('aria-current="page"') >= 1


def test_a_page_that_does_not_exist_says_so_in_both_languages(world: World) -> None:
    tab = signed_in(world)
    page = tab.get("/no-such-page")
    assert (page.status_code, heading(page)) == (404, "Page not found")
    tab.get("/account")
    assert tab.send("/preferences", language="vi", theme="dark", next="/console/account").url.path == "/console/account"
    page = tab.get("/no-such-page")
    assert (page.status_code, heading(page)) == (404, "Không có trang này")
    assert '<html lang="vi" data-theme="dark">' in page.text


def test_the_language_of_the_browser_is_the_first_choice(world: World) -> None:
    assert heading(Tab(world.url, **{"Accept-Language": "fr-FR, vi-VN;q=0.8, en;q=0.5"}).get("/sign-in")) == "Đăng nhập"


def test_a_gamer_or_a_key_of_the_api_opens_no_page(world: World) -> None:
    answer = httpx.get(f"{world.url}/console/dashboard", headers={"Authorization": f"Bearer {world.keys['admin']}"}, timeout=60.0)
    assert answer.status_code == 303


def test_headers_from_outside_do_not_make_an_admission(world: World) -> None:
    answer = httpx.get(f"{world.url}/v1/admin/settings", headers={"laurel.console": "admin", "X-Laurel-Console": "admin"}, timeout=60.0)
    assert answer.status_code == 401
