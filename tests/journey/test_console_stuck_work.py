"""Stuck work in the console over HTTP, while Temporal is away: what is shown, what may be done, and the wall between tenants."""

import psycopg
import pytest

from runtime.settings import Settings
from tests.builders.api import World, event, make_world
from tests.builders.console import signed_in
from tests.journey.programme import add_reward, give_points, post


def change(world: World, statement: str, *parameters: object) -> None:
    with psycopg.connect(world.database_url, autocommit=True) as connection:
        connection.execute(statement.encode(), parameters)


def seed(world: World) -> tuple[str, str, int]:
    """One of everything that can be stuck; answers the redemption, the endpoint and the dead letter's position."""
    with world.client() as client:
        give_points(client, "ann", 300)
        slug = add_reward(client, price=100, fulfilment={"type": "manual"})
        flagged, late = (post(client, "/v1/redemptions", {"external_user_id": "ann", "slug": slug})["redemption_id"] for _ in range(2))
        body = {"url": "http://127.0.0.1:9/hook", "events": ["tier_change"]}
        failing, off = (post(client, "/v1/admin/webhook-endpoints", body)["endpoint_id"] for _ in range(2))
        for endpoint in (failing, off):
            post(client, f"/v1/admin/webhook-endpoints/{endpoint}/test", {}, 202)
        client.post("/v1/admin/event-types", json={"name": "goal"})
        post(client, "/v1/events", event("broken-1", "ann"), 202)
        post(client, f"/v1/admin/webhook-endpoints/{off}/disable", {}, 200)
    change(world, "UPDATE redemption SET flags = '{delivery_exhausted}' WHERE redemption_id = %s", flagged)
    change(world, "UPDATE redemption SET deadline_at = now() - interval '1 h' WHERE redemption_id = %s", late)
    change(world, "UPDATE webhook_delivery SET event = 'tier_change'")
    change(
        world,
        "UPDATE webhook_delivery SET state = 'exhausted', last_status = 503, due_at = NULL, due_trigger = NULL WHERE endpoint_id = %s",
        failing,
    )
    change(world, "UPDATE outbox SET created_at = now() - interval '1 h' WHERE tenant_id = %s", world.tenant_id)
    change(
        world,
        "INSERT INTO dead_letter (tenant_id, position, event_id, scoring_partition, accepted_at, reason, created_at)"
        " SELECT tenant_id, position, event_id, scoring_partition, accepted_at, 'a rule broke', now() FROM event_log WHERE tenant_id = %s",
        world.tenant_id,
    )
    ((position,),) = world.rows("SELECT position FROM dead_letter WHERE tenant_id = %s", world.tenant_id)
    return flagged, failing, position


def test_a_tenant_without_stuck_work_is_told_so_but_not_while_temporal_is_away(world: World) -> None:
    page = signed_in(world).get("/stuck-work")
    assert page.status_code == 200
    assert "Temporal isn't responding." in page.text
    assert "Nothing needs attention" not in page.text


def test_every_kind_of_stuck_work_is_shown_with_what_to_do(world: World) -> None:
    flagged, failing, position = seed(world)
    text = signed_in(world).get("/stuck-work").text
    for heading in (
        "Overdue redemptions",
        "Redemptions not delivered",
        "Failed deliveries",
        "Held deliveries",
        "Dead letters",
        "Commands not yet delivered to Temporal",
    ):
        assert heading in text, heading
    assert "a rule broke" in text
    for act in (
        f"/redemptions/{flagged}/resend",
        f"/webhooks/{failing}/recover",
        f"/stuck-work/dead-letters/{position}/replay",
    ):
        assert f'action="/console{act}"' in text, act


def test_failed_deliveries_are_sent_again_held_ones_released_and_events_replayed(world: World) -> None:
    _, failing, position = seed(world)
    tab = signed_in(world)
    tab.get("/stuck-work")
    page = tab.send(f"/webhooks/{failing}/recover", since="2020-01-01T00:00:00+00:00", back="stuck-work", reason="they are back")
    assert page.url.path == "/console/stuck-work"
    assert "1 queued for resending." in page.text
    assert "Failed deliveries" not in page.text
    ((off,),) = world.rows("SELECT endpoint_id FROM webhook_endpoint WHERE NOT enabled")
    page = tab.send(f"/webhooks/{off}/enable", back="stuck-work", reason="")
    assert "Deliveries held" not in page.text
    page = tab.send(f"/stuck-work/dead-letters/{position}/replay", reason="the rule is right now")
    assert "Dead letters" not in page.text
    page = tab.send(f"/stuck-work/dead-letters/{position}/replay", reason="once more")
    assert 'role="alert"' in page.text
    assert ("they are back",) in world.rows("SELECT reason FROM audit_log WHERE action = 'recover'")


