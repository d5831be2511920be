"""Redemptions (orders) and every move that one makes."""

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, ForeignKeyConstraint, Index, Integer, Table, Text, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from storage.tables.metadata import instant_column, key_column, metadata, one_of, uuid_column

REDEMPTION_STATES = (
    "pending_claim",
    "pending_approval",
    "pending",
    "processing",
    "fulfilled",
    "failed",
    "cancelled",
    "expired",
    "reversed",
)

redemption = Table(
    "redemption",
    metadata,
    uuid_column("tenant_id", primary_key=True),
    uuid_column("redemption_id", primary_key=True),
    uuid_column("user_id"),
    key_column("external_user_id"),
    uuid_column("reward_id"),
    # {"id","slug","name","type","value"} as they were when the user redeemed.
    Column("reward", JSONB, nullable=False),
    Column("variant_id", Text),
    Column("source_type", Text, nullable=False, server_default="purchase"),
    Column("source_id", Text(collation="C")),
    Column("status", Text, nullable=False),
    Column("flags", ARRAY(Text), nullable=False, server_default="{}"),
    Column("points_spent", BigInteger, nullable=False),
    Column("currency", Text(collation="C")),
    Column("decimal_places", Integer, nullable=False, server_default="0"),
    Column("takes_stock", Boolean, nullable=False, server_default=text("false")),
    # The variant whose own stock it was taken from; null: the reward's.
    Column("stock_variant_id", Text(collation="C")),
    Column("fields", JSONB, nullable=False),
    Column("fulfillment_data", JSONB, nullable=False, server_default="{}"),
    Column("failure_reason", Text),
    # {"type","endpoint_id","deadline_seconds","answer_is_callback"}, copied so that later edits change nothing here.
    Column("fulfilment", JSONB, nullable=False),
    instant_column("created_at"),
    instant_column("updated_at"),
    instant_column("fulfilled_at", nullable=True),
    instant_column("deadline_at", nullable=True),
    ForeignKeyConstraint(["tenant_id", "user_id"], ["app_user.tenant_id", "app_user.user_id"]),
    Index("ix_redemption_tenant_id_user_id_redemption_id", "tenant_id", "user_id", "redemption_id"),
    # Lists and counts of one state, newest first.
    Index("ix_redemption_tenant_id_status_redemption_id", "tenant_id", "status", "redemption_id"),
    Index(
        "ix_redemption_open",
        "deadline_at",
        postgresql_where=text("status IN ('pending_claim', 'pending_approval', 'pending', 'processing')"),
    ),
    # Lists of one reward, newest first.
    Index("ix_redemption_tenant_id_reward_id_redemption_id", "tenant_id", "reward_id", "redemption_id"),
    # What a person should look at: a flag stays on a redemption that has ended, where nobody needs to look any more.
    Index(
        "ix_redemption_flagged_open",
        "tenant_id",
        "redemption_id",
        postgresql_where=text("flags <> '{}' AND status IN ('pending_claim', 'pending_approval', 'pending', 'processing')"),
    ),
    Index("ix_redemption_flagged", "tenant_id", "redemption_id", postgresql_where=text("flags <> '{}'")),
    CheckConstraint("points_spent >= 0", name="points_not_negative"),
    one_of("status", REDEMPTION_STATES),
)

redemption_move = Table(
    "redemption_move",
    metadata,
    uuid_column("tenant_id", primary_key=True),
    uuid_column("redemption_id", primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    instant_column("at"),
    Column("from_status", Text),
    Column("to_status", Text, nullable=False),
    Column("by", Text, nullable=False),
    Column("note", Text),
    ForeignKeyConstraint(["tenant_id", "redemption_id"], ["redemption.tenant_id", "redemption.redemption_id"]),
)
