"""Event types, the event log and dead letters in the console over HTTP."""

import asyncio
import json
from typing import Any

from activities.scoring import ScoringPump
from loops.scoring.wakeup import Wakeup
from runtime.postgres import Pool
from runtime.redis import Redis
from runtime.settings import Settings
from storage.leaderboard.rankings import Rankings
from tests.builders.api import World, make_world
from tests.builders.console import heading, signed_in
from tests.journey.programme import post

SCHEMA = {"type": "object", "required": ["goals"], "properties": {"goals": {"type": "integer", "minimum": 0}}}


def an_event(event_id: str = "evt-1", **attrs: Any) -> dict[str, Any]:
    body: dict[str, Any] = {"event_id": event_id, "type": "goal", "actor": {"user_id": "ada"}}
    return body | {"occurred_at": "2026-01-05T10:00:00Z", "attrs": attrs or {"goals": 2}}


def form(**changed: Any) -> dict[str, Any]:
    given = {"name": "goal", "description": "A goal", "schema": json.dumps(SCHEMA), "sample": json.dumps(an_event())}
    return given | changed


def sent(world: World, *events: dict[str, Any]) -> None:
    with world.client() as client:
        answer = client.post("/v1/events/bulk", json={"events": list(events)})
        assert answer.json()["status"] == "accepted", answer.text


def test_a_type_is_declared_changed_and_deleted_with_a_reason(world: World) -> None:
    tab = signed_in(world)
    assert "No event types declared" in tab.get("/event-types").text
    tab.get("/event-types/new")
    page = tab.send("/event-types", **form(server_only="on"))
    assert (heading(page), "servers only" in page.text, "attrs.goals" in page.text) == ("goal", True, True)
    tab.get("/event-types/goal/edit")
    page = tab.send("/event-types/goal/edit", **form(schema="", reason="any goal will do"))
    assert "No schema: any attributes are accepted." in page.text
    with world.client() as admin:
        declared = admin.get("/v1/admin/event-types/goal").json()
        assert (declared["schema"], declared["server_only"]) == (None, False)
    page = tab.send("/event-types/goal/delete", reason="not played any more")
    assert "No event types declared" in page.text
    reasons = world.rows("SELECT reason FROM audit_log WHERE subject = 'event_type' ORDER BY audit_id")
    assert [reason for (reason,) in reasons] == [None, "any goal will do", "not played any more"]


def preview(world: World, **changed: Any) -> str:
    tab = signed_in(world)
    tab.get("/event-types/new")
    page = tab.send("/event-types/preview", **form(**changed))
    assert page.status_code == 200
    return page.text.split('id="preview"')[1].split("<h2>Sample event")[0]


def test_the_sample_fits_or_says_what_does_not_and_nothing_is_saved(world: World) -> None:
    assert '<span class="pill good">matches</span>' in preview(world)
    wrong = preview(world, sample=json.dumps(an_event(goals=-1)))
    assert "<code>attrs.goals</code><p>-1 is less than the minimum of 0</p>" in wrong
    assert "attrs</code><p>&#39;goals&#39; is a required property" in preview(world, sample=json.dumps(an_event(own=1)))
    assert "Validation failed: event_type" in preview(world, sample=json.dumps(an_event() | {"type": ""}))
    assert "only its attributes were checked" in preview(world, name="shot")
    with world.client() as admin:
        assert admin.get("/v1/admin/event-types").json()["event_types"] == []


def test_errors_of_the_schema_are_shown_where_they_are(world: World) -> None:
    broken = preview(world, schema='{\n  "type" "object"\n}')
    assert "Line 2, column 10" in broken
    assert "  &#34;type&#34; &#34;object&#34;\n" + " " * 9 + "▲" in broken
    assert "properties.goals.type" in preview(world, schema='{"properties": {"goals": {"type": "int"}}}')
    assert "not supported" in preview(world, schema='{"$ref": "#/x"}')
    assert "Must be an object" in preview(world, schema="[]")
    tab = signed_in(world)
    tab.get("/event-types/new")
    page = tab.send("/event-types", **form(schema="{", description="typed with care"))
    assert page.status_code == 400
    assert "typed with care" in page.text
    page = tab.send("/event-types", **form(name="no spaces allowed"))
    assert (page.status_code, 'aria-invalid="true"' in page.text) == (400, True)


def test_a_type_that_came_undeclared_is_offered_with_a_drafted_schema(world: World) -> None:
    sent(world, an_event(goals=3, team={"name": "Reds"}))
    tab = signed_in(world)
    assert "/console/event-types/new?name=goal" in tab.get("/event-types").text
    page = tab.get("/event-types/new", name="goal")
    assert "attrs.team.name" in page.text
    assert '<span class="pill good">matches</span>' in page.text


