"""The rewards store: what users can spend points on."""

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, ForeignKeyConstraint, Identity, Index, Integer, Table, Text, text
from sqlalchemy.dialects.postgresql import JSONB

from storage.tables.metadata import instant_column, key_column, metadata, one_of, uuid_column

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
    # [{"id", "name", "prices" as above or null, "value"}]: what overrides the reward's own; a stock of its own is in `reward_variant`.
    Column("variants", JSONB, nullable=False, server_default="[]"),
    # What is left; null is unlimited. For `codes` it is kept equal to the free codes of the pool.
    Column("stock", Integer),
    Column("max_per_user", Integer),
    Column("per_user_period", Text, nullable=False, server_default="ever"),
    instant_column("visible_from", nullable=True),
    instant_column("visible_until", nullable=True),
    instant_column("available_from", nullable=True),
    instant_column("available_until", nullable=True),
    Column("eligibility", JSONB(none_as_null=True)),
    Column("requires_claim", Boolean, nullable=False, server_default=text("false")),
    Column("requires_approval", Boolean, nullable=False, server_default=text("false")),
    Column("version", Integer, nullable=False, server_default="1"),
    instant_column("created_at"),
    instant_column("updated_at"),
    instant_column("archived_at", nullable=True),
    ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"]),
    Index("uq_reward_tenant_id_slug", "tenant_id", "slug", unique=True, postgresql_where=text("archived_at IS NULL")),
    # What the sweep for low stock looks through.
    Index("ix_reward_low_stock", "tenant_id", "reward_id", postgresql_where=text("archived_at IS NULL AND (config ? 'low_stock')")),
    CheckConstraint("stock >= 0", name="stock_not_negative"),
    CheckConstraint("max_per_user > 0", name="max_per_user_positive"),
    one_of("per_user_period", ("day", "week", "month", "ever")),
    postgresql_with={"fillfactor": "50"},
)

# Only for variants that are limited on their own: sales of one size do not wait for those of another.
reward_variant = Table(
    "reward_variant",
    metadata,
    uuid_column("tenant_id", primary_key=True),
    uuid_column("reward_id", primary_key=True),
    key_column("variant_id", primary_key=True),
    Column("stock", Integer, nullable=False),
    ForeignKeyConstraint(["tenant_id", "reward_id"], ["reward.tenant_id", "reward.reward_id"]),
    CheckConstraint("stock >= 0", name="stock_not_negative"),
    postgresql_with={"fillfactor": "50"},
)

# Low stock that was told of; taken away when there is more again, so that the next time is told too. `variant_id` empty: the reward's own.
low_stock = Table(
    "low_stock",
    metadata,
    uuid_column("tenant_id", primary_key=True),
    uuid_column("reward_id", primary_key=True),
    key_column("variant_id", primary_key=True),
    instant_column("told_at"),
    ForeignKeyConstraint(["tenant_id", "reward_id"], ["reward.tenant_id", "reward.reward_id"]),
)

# The pool of a reward, or of a reward item (its `item_id` is the reward_id then), with fulfilment `codes`. A code keeps the redemption
# that got it for ever; one that was not used is free again.
reward_code = Table(
    "reward_code",
    metadata,
    uuid_column("tenant_id", primary_key=True),
    uuid_column("reward_id", primary_key=True),
    key_column("code", primary_key=True),
    # The variant whose pool it is in; empty for a reward without variants. A code is in one pool of its reward only.
    Column("variant_id", Text(collation="C"), nullable=False, server_default=""),
    Column("number", BigInteger, Identity(always=True), nullable=False),
    uuid_column("redemption_id", nullable=True),
    instant_column("imported_at"),
    Index("ix_reward_code_free", "tenant_id", "reward_id", "variant_id", "number", postgresql_where=text("redemption_id IS NULL")),
    Index(
        "uq_reward_code_tenant_id_redemption_id",
        "tenant_id",
        "redemption_id",
        unique=True,
        postgresql_where=text("redemption_id IS NOT NULL"),
    ),
    postgresql_with={"fillfactor": "80"},
)
