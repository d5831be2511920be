"""Users who are erased, and event writers that notice that a user they know has gone.

Revision: 0011
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

APPEND_EVENTS = """
CREATE SEQUENCE erasure_number AS bigint CACHE 1;
CREATE FUNCTION append_events(
    p_tenants uuid[], p_senders text[], p_event_ids text[], p_types text[], p_users uuid[], p_new_users uuid[],
    p_externals text[], p_occurred timestamptz[], p_bodies bytea[], p_partitions integer, p_erasures bigint
) RETURNS integer[] LANGUAGE plpgsql AS $$
-- The same, by a caller who says after which erasure it learnt the users that it knows. After a later one it knows nobody: an
-- external id may be another user's now. It costs one look at a sequence for each batch.
BEGIN
    IF p_erasures IS DISTINCT FROM (SELECT last_value FROM erasure_number) THEN
        p_users := array_fill(NULL::uuid, ARRAY[cardinality(p_event_ids)]);
        p_new_users := ARRAY(SELECT coalesce(n.user_id, uuidv7()) FROM unnest(p_new_users) WITH ORDINALITY AS n (user_id, i) ORDER BY n.i);
    END IF;
    RETURN append_events(p_tenants, p_senders, p_event_ids, p_types, p_users, p_new_users, p_externals, p_occurred, p_bodies, p_partitions);
END $$;
"""


def upgrade() -> None:
    op.create_table(
        "erasure",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("user_id", sa.UUID(), nullable=False),
        sa.Column("external_id", sa.Text(collation="C"), nullable=True),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id", "user_id"], ["app_user.tenant_id", "app_user.user_id"], name=op.f("fk_erasure_tenant_id_user_id")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "user_id", name=op.f("pk_erasure")),
    )
    op.create_index("ix_erasure_open", "erasure", ["tenant_id", "user_id"], postgresql_where=sa.text("completed_at IS NULL"))
    op.execute(APPEND_EVENTS)
    op.execute("SELECT nextval('erasure_number')")  # the first call does not move last_value: have it behind us


def downgrade() -> None:
    raise NotImplementedError("revisions are not taken back: drop the database instead")
