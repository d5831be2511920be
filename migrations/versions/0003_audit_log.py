"""The audit log's triggers: who changed what, before and after, in the transaction of the change.

A trigger cannot be forgotten by a new route. It is quiet unless the transaction says who acts (`laurel.actor`, set by
`runtime.postgres.transaction` for requests of admins and of the operator), so scoring and redeeming pay one comparison.

Revision: 0003
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

RECORD = """
CREATE FUNCTION record_change() RETURNS trigger LANGUAGE plpgsql AS $$
-- TG_ARGV[0] is the column that names the row. Secrets never get here, nor columns that say nothing by themselves.
DECLARE
    hidden text[] := ARRAY['secret_hash', 'sealed', 'password_hash', 'updated_at', 'event_types_version', 'last_used_at'];
    was jsonb;
    becomes jsonb;
    whole jsonb;
BEGIN
    IF TG_OP <> 'INSERT' THEN was := to_jsonb(OLD); END IF;
    IF TG_OP <> 'DELETE' THEN becomes := to_jsonb(NEW); END IF;
    whole := coalesce(becomes, was);
    was := was - hidden;
    becomes := becomes - hidden;
    IF TG_OP = 'UPDATE' THEN
        IF was = becomes THEN RETURN NULL; END IF;
        SELECT jsonb_object_agg(key, value), jsonb_object_agg(key, becomes -> key) INTO was, becomes
        FROM jsonb_each(was) WHERE becomes -> key IS DISTINCT FROM value;
    END IF;
    INSERT INTO audit_log (tenant_id, audit_id, actor, action, subject, subject_id, before, after, reason, created_at)
    VALUES ((whole ->> 'tenant_id')::uuid, uuidv7(), current_setting('laurel.actor'), lower(TG_OP), TG_TABLE_NAME,
            coalesce(whole ->> TG_ARGV[0], ''), was, becomes, nullif(current_setting('laurel.reason', true), ''), clock_timestamp());
    RETURN NULL;
END $$;
"""

AUDITED = {
    "tenant": "tenant_id",
    "api_key": "key_id",
    "event_type": "name",
    "dead_letter": "position",
    "leaderboard": "leaderboard_id",
    "earning_rule": "rule_id",
    "currency": "currency_id",
    "reward": "reward_id",
    "tier_set": "tenant_id",
    "tier": "name",
    "webhook_endpoint": "endpoint_id",
    "webhook_secret": "endpoint_id",
}


def upgrade() -> None:
    op.execute(RECORD)
    for table, key in AUDITED.items():
        op.execute(
            f"CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON {table} FOR EACH ROW "
            f"WHEN (coalesce(current_setting('laurel.actor', true), '') <> '') EXECUTE FUNCTION record_change('{key}')"
        )


def downgrade() -> None:
    raise NotImplementedError("the first revisions are not taken back: drop the database instead")
