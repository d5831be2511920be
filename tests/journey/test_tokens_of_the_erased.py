"""A token that a user had is worth nothing after its erasure; one that is issued afterwards is a new user's."""

import httpx

from tests.builders.api import World, event
from tests.builders.seeded_tenant import make


def token_of(world: World, name: str) -> dict[str, str]:
    with world.client("server") as server:
        token = make(server, "/v1/auth/gamer-token", {"user_id": name})["token"]
    return {"Authorization": f"Bearer {token}"}


def test_a_token_from_before_the_erasure_makes_no_user_anew(world: World):
    with world.client() as admin:
        for name in ("ann", "bob"):
            make(admin, "/v1/users", {"external_id": name})
        old, others = token_of(world, "ann"), token_of(world, "bob")
        with httpx.Client(base_url=world.url, timeout=60.0) as browser:
            assert browser.get("/v1/users/me/points", headers=old).status_code == 200
            assert admin.delete("/v1/users/ann").status_code == 204
            # Seconds later: a token and an erasure of the same second cannot be told apart.
            world.rows("UPDATE erased_name SET erased_at = erased_at + interval '10 s' RETURNING 1")
            while (answer := browser.post("/v1/events", headers=old, json=event("e1", "ann"))).status_code == 202:
                pass  # every process hears of it within a second
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "UNAUTHORIZED")
            assert browser.get("/v1/users/me/points", headers=others).status_code == 200
            world.rows("UPDATE erased_name SET erased_at = erased_at - interval '20 s' RETURNING 1")
            new = token_of(world, "ann")
            while (answer := browser.post("/v1/events", headers=new, json=event("e2", "ann"))).status_code == 401:
                pass
            assert answer.status_code == 202
