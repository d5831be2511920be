"""The event log's moving parts: positions, partitions, and the function that appends.

Why a reader may trust a position (docs/decisions/0003): a writer takes an advisory lock named by a fresh position *before* it
draws the positions of its rows, and keeps it until its commit is visible. A reader notes the last position drawn, then looks at
the locks: every row up to the smallest lock held (or, if there is none, up to the noted position) is committed. Only event
writers take such locks, so no other long transaction holds the horizon back.

Revision: 0002
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

EVENT_KEY_PARTITIONS = 8

SEQUENCES = """
CREATE SEQUENCE event_position AS bigint CACHE 1;
CREATE SEQUENCE definition_change_number AS bigint CACHE 1;
"""

ENSURE_PARTITIONS = """
CREATE FUNCTION ensure_event_partitions(days_ahead integer) RETURNS integer LANGUAGE plpgsql AS $$
-- Creates the event log's daily partitions (UTC) from yesterday to `days_ahead` days from now; returns how many it made.
DECLARE
    first_day date := (clock_timestamp() AT TIME ZONE 'UTC')::date - 1;
    day date;
    made integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(7203, 0);
    FOR day IN SELECT first_day + n FROM generate_series(0, days_ahead + 1) AS n LOOP
        IF to_regclass('event_log_' || to_char(day, 'YYYYMMDD')) IS NULL THEN
            BEGIN
                EXECUTE format(
                    'CREATE TABLE %I PARTITION OF event_log FOR VALUES FROM (%L) TO (%L)',
                    'event_log_' || to_char(day, 'YYYYMMDD'), day || ' 00:00:00+00', (day + 1) || ' 00:00:00+00'
                );
                made := made + 1;
            EXCEPTION WHEN check_violation THEN
                -- The default partition took events of that day while nobody made partitions: it keeps the whole day.
                RAISE NOTICE 'the default partition keeps %', day;
            END;
        END IF;
    END LOOP;
    RETURN made;
END $$;
"""

APPEND_EVENTS = """
CREATE FUNCTION append_events(
    p_tenants uuid[], p_senders text[], p_event_ids text[], p_types text[], p_users uuid[], p_new_users uuid[],
    p_externals text[], p_occurred timestamptz[], p_bodies bytea[], p_partitions integer
) RETURNS integer[] LANGUAGE plpgsql AS $$
-- Appends a batch and returns the 1-based ordinals of the events that are new (the others are repeats), or NULL when all are.
-- The caller sorts the batch by (tenant, sender, event_id), so that writers cannot deadlock, and sends each key once.
-- p_users[i] is null when the caller does not know the user yet; p_new_users[i] is then the id to make it with.
DECLARE
    guard bigint := nextval('event_position');
    accepted timestamptz;
    positions bigint[];
    users uuid[] := p_users;
    fresh integer[];
    size integer := cardinality(p_event_ids);
BEGIN
    PERFORM pg_advisory_xact_lock(7201, (guard & 2147483647)::integer);
    accepted := clock_timestamp();
    positions := ARRAY(SELECT nextval('event_position') FROM generate_series(1, size));
    IF array_position(p_users, NULL) IS NOT NULL THEN
        INSERT INTO app_user (tenant_id, user_id, external_id, created_at, updated_at)
        SELECT DISTINCT ON (tenant_id, external_id) tenant_id, new_user, external_id, accepted, accepted
        FROM unnest(p_tenants, p_users, p_new_users, p_externals, p_senders, p_event_ids)
             AS given (tenant_id, user_id, new_user, external_id, sender, event_id)
        WHERE user_id IS NULL  -- a repeat has no effect, so it makes no user either
          AND NOT EXISTS (SELECT FROM event_key AS k WHERE (k.tenant_id, k.sender, k.event_id) = (given.tenant_id, given.sender, given.event_id))
        ORDER BY tenant_id, external_id, new_user
        ON CONFLICT (tenant_id, external_id) DO NOTHING;
        users := ARRAY(
            SELECT coalesce(given.user_id, (SELECT known.user_id FROM app_user AS known
                                            WHERE known.tenant_id = given.tenant_id AND known.external_id = given.external_id))
            FROM unnest(p_tenants, p_users, p_externals) WITH ORDINALITY AS given (tenant_id, user_id, external_id, n) ORDER BY n
        );
    END IF;
    WITH given AS MATERIALIZED (
        SELECT * FROM unnest(positions, p_tenants, p_senders, p_event_ids, p_types, users, p_externals, p_occurred, p_bodies)
        WITH ORDINALITY AS t (position, tenant_id, sender, event_id, type, user_id, external_user_id, occurred_at, body, n)
    ), keys AS (
        INSERT INTO event_key (tenant_id, sender, event_id, position, accepted_at)
        SELECT tenant_id, sender, event_id, position, accepted FROM given ORDER BY n
        ON CONFLICT DO NOTHING RETURNING position
    ), logged AS (
        INSERT INTO event_log (scoring_partition, position, accepted_at, occurred_at, tenant_id, user_id, external_user_id,
                               sender, event_id, type, body)
        SELECT get_byte(uuid_send(user_id), 15) % p_partitions, position, accepted, occurred_at, tenant_id, user_id,
               external_user_id, sender, event_id, type, body
        FROM given JOIN keys USING (position)
    )
    SELECT array_agg(n) INTO fresh FROM given JOIN keys USING (position);
    IF cardinality(fresh) = size THEN
        RETURN NULL;
    END IF;
    RETURN coalesce(fresh, '{}');
END $$;
"""

EVENT_HORIZON = """
CREATE FUNCTION event_horizon() RETURNS bigint LANGUAGE plpgsql AS $$
-- The position up to which every row of the event log is committed and visible to a snapshot taken after this call.
DECLARE
    head bigint;
    oldest_writer bigint;
BEGIN
    SELECT last_value INTO head FROM event_position;  -- before the locks: see the head of this file
    SELECT min(head - ((head - objid::bigint) & 2147483647)) INTO oldest_writer
    FROM pg_locks
    WHERE locktype = 'advisory' AND classid = 7201 AND objsubid = 2 AND granted
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
      -- a guard drawn after `head` was read is ahead of it, and so are all its rows
      AND ((head - objid::bigint) & 2147483647) < 1073741824;
    RETURN least(head, coalesce(oldest_writer, head));
END $$;
"""


def upgrade() -> None:
    op.execute(SEQUENCES)
    op.execute(ENSURE_PARTITIONS)
    op.execute(APPEND_EVENTS)
    op.execute(EVENT_HORIZON)
    op.execute("CREATE TABLE event_log_default PARTITION OF event_log DEFAULT")
    for remainder in range(EVENT_KEY_PARTITIONS):
        op.execute(
            f"CREATE TABLE event_key_{remainder} PARTITION OF event_key "
            f"FOR VALUES WITH (MODULUS {EVENT_KEY_PARTITIONS}, REMAINDER {remainder})"
        )
    op.execute("SELECT ensure_event_partitions(7)")


def downgrade() -> None:
    raise NotImplementedError("the first revisions are not taken back: drop the database instead")
