"""A tenant that has been at work for a month: users, events, transfers, redemptions and deliveries, put straight into PostgreSQL.

The users are those of the board of `benchmarks/page.py`. Ids are UUIDv7 of the time that a row claims, as the product's own would be.
"""

from typing import Any
from uuid import UUID

import psycopg

from benchmarks.bench import Bench
from benchmarks.measure import BenchError
from benchmarks.page import BOARD, make_large_board
from benchmarks.stack import Server

DAYS = 30
EVENTS_PER_USER, QUICK_EVENTS_PER_USER = 10, 3

PARTITIONS = f"""
DO $$
DECLARE day date;
BEGIN
    FOR day IN SELECT (now() AT TIME ZONE 'UTC')::date - n FROM generate_series(0, {DAYS} + 1) AS n LOOP
        IF to_regclass('event_log_' || to_char(day, 'YYYYMMDD')) IS NULL THEN
            EXECUTE format('CREATE TABLE %I PARTITION OF event_log FOR VALUES FROM (%L) TO (%L)',
                           'event_log_' || to_char(day, 'YYYYMMDD'), day || ' 00:00:00+00', (day + 1) || ' 00:00:00+00');
        END IF;
    END LOOP;
END $$
"""

MEMBERS = f"""
CREATE TEMP TABLE member AS
SELECT user_id, external_id, row_number() OVER (ORDER BY user_id) AS n, uuidv7() AS account_id,
       - interval '{DAYS} days' * (1 - row_number() OVER (ORDER BY user_id)::float8 / count(*) OVER ()) AS shift
FROM app_user WHERE tenant_id = %(tenant_id)s AND external_id LIKE 'member-%%'
"""

EVENTS = """
INSERT INTO event_log (scoring_partition, position, accepted_at, occurred_at, tenant_id, user_id, external_user_id, sender, event_id, type,
                       body)
SELECT get_byte(uuid_send(user_id), 15) %% %(partitions)s, e.n, at, at, %(tenant_id)s, user_id, external_id, '', 'event-' || e.n, type,
       convert_to(json_build_object('event_id', 'event-' || e.n, 'type', type, 'actor', json_build_object('user_id', external_id),
                                    'occurred_at', at, 'attrs', json_build_object('score', e.n %% 100))::text, 'UTF8')
FROM (
    SELECT n, now() - interval '30 days' * (1 - n::float8 / %(events)s) AS at,
           CASE WHEN n %% 100000 = 7 THEN 'rare' WHEN n %% 3 = 0 THEN 'bench.page' ELSE 'match.completed' END AS type
    FROM generate_series(1::bigint, %(events)s) AS n
) AS e JOIN member AS m ON m.n = 1 + (e.n * 7919) %% (SELECT count(*) FROM member)
"""

