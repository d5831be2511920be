"""From a line of the ledger to the event that caused it."""

from datetime import timedelta

from domain.points.ledger import event_position
from domain.points.ledger_wire import cause_answer
from runtime.ids import utc_now
from runtime.postgres import Pool, transaction
from storage.event.search import event_ids_at
from storage.points.ledger import post_earnings, transactions_of
from tests.builders.store import make_world

PARTITIONS = 4


async def test_what_was_earned_names_its_event_and_rule_as_long_as_the_event_is_kept(pool: Pool):
    world = await make_world(pool)
    ann = await world.user("ann")
    partition, now = ann.user_id.bytes[15] % PARTITIONS, utc_now()
    async with transaction(pool) as connection:
        day = now.date()
        await connection.execute(
            f"CREATE TABLE IF NOT EXISTS event_log_{day:%Y%m%d} PARTITION OF event_log"
            f" FOR VALUES FROM ('{day} 00:00Z') TO ('{day + timedelta(days=1)} 00:00Z')".encode()
        )
        await connection.execute(
            "INSERT INTO event_log (scoring_partition, position, accepted_at, occurred_at, tenant_id, user_id, external_user_id, sender,"
            " event_id, type, body) VALUES (%s, 4694, %s, %s, %s, %s, 'ann', '', 'goal-7', 'goal', '')",
            (partition, now, now, world.tenant_id, ann.user_id),
        )
        earnings = [world.earning(ann, 5, position=4694), world.earning(ann, 6, position=4695)]
        await post_earnings(connection, earnings, now)
        transfers = await transactions_of(connection, world.tenant_id, ann.user_id, after=None, limit=10)
        places = [(event_position(each) or 0, each.created_at) for each in transfers]
        events = await event_ids_at(connection, world.tenant_id, partition, places)
        others = await event_ids_at(connection, ann.user_id, partition, places)
    assert events == {4694: "goal-7"}
    assert others == {}
    causes = {event_position(each): cause_answer(each, events.get(event_position(each) or 0)) for each in transfers}
    assert {place: (cause.event_id, cause.rule_id) for place, cause in causes.items()} == {
        4694: ("goal-7", str(world.tenant_id)),
        4695: (None, str(world.tenant_id)),
    }
