"""The rewards store: what users can spend points on."""

from sqlalchemy import Boolean, CheckConstraint, Column, ForeignKeyConstraint, Index, Integer, Table, Text, text
from sqlalchemy.dialects.postgresql import JSONB

from storage.tables.metadata import instant_column, key_column, metadata, uuid_column

reward = Table(
    "reward",
    metadata,
    uuid_column("tenant_id", primary_key=True),
    uuid_column("reward_id", primary_key=True),
    key_column("slug"),
    Column("name", Text, nullable=False),
    Column("description", Text),
    Column("image_url", Text),
    Column("active", Boolean, nullable=False),
    Column("type", Text, nullable=False),
    Column("value", JSONB),
    # [{"currency", "amount" in the currency's smallest unit}]; empty means that it can only be granted.
    Column("prices", JSONB, nullable=False),
    Column("fields", JSONB, nullable=False),
    Column("fulfilment", JSONB, nullable=False),
    Column("config", JSONB, nullable=False),
    Column("stock", Integer),
    Column("version", Integer, nullable=False, server_default="1"),
    instant_column("created_at"),
    instant_column("updated_at"),
    instant_column("archived_at", nullable=True),
    ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"]),
    Index("uq_reward_tenant_id_slug", "tenant_id", "slug", unique=True, postgresql_where=text("archived_at IS NULL")),
    CheckConstraint("stock >= 0", name="stock_not_negative"),
    postgresql_with={"fillfactor": "50"},
)