FILL = (
    "TRUNCATE event_log, event_key, activity_slot, activity_cursor, redemption, webhook_delivery, transfer, account CASCADE",
    EVENTS,
    (
        "INSERT INTO event_key (tenant_id, sender, event_id, position, accepted_at)"
        " SELECT tenant_id, sender, event_id, position, accepted_at FROM event_log"
    ),
    "SELECT setval('event_position', %(events)s)",
    (
        "INSERT INTO scoring_cursor (scoring_partition, position, updated_at)"
        " SELECT n, %(events)s, now() FROM generate_series(0, %(partitions)s - 1) AS n"
        " ON CONFLICT (scoring_partition) DO UPDATE SET position = excluded.position"
    ),
    (
        "INSERT INTO account (tenant_id, account_id, user_id, currency_id, posted, lifetime_earned, created_at)"
        " SELECT %(tenant_id)s, account_id, user_id, 'points', 500, 500, now() + shift FROM member"
    ),
    (
        "INSERT INTO transfer (tenant_id, transfer_id, debit_account_id, credit_account_id, user_account_id, amount, currency_id, kind,"
        " cause_type, cause_id, created_at)"
        " SELECT %(tenant_id)s, uuidv7(shift), issue_account_id, account_id, account_id, 500, 'points', 'grant', 'bench', n::text,"
        " now() + shift FROM member, currency WHERE tenant_id = %(tenant_id)s AND currency_id = 'points'"
    ),
    (
        "INSERT INTO redemption (tenant_id, redemption_id, user_id, external_user_id, reward_id, reward, status, points_spent, currency,"
        " fields, fulfilment, created_at, updated_at)"
        " SELECT %(tenant_id)s, uuidv7(shift), user_id, external_id, %(reward_id)s,"
        " jsonb_build_object('id', %(reward_id)s::text, 'slug', 'bench-cup', 'name', 'Cup', 'type', 'item', 'value', null),"
        " CASE n %% 50 WHEN 1 THEN 'failed' WHEN 2 THEN 'cancelled' WHEN 3 THEN 'expired' WHEN 4 THEN 'pending' WHEN 5 THEN 'processing'"
        " WHEN 6 THEN 'pending_approval' ELSE 'fulfilled' END, 100, 'points', '{}', '{\"type\": \"manual\"}', now() + shift, now() + shift"
        " FROM member"
    ),
    (
        "INSERT INTO redemption_move (tenant_id, redemption_id, number, at, from_status, to_status, by)"
        " SELECT tenant_id, redemption_id, 1, created_at, null, 'pending', 'bench' FROM redemption"
    ),
    (
        "INSERT INTO webhook_delivery (tenant_id, delivery_id, endpoint_id, event, redemption_id, body, state, attempts, last_status,"
        " created_at, updated_at)"
        " SELECT tenant_id, uuidv7(created_at - now()), %(endpoint_id)s, 'reward_redeemed', redemption_id, '{}'::bytea,"
        " CASE WHEN status = 'failed' THEN 'exhausted' ELSE 'delivered' END, 1, 200, created_at, created_at FROM redemption"
    ),
    (
        "INSERT INTO activity_slot (tenant_id, starts_at, events, users, issued, spent, redemptions)"
        " SELECT %(tenant_id)s, date_bin('15 minutes', now() - n * interval '15 minutes', 'epoch'), 3400, 340, 170000, 34000, 340"
        f" FROM generate_series(1, {DAYS * 96}) AS n"
    ),
    "INSERT INTO activity_cursor (name, until) VALUES ('rows', now() + interval '1 second')",
    (
        "INSERT INTO activity_cursor (name, position, until)"
        " SELECT 'events:' || n, %(events)s, now() FROM generate_series(0, %(partitions)s - 1) AS n"
    ),
    f"UPDATE tenant SET created_at = now() - interval '{DAYS + 1} days' WHERE tenant_id = %(tenant_id)s",
)
ANALYZE = "VACUUM ANALYZE app_user, event_log, event_key, account, transfer, redemption, redemption_move, webhook_delivery, activity_slot"


def seed(bench: Bench, api: Server) -> dict[str, str]:
    """Make the data set; answers the ids that pages are asked for: `reward`, `endpoint`, `redemption`, `delivery`, `user`."""
    with bench.admin(api) as client:
        if client.get(f"/v1/admin/leaderboards/{BOARD}").status_code == 404:
            make_large_board(bench, api)
        reward = {
            "slug": "bench-cup",
            "name": "Cup",
            "type": "item",
            "prices": [{"currency": "points", "amount": 100}],
            "fulfilment": {"type": "manual"},
        }
        made = {
            "reward_id": client.post("/v1/admin/rewards", json=reward),
            "endpoint_id": client.post("/v1/admin/webhook-endpoints", json={"url": "https://example.com/hook"}),
        }
    for answer in made.values():
        if answer.status_code != 201:
            raise BenchError(f"the stage was not set: {answer.status_code} {answer.text[:400]}")
    ids = {name: answer.json().get(name) or answer.json()["id"] for name, answer in made.items()}
    named: dict[str, Any] = {
        "tenant_id": bench.tenant_id,
        "events": bench.members * (QUICK_EVENTS_PER_USER if bench.quick else EVENTS_PER_USER),
        "partitions": bench.stack.settings.scoring_partitions,
        **{name: UUID(value) for name, value in ids.items()},
    }
    with psycopg.connect(bench.stack.settings.database_url, autocommit=True) as connection:
        connection.execute(PARTITIONS.encode())
        # Foreign keys hold by construction: checking a million of each would take longer than all the rest.
        connection.execute("SET session_replication_role = replica")
        connection.execute(MEMBERS.encode(), named)
        connection.execute("CREATE INDEX ON member (n)")
        connection.execute("ANALYZE member")
        for statement in FILL:
            connection.execute(statement.encode(), named if "%(" in statement else None)
        connection.execute(ANALYZE.encode())
        some = "SELECT redemption_id, external_user_id, delivery_id FROM redemption JOIN webhook_delivery USING (tenant_id, redemption_id)"
        row = connection.execute(f"{some} WHERE tenant_id = %s LIMIT 1".encode(), (bench.tenant_id,)).fetchone()
    assert row is not None
    return {"reward": ids["reward_id"], "endpoint": ids["endpoint_id"], "redemption": str(row[0]), "user": row[1], "delivery": str(row[2])}
