"""A tenant with people of the console, signed in over HTTP as a browser would be."""

import re
import secrets
from typing import Any

import httpx
import psycopg
from argon2 import PasswordHasher

from runtime.ids import new_id
from tests.builders.api import World

PASSWORD = "a few words in a row"
HASH = PasswordHasher().hash(PASSWORD)
TOKEN = re.compile(r'name="form_token" value="([0-9a-f]+)"')


def add_person(world: World, role: str = "admin") -> str:
    """Somebody who may sign in with `PASSWORD`; answers the email."""
    email = f"{role}-{secrets.token_hex(4)}@example.com"
    with psycopg.connect(world.database_url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO console_user (tenant_id, console_user_id, email, password_hash, role, created_at)"
            " VALUES (%s, %s, %s, %s, %s, now())",
            (world.tenant_id, new_id(), email, HASH, role),
        )
    return email


class Tab:
    """A browser's tab without a script: follows redirections, keeps cookies, and sends forms with their token."""

    def __init__(self, url: str, **headers: str) -> None:
        self.client = httpx.Client(
            base_url=f"{url}/console", follow_redirects=True, timeout=60.0, headers={"Accept-Language": "en"} | headers
        )
        self.page: httpx.Response | None = None

    def get(self, path: str, **params: Any) -> httpx.Response:
        self.page = self.client.get(path, params=params)
        return self.page

    def token(self) -> str:
        assert self.page is not None
        found = TOKEN.search(self.page.text)
        assert found, self.page.text
        return found.group(1)

    def send(self, path: str, **fields: Any) -> httpx.Response:
        """Send a form of the present page."""
        self.page = self.client.post(path, data={"form_token": self.token(), **fields})
        return self.page

    def sign_in(self, email: str, password: str = PASSWORD) -> httpx.Response:
        self.get("/sign-in")
        return self.send("/sign-in", email=email, password=password)


def signed_in(world: World, role: str = "admin", **headers: str) -> Tab:
    """A tab in which a new person of that role is signed in."""
    tab = Tab(world.url, **headers)
    answer = tab.sign_in(add_person(world, role))
    assert answer.status_code == 200, answer.text
    assert str(answer.url).endswith("/console/dashboard"), answer.text
    return tab


def heading(page: httpx.Response) -> str:
    """The page's one heading."""
    found = re.findall(r"<h1[^>]*>(.*?)</h1>", page.text, re.DOTALL)
    assert len(found) == 1, page.text
    return str(found[0]).strip()
