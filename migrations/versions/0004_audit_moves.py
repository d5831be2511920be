"""The audit log hears of moves of redemptions, of users, of tiers given by hand and of the stock of variants.

What a trigger could not tell well (a resend, an import of codes) is written by `storage.tenant.audit.record`. What a user filled in and what
a partner handed over stay out of the log: they are personal, or worth money.

Revision: 0004
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

RECORD = """
CREATE OR REPLACE FUNCTION record_change() RETURNS trigger LANGUAGE plpgsql AS $$
-- TG_ARGV[0] is the column that names the row, the others are columns to leave out. Secrets never get here.
DECLARE
    hidden text[] := ARRAY['secret_hash', 'sealed', 'password_hash', 'updated_at', 'event_types_version', 'last_used_at'];
    was jsonb;
    becomes jsonb;
    whole jsonb;
BEGIN
    FOR place IN 1 .. TG_NARGS - 1 LOOP hidden := hidden || TG_ARGV[place]; END LOOP;
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
    "redemption": ("redemption_id", "fields", "fulfillment_data"),
    "app_user": ("user_id",),
    "user_tier": ("user_id",),
    "reward_variant": ("reward_id",),
}


def upgrade() -> None:
    op.execute(RECORD)
    for table, arguments in AUDITED.items():
        given = ", ".join(f"'{each}'" for each in arguments)
        op.execute(
            f"CREATE OR REPLACE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON {table} FOR EACH ROW "
            f"WHEN (coalesce(current_setting('laurel.actor', true), '') <> '') EXECUTE FUNCTION record_change({given})"
        )


def downgrade() -> None:
    raise NotImplementedError("revisions are not taken back: drop the database instead")