def test_a_viewer_sees_stuck_work_and_is_offered_nothing(world: World) -> None:
    _, failing, position = seed(world)
    tab = signed_in(world, "viewer")
    page = tab.get("/stuck-work")
    assert "Dead letters" in page.text
    assert 'class="confirm"' not in page.text
    assert 'role="alert"' in tab.send(f"/stuck-work/dead-letters/{position}/replay").text
    assert world.rows("SELECT count(*) FROM dead_letter WHERE replayed_at IS NULL") == [(1,)]
    assert tab.client.post(f"/stuck-work/dead-letters/{position}/replay", data={"form_token": "0" * 64}).status_code == 403
    tab.get("/stuck-work")
    tab.send(f"/webhooks/{failing}/recover", since="2020-01-01T00:00")
    assert world.rows("SELECT count(*) FROM webhook_delivery WHERE state = 'exhausted' AND due_at IS NULL") == [(1,)]


async def test_another_tenants_stuck_work_is_not_there(world: World, settings: Settings, url: str) -> None:
    other = await make_world(settings, url)
    _, _, position = seed(other)
    tab = signed_in(world)
    assert "<section" not in tab.get("/stuck-work").text
    assert 'role="alert"' in tab.send(f"/stuck-work/dead-letters/{position}/replay").text


def plan(world: World, query: str) -> str:
    with psycopg.connect(world.database_url, autocommit=True) as connection:
        connection.execute("SET enable_seqscan = off")
        return "\n".join(row[0] for row in connection.execute(f"EXPLAIN {query}".encode()).fetchall())


OPEN = "status IN ('pending_claim', 'pending_approval', 'pending', 'processing')"


@pytest.mark.parametrize(
    ("index", "query"),
    [
        ("ix_webhook_delivery_stuck", ("webhook_delivery WHERE {t} AND state = 'exhausted' AND state IN ('exhausted', 'held')"
         " ORDER BY delivery_id DESC LIMIT 9")),
        ("ix_redemption_flagged_open", "redemption WHERE {t} AND flags <> '{{}}' AND {open} ORDER BY redemption_id LIMIT 9"),
        ("ix_redemption_open", "redemption WHERE {t} AND {open} AND deadline_at < now() ORDER BY deadline_at LIMIT 9"),
        ("ix_dead_letter_open", "dead_letter WHERE {t} AND replayed_at IS NULL ORDER BY position DESC LIMIT 9"),
        ("ix_outbox_due_at", "outbox WHERE sent_at IS NULL ORDER BY due_at LIMIT 9"),
        ("ix_redemption_tenant_id_reward_id", "redemption WHERE {t} AND reward_id = '{id}' ORDER BY redemption_id DESC LIMIT 9"),
        ("uq_transfer_cause", "transfer WHERE {t} AND cause_type = 'redemption' AND cause_id = '{id}'"),
        ("ix_webhook_delivery_tenant_id_endpoint_id", ("webhook_delivery WHERE {t} AND endpoint_id = '{id}' AND delivery_id >= '{id}'"
         " ORDER BY delivery_id DESC LIMIT 9")),
        ("ix_webhook_delivery_due", "webhook_delivery WHERE {t} AND endpoint_id = '{id}' AND due_at IS NOT NULL ORDER BY due_at LIMIT 1"),
    ],
)  # fmt: skip
def test_what_the_pages_ask_is_answered_by_an_index(world: World, index: str, query: str) -> None:
    told = query.format(t=f"tenant_id = '{world.tenant_id}'", id=world.tenant_id, open=OPEN)
    explained = plan(world, f"SELECT * FROM {told}")
    assert index in explained
    assert "Seq Scan" not in explained
