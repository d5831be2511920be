"""Tiers: the tenant's set, the tier each user has, and every change of it."""

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKeyConstraint, Index, Integer, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

from storage.tables.metadata import instant_column, key_column, metadata, one_of, uuid_column

tier_set = Table(
    "tier_set",
    metadata,
    uuid_column("tenant_id", primary_key=True),
    Column("basis", Text, nullable=False),
    Column("downgrade", Text, nullable=False, server_default="never"),
    Column("period_days", Integer),
    Column("version", Integer, nullable=False),
    instant_column("updated_at"),
    # The version that every user was last reviewed by: the tier review goes through all users of a set that has changed since.
    Column("reviewed_version", Integer, nullable=False, server_default="0"),
    # The version that the review under way began with: a change meanwhile is left to the next one.
    Column("reviewing_version", Integer, nullable=False, server_default="0"),
    ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"]),
    one_of("basis", ("lifetime_earned", "earned_in_period", "balance")),
    one_of("downgrade", ("never", "at_period_end")),
    CheckConstraint("period_days > 0", name="period_positive"),
    CheckConstraint("(basis = 'earned_in_period' OR downgrade = 'at_period_end') = (period_days IS NOT NULL)", name="period_where_needed"),
)

tier = Table(
    "tier",
    metadata,
    uuid_column("tenant_id", primary_key=True),
    key_column("name", primary_key=True),
    Column("level", Integer, nullable=False),
    # In the smallest unit of the currency `points`.
    Column("threshold", BigInteger, nullable=False),
    Column("benefits", JSONB, nullable=False),
    ForeignKeyConstraint(["tenant_id"], ["tier_set.tenant_id"]),
    Index("uq_tier_tenant_id_level", "tenant_id", "level", unique=True),
    CheckConstraint("level >= 0 AND threshold >= 0", name="not_negative"),
)

user_tier = Table(
    "user_tier",
    metadata,
    uuid_column("tenant_id", primary_key=True),
    uuid_column("user_id", primary_key=True),
    key_column("tier", nullable=True),
    # Points lead only to a tier above this level: set by hand, so that the next event does not undo what a person decided.
    Column("held_level", Integer, nullable=False, server_default="-1"),
    instant_column("since"),
    # When the user's present period began: at the last change, or at the last end of a period.
    instant_column("reviewed_at"),
    ForeignKeyConstraint(["tenant_id", "user_id"], ["app_user.tenant_id", "app_user.user_id"]),
    Index("ix_user_tier_tenant_id_tier", "tenant_id", "tier"),
    Index("ix_user_tier_tenant_id_reviewed_at", "tenant_id", "reviewed_at"),
)

tier_change = Table(
    "tier_change",
    metadata,
    uuid_column("tenant_id", primary_key=True),
    uuid_column("change_id", primary_key=True),
    uuid_column("user_id"),
    key_column("previous_tier", nullable=True),
    key_column("new_tier", nullable=True),
    # What counted then, in the smallest unit of the currency `points`.
    Column("points", BigInteger, nullable=False),
    # Who moved it by hand, and why; null when points did.
    Column("changed_by", Text),
    Column("reason", Text),
    instant_column("created_at"),
    ForeignKeyConstraint(["tenant_id", "user_id"], ["app_user.tenant_id", "app_user.user_id"]),
    Index("ix_tier_change_tenant_id_user_id_change_id", "tenant_id", "user_id", "change_id"),
    CheckConstraint("(changed_by IS NULL) = (reason IS NULL)", name="by_hand_with_reason"),
)
