"""Claims, approvals, codes and the export over HTTP (contract 4, Store and Redemption)."""

import asyncio
import csv
import io
from pathlib import Path
from typing import Any

import httpx
from click.testing import CliRunner

from cli.codes import codes
from runtime.settings import Settings
from tests.builders.api import World, make_world
from tests.journey import test_store
from tests.journey.test_store import error, field, store

_emptied, url, world = test_store._emptied, test_store.url, test_store.world

FIELDS = [{"name": "size", "required": True, "pattern": "S|M"}]


def gamer(world: World, admin: httpx.Client, user: str = "ann") -> httpx.Client:
    token = admin.post("/v1/auth/gamer-token", json={"user_id": user}).json()["token"]
    return httpx.Client(base_url=world.url, headers={"Authorization": f"Bearer {token}"}, timeout=60.0)


def bought(client: httpx.Client, **body: Any) -> dict[str, Any]:
    answer = client.post("/v1/rewards/purchase/mug", json=body)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def test_an_order_is_claimed_and_approved(world: World):
    with world.client() as admin, gamer(world, admin) as ann, gamer(world, admin, "bob") as bob:
        store(admin, fields=FIELDS, requires_claim=True, requires_approval=True)
        order = bought(ann)
        assert order["status"] == "pending_claim"
        path, staff = f"/v1/orders/{order['redemption_id']}", f"/v1/admin/redemptions/{order['redemption_id']}"
        assert field(ann.post(f"{path}/claim", json={"fields": {}})) == "fields.size"
        assert field(ann.post(f"{path}/claim", json={"fields": {"size": "XL"}})) == "fields.size"
        assert error(bob.post(f"{path}/claim", json={"fields": {"size": "M"}}))[0] in (403, 404)
        assert error(admin.post(f"{staff}/approve", json={})) == (409, "INVALID_STATE")
        assert error(admin.post(f"{staff}/fulfil", json={})) == (409, "INVALID_STATE")
        claimed = ann.post(f"{path}/claim", json={"fields": {"size": "M"}})
        assert (claimed.status_code, claimed.json()["status"], claimed.json()["fields"]) == (200, "pending_approval", {"size": "M"})
        again = ann.post(f"{path}/claim", json={"fields": {"size": "S"}})
        assert error(again) == (409, "INVALID_STATE")
        assert again.json()["error"]["present"] == "pending_approval"
        approved = admin.post(f"{staff}/approve", json={"reason": "checked"})
        assert (approved.status_code, approved.json()["status"]) == (200, "pending")
        assert [row["note"] for row in approved.json()["timeline"]] == [None, "claimed", "checked"]
        assert error(ann.post(f"{path}/cancel")) == (409, "INVALID_STATE")
        assert admin.post(f"{staff}/fulfil", json={"reason": "handed over"}).json()["status"] == "fulfilled"


def test_an_order_is_called_off_or_rejected_and_the_points_come_back(world: World):
    with world.client() as admin, gamer(world, admin) as ann:
        store(admin, requires_approval=True, max_per_user=1)
        first = bought(ann)
        refused = ann.post("/v1/rewards/purchase/mug")
        assert error(refused) == (409, "USER_LIMIT_REACHED")
        assert ann.post(f"/v1/orders/{first['redemption_id']}/cancel").json()["status"] == "cancelled"
        second = bought(ann)
        rejected = admin.post(f"/v1/admin/redemptions/{second['redemption_id']}/reject", json={"reason": "no"})
        assert (rejected.status_code, rejected.json()["status"]) == (200, "cancelled")
        assert ann.get("/v1/users/me/points").json()["balances"][0]["available"] == 100
        assert admin.get("/v1/admin/rewards/mug").json()["stock"] == 5


def test_a_pool_of_codes_is_filled_over_http_and_from_a_file(world: World, settings: Settings, tmp_path: Path, monkeypatch):
    with world.client() as admin, gamer(world, admin) as ann:
        store(admin, stock=None, fulfilment={"type": "codes"})
        added = admin.post("/v1/admin/rewards/mug/codes", json={"codes": ["A", "B", "A"]})
        assert added.status_code == 201, added.text
        assert {name: added.json()[name] for name in ("added", "known", "total", "left")} == {"added": 2, "known": 1, "total": 2, "left": 2}
        assert field(admin.post("/v1/admin/rewards/mug/codes", json={"codes": ["ok", " "]})) == "codes[1]"
        assert field(admin.patch("/v1/admin/rewards/mug", json={"stock": 9})) == "stock"
        assert admin.patch("/v1/admin/rewards/mug", json={"name": "Cup"}).json()["stock"] == 2
        bought(ann)
        file = tmp_path / "codes.txt"
        file.write_text("".join(f"{number:07}\n" for number in range(60_000)) + "A\n")
        monkeypatch.setenv("LAUREL_DATABASE_URL", settings.database_url)
        monkeypatch.setenv("LAUREL_SECRET_KEY", settings.secret_key)
        arguments = ["import", str(file), "--reward", "mug", "--tenant", str(world.tenant_id)]
        first, again = (CliRunner().invoke(codes, arguments) for _ in range(2))
        assert (first.exit_code, first.stderr) == (0, "60000 codes imported, 1 known already\n"), first.output
        assert again.stderr == "0 codes imported, 60001 known already\n"
        assert admin.get("/v1/rewards/catalog/mug").json()["stock"] == 60_001
        assert admin.get("/v1/admin/rewards/mug/codes").json()["left"] == 60_001


