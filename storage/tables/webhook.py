"""Webhook endpoints, their secrets, deliveries (event x endpoint) and attempts (one HTTP try)."""

from sqlalchemy import Boolean, CheckConstraint, Column, Float, ForeignKeyConstraint, Index, Integer, LargeBinary, Table, Text, text
from sqlalchemy.dialects.postgresql import ARRAY

from storage.tables.metadata import instant_column, metadata, one_of, uuid_column

webhook_endpoint = Table(
    "webhook_endpoint",
    metadata,
    uuid_column("tenant_id", primary_key=True),
    uuid_column("endpoint_id", primary_key=True),
    Column("url", Text, nullable=False),
    Column("events", ARRAY(Text), nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("disabled_reason", Text),
    Column("description", Text),
    Column("rate_per_second", Float, nullable=False),
    Column("timeout_seconds", Float, nullable=False),
    Column("retry_delays_seconds", ARRAY(Float), nullable=False),
    instant_column("created_at"),
    instant_column("updated_at"),
    instant_column("archived_at", nullable=True),
    # The first instant that no send has reserved: sends keep to the endpoint's rate by reserving their turns here.
    instant_column("next_turn_at", nullable=True),
    ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"]),
)

webhook_secret = Table(
    "webhook_secret",
    metadata,
    uuid_column("tenant_id", primary_key=True),
    uuid_column("secret_id", primary_key=True),
    uuid_column("endpoint_id"),
    # Encrypted with a key derived from SECRET_KEY; never plain in the database.
    Column("sealed", LargeBinary, nullable=False),
    instant_column("created_at"),
    # Null: the present secret. Otherwise the end of its overlap after a rotation.
    instant_column("expires_at", nullable=True),
    ForeignKeyConstraint(["tenant_id", "endpoint_id"], ["webhook_endpoint.tenant_id", "webhook_endpoint.endpoint_id"]),
    Index("uq_webhook_secret_present", "tenant_id", "endpoint_id", unique=True, postgresql_where=text("expires_at IS NULL")),
)

webhook_delivery = Table(
    "webhook_delivery",
    metadata,
    uuid_column("tenant_id", primary_key=True),
    uuid_column("delivery_id", primary_key=True),
    uuid_column("endpoint_id"),
    Column("event", Text, nullable=False),
    uuid_column("redemption_id", nullable=True),
    # Whom it is about, where that is no redemption.
    uuid_column("user_id", nullable=True),
    Column("body", LargeBinary, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("last_status", Integer),
    Column("last_error", Text),
    instant_column("next_attempt_at", nullable=True),
    # When the endpoint's pump takes it, or, once claimed, when it is taken over from a worker that died. Null: the pump has nothing to do.
    instant_column("due_at", nullable=True),
    Column("due_trigger", Text),
    instant_column("created_at"),
    instant_column("updated_at"),
    ForeignKeyConstraint(["tenant_id", "endpoint_id"], ["webhook_endpoint.tenant_id", "webhook_endpoint.endpoint_id"]),
    Index("ix_webhook_delivery_due", "tenant_id", "endpoint_id", "due_at", postgresql_where=text("due_at IS NOT NULL")),
    Index("ix_webhook_delivery_created_at", "created_at"),
    # What a person should look at: a few rows beside the many that were delivered.
    Index(
        "ix_webhook_delivery_stuck",
        "tenant_id",
        "state",
        "delivery_id",
        postgresql_where=text("state IN ('exhausted', 'held')"),
    ),
    # How few end otherwise than delivered; with the one above, every state but the many and the fleeting is looked through by its rows.
    Index(
        "ix_webhook_delivery_ended_otherwise",
        "tenant_id",
        "state",
        "delivery_id",
        postgresql_where=text("state IN ('superseded', 'cancelled')"),
    ),
    # Kinds of events that are rare beside the redemptions, looked through newest first.
    Index(
        "ix_webhook_delivery_event",
        "tenant_id",
        "event",
        "delivery_id",
        postgresql_where=text("event <> 'reward_redeemed'"),
    ),
    CheckConstraint("(due_at IS NULL) = (due_trigger IS NULL)", name="due_has_a_trigger"),
    Index("ix_webhook_delivery_tenant_id_redemption_id", "tenant_id", "redemption_id"),
    Index("ix_webhook_delivery_user_id", "tenant_id", "user_id", postgresql_where=text("user_id IS NOT NULL")),
    # What may name users all the same: the ends of windows, and what was written before `user_id`.
    Index(
        "ix_webhook_delivery_of_nobody",
        "tenant_id",
        "delivery_id",
        postgresql_where=text("user_id IS NULL AND redemption_id IS NULL"),
    ),
    Index("ix_webhook_delivery_tenant_id_endpoint_id", "tenant_id", "endpoint_id", "delivery_id"),
    one_of("state", ("pending", "delivered", "exhausted", "superseded", "held", "cancelled")),
)

webhook_attempt = Table(
    "webhook_attempt",
    metadata,
    uuid_column("tenant_id", primary_key=True),
    uuid_column("delivery_id", primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("trigger", Text, nullable=False),
    Column("url", Text, nullable=False),
    instant_column("started_at"),
    instant_column("ended_at", nullable=True),
    Column("duration_ms", Float),
    Column("status", Integer),
    Column("error_class", Text),
    Column("answer_head", LargeBinary),
    Column("remote_address", Text),
    ForeignKeyConstraint(["tenant_id", "delivery_id"], ["webhook_delivery.tenant_id", "webhook_delivery.delivery_id"]),
    CheckConstraint("number >= 1", name="number_from_one"),
    one_of("trigger", ("scheduled", "manual", "test")),
)
