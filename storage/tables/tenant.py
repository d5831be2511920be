"""Tenants, their users, and who may act for them."""

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, ForeignKeyConstraint, Index, Integer, LargeBinary, Table, Text, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from storage.tables.metadata import instant_column, key_column, metadata, one_of, uuid_column

tenant = Table(
    "tenant",
    metadata,
    uuid_column("tenant_id", primary_key=True),
    Column("name", Text, nullable=False),
    Column("status", Text, nullable=False, server_default="active"),
    Column("org_id", Text(collation="C")),
    Column("timezone", Text, nullable=False, server_default="UTC"),
    Column("cors_origins", ARRAY(Text), nullable=False, server_default="{}"),
    Column("settings", JSONB, nullable=False, server_default="{}"),
    Column("is_demo", Boolean, nullable=False, server_default=text("false")),
    # Requests in a second, for the tenant and for each of its credentials; null: the default of the settings.
    Column("rate_limit_per_second", Integer),
    # Grows with every change of an event type; 0: none was ever declared. Processes read the types again when it has moved.
    Column("event_types_version", BigInteger, nullable=False, server_default="0"),
    instant_column("created_at"),
    instant_column("updated_at"),
    one_of("status", ("active", "suspended")),
    Index("uq_tenant_org_id", "org_id", unique=True, postgresql_where=text("org_id IS NOT NULL")),
)

event_type = Table(
    "event_type",
    metadata,
    uuid_column("tenant_id", primary_key=True),
    key_column("name", primary_key=True),
    Column("description", Text),
    Column("schema", JSONB),
    Column("server_only", Boolean, nullable=False),
    Column("is_system", Boolean, nullable=False),
    instant_column("created_at"),
    instant_column("updated_at"),
    ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"]),
)

api_key = Table(
    "api_key",
    metadata,
    uuid_column("tenant_id", primary_key=True),
    uuid_column("key_id", primary_key=True),
    Column("public_id", Text(collation="C"), nullable=False, unique=True),
    Column("secret_hash", LargeBinary, nullable=False),
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),
    instant_column("created_at"),
    instant_column("expires_at", nullable=True),
    instant_column("revoked_at", nullable=True),
    instant_column("last_used_at", nullable=True),
    ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"]),
    one_of("role", ("admin", "server", "fulfilment", "read")),
)

console_user = Table(
    "console_user",
    metadata,
    uuid_column("tenant_id", primary_key=True),
    uuid_column("console_user_id", primary_key=True),
    Column("email", Text, nullable=False),
    Column("password_hash", Text, nullable=False),
    Column("role", Text, nullable=False),
    instant_column("created_at"),
    instant_column("first_password_until", nullable=True),
    ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"]),
    one_of("role", ("admin", "viewer")),
    Index("uq_console_user_email", text("lower(email)"), unique=True),
)

app_user = Table(
    "app_user",
    metadata,
    uuid_column("tenant_id", primary_key=True),
    uuid_column("user_id", primary_key=True),
    key_column("external_id"),
    Column("display_name", Text),
    Column("email", Text),
    Column("avatar_url", Text),
    Column("attributes", JSONB, nullable=False, server_default="{}"),
    instant_column("created_at"),
    instant_column("updated_at"),
    Index("uq_app_user_tenant_id_external_id", "tenant_id", "external_id", unique=True),
)

idempotency_record = Table(
    "idempotency_record",
    metadata,
    uuid_column("tenant_id", primary_key=True),
    key_column("scope", primary_key=True),
    key_column("key", primary_key=True),
    Column("request_hash", LargeBinary, nullable=False),
    Column("status", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),
    instant_column("created_at"),
    uuid_column("user_id", nullable=True),
    CheckConstraint("status BETWEEN 200 AND 299", name="success_only"),
    Index("ix_idempotency_record_created_at", "created_at"),
)

outbox = Table(
    "outbox",
    metadata,
    Column("outbox_id", BigInteger, primary_key=True, autoincrement=True),
    uuid_column("tenant_id"),
    Column("kind", Text, nullable=False),
    key_column("workflow_id"),
    Column("name", Text, nullable=False),
    Column("argument", JSONB, nullable=False),
    instant_column("created_at"),
    instant_column("due_at"),
    instant_column("leased_until", nullable=True),
    instant_column("sent_at", nullable=True),
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("last_error", Text),
    # The W3C traceparent of the request that wrote the command; null when traces are off.
    Column("trace_context", Text),
    one_of("kind", ("start", "update", "schedule")),
    Index("uq_outbox_workflow_id", "workflow_id", "kind", "name", unique=True),
    Index("ix_outbox_due_at", "due_at", postgresql_where=text("sent_at IS NULL")),
)
