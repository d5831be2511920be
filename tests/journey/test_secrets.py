"""After a full journey no secret stands anywhere: in no log, database column, workflow history, refusal or metric."""

import asyncio
import re

import httpx
import psycopg
import pytest
from psycopg import sql
from temporalio.client import Client

from tests.conftest import Stack
from tests.journey.programme import add_endpoint, add_reward, add_rule, event, eventually, fresh, give_points, post, receiver, redemption_in

pytestmark = [pytest.mark.xdist_group("stack"), pytest.mark.slow]

HISTORIES = 400
"""The newest workflows of the shared stack; this journey's own are among them."""
TEXTS = """
    SELECT c.table_name, c.column_name, c.data_type FROM information_schema.columns AS c JOIN information_schema.tables AS t
        USING (table_schema, table_name)
    WHERE c.table_schema = 'public' AND t.table_type = 'BASE TABLE' AND c.data_type IN ('text', 'jsonb', 'bytea', 'ARRAY')
"""


def places_in_the_database(database_url: str, pattern: str) -> list[str]:
    """Every column of the database in which a secret stands, sealed columns not excepted: what is sealed must not be readable."""
    found = []
    with psycopg.connect(database_url, autocommit=True) as connection:
        for table, column, kind in connection.execute(TEXTS).fetchall():
            text = sql.SQL("encode({}, 'escape')" if kind == "bytea" else "{}::text").format(sql.Identifier(column))
            query = sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE {} ~ %s)").format(sql.Identifier(table), text)
            row = connection.execute(query, (pattern,)).fetchone()
            if row is not None and row[0]:
                found.append(f"{table}.{column}")
    return found


async def places_in_histories(stack: Stack, pattern: re.Pattern[str]) -> list[str]:
    """Every workflow whose history, memo or attributes hold a secret."""
    client = await Client.connect(stack.described["temporal_address"], namespace=stack.described["temporal_namespace"])
    found, looked = [], 0
    async for execution in client.list_workflows(limit=HISTORIES):
        history = await client.get_workflow_handle(execution.id, run_id=execution.run_id).fetch_history()
        looked += 1
        # Payloads are base64 in the JSON form, so they are read as they are.
        raw = b"".join(each.SerializeToString() for each in history.events).decode("utf-8", "replace")
        if pattern.search(raw) or pattern.search(execution.id):
            found.append(execution.id)
    assert looked
    return found


def refusals(stack: Stack, token: str, webhook_secret: str) -> str:
    """What the API says, head and body, to secrets in wrong places."""
    url, key = stack.described["api_url"], stack.described["api_key"]
    wrong = [
        {"Authorization": f"Bearer {key}x"},
        {"Authorization": f"Basic {key}"},
        {"X-API-Key": token},
        {"Authorization": f"Bearer {token}x"},
        {"Authorization": f"Bearer {stack.described['operator_key']}"},
    ]
    answers = [httpx.get(f"{url}/v1/admin/settings", headers=headers, timeout=60.0) for headers in wrong]
    with stack.client() as client:
        answers.append(client.post("/v1/admin/webhook-endpoints", json={"url": "ftp://x", "events": ["*"], "secret": webhook_secret}))
        answers.append(client.post("/v1/admin/webhook-endpoints", json={"url": 5, "secret": webhook_secret}))
        answers.append(client.post("/v1/users", content=f'{{"external_id": "{token}'.encode()))
    assert {answer.is_success for answer in answers} == {False}
    return "".join(answer.text + str(answer.headers) for answer in answers)


def test_no_secret_stands_anywhere_after_a_full_journey(stack: Stack) -> None:
    kind, user = fresh("kind"), fresh("user")
    with stack.client() as client, receiver(500, 200) as partner:
        endpoint, secret = add_endpoint(client, partner.url)
        client.patch(f"/v1/admin/webhook-endpoints/{endpoint}", json={"retry_delays_seconds": [1]}).raise_for_status()
        rotated = post(client, f"/v1/admin/webhook-endpoints/{endpoint}/rotate-secret", {}, 200)["secret"]
        key = post(client, "/v1/admin/api-keys", {"name": "a partner", "role": "fulfilment"})["key"]
        token = post(client, "/v1/auth/gamer-token", {"user_id": user})["token"]
        add_rule(client, kind)
        give_points(client, user, 100)
        post(client, "/v1/events", event(kind, user, points=5), 202)
        slug = add_reward(client, price=10, endpoint_id=endpoint)
        headers = {"Authorization": f"Bearer {token}"}
        bought = httpx.post(f"{stack.described['api_url']}/v1/rewards/purchase/{slug}", json={}, headers=headers, timeout=60.0)
        redemption = bought.json()["redemption_id"]
        redemption_in(client, redemption, "processing")
        with httpx.Client(base_url=stack.described["api_url"], headers={"X-API-Key": key}, timeout=60.0) as fulfilment:
            fulfilment.patch(f"/v1/admin/rewards/redemptions/{redemption}", json={"status": "fulfilled"}).raise_for_status()
        eventually(lambda: client.get(f"/v1/redemptions/{redemption}").json()["status"] == "fulfilled")
        metrics = client.get("/metrics").text
        client.delete(f"/v1/admin/webhook-endpoints/{endpoint}").raise_for_status()
    environment = stack.described["env"]
    known = [
        *(secret, rotated, key, token, stack.described["api_key"], stack.described["fulfilment_key"], stack.described["operator_key"]),
        *(stack.described["console_password"], environment["LAUREL_SECRET_KEY"]),
    ]
    # A key's first part is its public name; what must stay hidden is the rest. A token's third part is its signature.
    hidden = [each.split("_", 2)[2] if each.startswith("lk_") else each.removeprefix("whsec_") for each in known]
    hidden.append(token.rpartition(".")[2])
    text = "|".join(map(re.escape, hidden))
    assert min(map(len, hidden)) >= 12
    pattern = re.compile(text)
    for log in sorted((stack.data_dir / "logs").glob("*")):
        assert not pattern.search(log.read_text(errors="replace")), log.name
    assert not pattern.search(metrics)
    assert not pattern.search(refusals(stack, token, rotated))
    assert places_in_the_database(stack.described["database_url"], text) == []
    assert asyncio.run(places_in_histories(stack, pattern)) == []