def test_redemptions_are_exported_as_csv(world: World, monkeypatch):
    from api.redemption import listing

    monkeypatch.setattr(listing, "CSV_PAGE", 3)
    with world.client() as admin:
        store(admin, name='Mug, "large"', fields=[{"name": "note"}])
        made = []
        for number, text in enumerate(("=1+1", "a\nb", "é", "", "x", "y", "z")):
            body = {"external_user_id": "ann", "slug": "mug", "fields": {"note": text}, "idempotency_key": str(number)}
            if number >= 3:
                admin.post("/v1/admin/users/ann/adjustments", json={"amount": 30, "reason": "more"})
            if number >= 5:
                admin.patch("/v1/admin/rewards/mug", json={"stock": 5})
            answer = admin.post("/v1/redemptions", json=body)
            assert answer.status_code == 201, answer.text
            made.append(answer.json()["redemption_id"])
        exported = admin.get("/v1/admin/redemptions/export")
        assert exported.headers["content-type"] == "text/csv; charset=utf-8"
        rows = list(csv.DictReader(io.StringIO(exported.text)))
        assert [row["redemption_id"] for row in rows] == made[::-1]
        assert (rows[0]["reward_name"], rows[0]["points_spent"], rows[0]["fields"]) == ('Mug, "large"', "30", '{"note":"z"}')
        admin.post(f"/v1/admin/redemptions/{made[0]}/fail", json={"reason": "=cmd()"})
        (failed,) = csv.DictReader(io.StringIO(admin.get("/v1/admin/redemptions/export?status=failed").text))
        assert failed["failure_reason"] == "'=cmd()"
        assert error(admin.get("/v1/admin/redemptions/export?user_id=nobody")) == (404, "USER_NOT_FOUND")
        assert field(admin.get("/v1/admin/redemptions/export?limit=1")) == "limit", "it is all of them"


def test_the_list_of_redemptions_still_answers_csv_to_whoever_asks_so(world: World):
    with world.client() as admin:
        store(admin)
        admin.post("/v1/redemptions", json={"external_user_id": "ann", "slug": "mug"}).raise_for_status()
        exported = admin.get("/v1/admin/redemptions/export").text
        assert admin.get("/v1/admin/redemptions?format=csv").text == exported
        assert admin.get("/v1/admin/redemptions", headers={"Accept": "text/csv"}).text == exported
        assert len(admin.get("/v1/admin/redemptions?format=json", headers={"Accept": "text/csv"}).json()["redemptions"]) == 1
        assert field(admin.get("/v1/admin/redemptions?format=pdf")) == "format"


def test_a_filter_that_is_misspelt_is_refused_with_the_choices(world: World):
    with world.client() as admin:
        for wrong in ("status=done", "flag=exhausted", "source_type=shop", "reward_id=mug", "from=today"):
            assert field(admin.get(f"/v1/admin/redemptions?{wrong}")) == wrong.partition("=")[0]


def test_another_tenants_pool_and_orders_look_like_none(world: World, settings: Settings, url: str):
    other = asyncio.run(make_world(settings, url))
    with world.client() as admin, other.client() as stranger:
        reward = store(admin, stock=None, fulfilment={"type": "codes"})
        path = f"/v1/admin/rewards/{reward['reward_id']}/codes"
        assert error(stranger.post(path, json={"codes": ["A"]})) == (404, "REWARD_NOT_FOUND")
        assert admin.post(path, json={"codes": ["A"]}).status_code == 201
        order = admin.post("/v1/redemptions", json={"external_user_id": "ann", "slug": "mug"}).json()
        assert error(stranger.post(f"/v1/orders/{order['redemption_id']}/cancel")) == (404, "REDEMPTION_NOT_FOUND")


def test_each_variant_of_a_voucher_has_its_own_pool_over_http(world: World):
    with world.client() as admin:
        variants = [{"id": "ten", "name": "10 K"}, {"id": "fifty", "name": "50 K"}]
        stocked = {"variants": [{**variants[0], "stock": 3}], "stock": None, "fulfilment": {"type": "codes"}}
        body = {"slug": "bad", "name": "Bad", **stocked}
        assert field(admin.post("/v1/admin/rewards", json=body)) == "variants[0].stock"
        store(admin, stock=None, variants=variants, fulfilment={"type": "codes"})
        path = "/v1/admin/rewards/mug/codes"
        assert field(admin.post(path, json={"codes": ["A"]})) == "variant_id"
        assert field(admin.post(path, json={"codes": ["A"], "variant_id": "x"})) == "variant_id"
        brought = admin.post(path, json={"codes": ["A", "B"], "variant_id": "ten"}).json()
        assert (brought["added"], brought["variants"]) == (2, [{"variant_id": "ten", "total": 2, "left": 2}])
        assert admin.patch("/v1/admin/rewards/mug", json={"name": "Voucher"}).status_code == 200
        shown = admin.get("/v1/rewards/catalog/mug").json()
        assert [(each["id"], each["stock"]) for each in shown["variants"]] == [("ten", 2), ("fifty", 0)]
        order = {"external_user_id": "ann", "slug": "mug"}
        assert error(admin.post("/v1/redemptions", json={**order, "variant_id": "fifty"})) == (409, "OUT_OF_STOCK")
        assert admin.post("/v1/redemptions", json={**order, "variant_id": "ten"}).status_code == 201
        assert admin.get(path).json()["left"] == 1