def test_the_log_filters_and_an_event_says_what_it_did(world: World) -> None:
    sent(world, an_event("evt/1?a=b"))
    sent(world, an_event("evt-2") | {"type": "foul"})
    tab = signed_in(world)
    page = tab.get("/event-log")
    assert page.text.index("evt-2") < page.text.index("evt/1?a=b")
    assert "evt-2" not in tab.get("/event-log", type="goal").text
    assert "No matching events." in tab.get("/event-log", user_id="nobody").text
    assert "evt-2" in tab.get("/event-log", **{"from": "2020-01-01T00:00"}).text
    assert tab.get("/event-log", **{"from": "yesterday"}).status_code == 400
    page = tab.get("/event-log/event", event_id="evt/1?a=b", user_id="ada")
    assert (heading(page), "&#34;goals&#34;: 2" in page.text) == ("evt/1?a=b", True)
    assert tab.get("/event-log/event", event_id="evt-9").status_code == 404


async def test_an_event_that_earned_nothing_says_why_in_the_readers_language(
    world: World, pool: Pool, redis_client: Redis, settings: Settings
) -> None:
    rule = {"name": "Ranked goals", "event_type": "goal", "points_expression": "5", "conditions": {"attrs.mode": {"eq": "ranked"}}}
    capped = {"name": "Any goal", "event_type": "goal", "points_expression": "5", "max_per_day": 7}
    with world.client() as admin:
        post(admin, "/v1/admin/earning-rules", rule)
        post(admin, "/v1/admin/earning-rules", capped)
    for name in ("evt-1", "evt-2", "evt-3"):
        sent(world, an_event(name))
    for partition in range(settings.scoring_partitions):
        await ScoringPump(pool, Rankings(redis_client), Wakeup(settings.database_url), partition).run(asyncio.Event(), until_idle=True)
    english = signed_in(world)
    page = english.get("/event-log/event", event_id="evt-2").text
    assert "Condition not met: attrs.mode eq &#34;ranked&#34;. The event has nothing there." in page
    assert "Would be 5. Limit per day reached: 7 of 7." in page
    assert "Nothing earned from 2 rules" in english.get("/event-log/event", event_id="evt-3").text
    page = signed_in(world, **{"Accept-Language": "vi"}).get("/event-log/event", event_id="evt-2").text
    assert "Không đạt điều kiện: attrs.mode eq &#34;ranked&#34;. Trong sự kiện: không có gì." in page
    assert "Đã đạt giới hạn mỗi ngày: 7 trên 7." in page


def test_a_dead_letter_is_replayed_once_and_with_a_reason(world: World) -> None:
    sent(world, an_event())
    ((position,),) = world.rows(
        "INSERT INTO dead_letter (tenant_id, position, event_id, scoring_partition, accepted_at, reason, created_at)"
        " SELECT tenant_id, position, event_id, scoring_partition, accepted_at, 'OverflowError: too much', now() FROM event_log"
        " WHERE tenant_id = %s RETURNING position",
        world.tenant_id,
    )
    viewer = signed_in(world, "viewer")
    assert 'Needs attention<span class="count">1</span>' in viewer.get("/event-log").text
    assert "Replay" not in viewer.get("/event-log/event", event_id="evt-1").text
    tab = signed_in(world)
    page = tab.get("/event-log/dead-letters")
    assert "OverflowError: too much" in page.text
    page = tab.send(f"/event-log/dead-letters/{position}/replay", reason="the rule is mended")
    assert "being scored again" in page.text
    assert 'class="count"' not in tab.get("/event-log/dead-letters").text
    assert "already been replayed" in tab.send(f"/event-log/dead-letters/{position}/replay", reason="again").text


async def test_another_tenants_events_and_types_are_not_there(world: World, settings: Settings) -> None:
    sent(world, an_event())
    tab = signed_in(world)
    tab.get("/event-types/new")
    tab.send("/event-types", **form())
    stranger = signed_in(await make_world(settings, world.url))
    assert stranger.get("/event-types/goal").status_code == 404
    assert stranger.get("/event-log/event", event_id="evt-1").status_code == 404
    assert "evt-1" not in stranger.get("/event-log").text
    assert "/console/event-types/goal" not in stranger.get("/event-types").text


def test_a_viewer_looks_and_changes_nothing(world: World) -> None:
    tab = signed_in(world, "viewer")
    assert "Declare event type" not in tab.get("/event-types").text
    assert tab.get("/event-types/new").status_code == 403
    tab.get("/account")
    assert tab.send("/event-types", **form()).status_code == 400
    with world.client() as admin:
        assert admin.get("/v1/admin/event-types").json()["event_types"] == []
