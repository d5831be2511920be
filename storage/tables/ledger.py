"""Currencies, accounts, immutable transfers, credits that wait, holds, and the rules that earn points.

The second place for every rule about money: a balance below zero, a hold larger than the balance or a transfer of nothing cannot be stored.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKeyConstraint,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from storage.tables.metadata import instant_column, key_column, metadata, one_of, uuid_column

currency = Table(
    "currency",
    metadata,
    uuid_column("tenant_id", primary_key=True),
    key_column("currency_id", primary_key=True),
    Column("name", Text, nullable=False),
    Column("symbol", Text),
    Column("decimal_places", Integer, nullable=False, server_default="0"),
    Column("is_spendable", Boolean, nullable=False, server_default=text("true")),
    Column("expires_after_days", Integer),
    Column("pending_seconds", Integer, nullable=False, server_default="0"),
    # The two system accounts: points come out of `issue`, spent points go into `redemption`.
    uuid_column("issue_account_id"),
    uuid_column("redemption_account_id"),
    instant_column("created_at"),
    # Since when points expire, and when those expire that were credited without a date: fixed on the day expiry is switched on.
    instant_column("expiry_from", nullable=True),
    instant_column("undated_expires_at", nullable=True),
    ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"]),
    CheckConstraint("decimal_places BETWEEN 0 AND 4", name="places"),
    CheckConstraint("expires_after_days BETWEEN 1 AND 36500", name="expires_after_days_range"),
    CheckConstraint("pending_seconds BETWEEN 0 AND 31536000", name="pending_seconds_range"),
    CheckConstraint(
        "expires_after_days IS NULL OR (expiry_from IS NOT NULL AND undated_expires_at IS NOT NULL)", name="expiry_has_a_beginning"
    ),
)

account = Table(
    "account",
    metadata,
    uuid_column("tenant_id", primary_key=True),
    uuid_column("account_id", primary_key=True),
    uuid_column("user_id"),
    key_column("currency_id"),
    Column("posted", BigInteger, nullable=False, server_default="0"),
    Column("held", BigInteger, nullable=False, server_default="0"),
    Column("lifetime_earned", BigInteger, nullable=False, server_default="0"),
    Column("lifetime_spent", BigInteger, nullable=False, server_default="0"),
    instant_column("created_at"),
    # Credited, but not available yet: `posted` does not hold it.
    Column("pending", BigInteger, nullable=False, server_default="0"),
    # The latest `expires_at` that a credit was given: no later credit expires before it.
    instant_column("last_expires_at", nullable=True),
    # Nothing expires before it; 1970: whenever the currency's undated points do; 9999: never. Changed by credits and by the expiry.
    Column("next_expiry_at", DateTime(timezone=True), nullable=False, server_default=text("'1970-01-01 00:00:00+00'")),
    # Up to when the user was told of what expires, and when that was last looked at.
    instant_column("noticed_until", nullable=True),
    instant_column("noticed_at", nullable=True),
    ForeignKeyConstraint(["tenant_id", "user_id"], ["app_user.tenant_id", "app_user.user_id"]),
    ForeignKeyConstraint(["tenant_id", "currency_id"], ["currency.tenant_id", "currency.currency_id"]),
    Index("uq_account_tenant_id_user_id_currency_id", "tenant_id", "user_id", "currency_id", unique=True),
    Index("ix_account_next_expiry", "tenant_id", "currency_id", "next_expiry_at", "account_id"),
    CheckConstraint("pending >= 0", name="pending_not_negative"),
    CheckConstraint("posted >= 0", name="posted_not_negative"),
    CheckConstraint("held >= 0 AND held <= posted", name="held_within_posted"),
    CheckConstraint("lifetime_earned >= 0 AND lifetime_spent >= 0", name="lifetime_not_negative"),
    postgresql_with={"fillfactor": "70"},
)

transfer = Table(
    "transfer",
    metadata,
    uuid_column("tenant_id"),
    uuid_column("transfer_id"),
    uuid_column("debit_account_id"),
    uuid_column("credit_account_id"),
    # The side that belongs to a user: what a user's transactions are listed by.
    uuid_column("user_account_id"),
    Column("amount", BigInteger, nullable=False),
    key_column("currency_id"),
    Column("kind", Text, nullable=False),
    Column("cause_type", Text, nullable=False),
    key_column("cause_id"),
    Column("note", Text),
    uuid_column("reverses_transfer_id", nullable=True),
    instant_column("created_at"),
    # Fixed when a credit is made: when it can be spent (null: at once), and when it expires (null: the currency's undated points).
    instant_column("available_at", nullable=True),
    instant_column("expires_at", nullable=True),
    PrimaryKeyConstraint("tenant_id", "transfer_id"),
    # Reversed once. No row for the many that reverse nothing.
    Index(
        "uq_transfer_reverses",
        "tenant_id",
        "reverses_transfer_id",
        unique=True,
        postgresql_where=text("reverses_transfer_id IS NOT NULL"),
    ),
    # What an account still has to lose: a few rows of each, however long its history is.
    Index(
        "ix_transfer_expires_at",
        "tenant_id",
        "user_account_id",
        "expires_at",
        postgresql_where=text("expires_at IS NOT NULL"),
    ),
    Index("uq_transfer_cause", "tenant_id", "cause_type", "cause_id", "kind", unique=True),
    Index("ix_transfer_tenant_id_user_account_id_transfer_id", "tenant_id", "user_account_id", "transfer_id"),
    CheckConstraint("amount > 0", name="amount_positive"),
    CheckConstraint("debit_account_id <> credit_account_id", name="two_accounts"),
    CheckConstraint("user_account_id IN (debit_account_id, credit_account_id)", name="user_side"),
    CheckConstraint("expires_at > coalesce(available_at, created_at)", name="expires_after_it_is_available"),
    CheckConstraint("available_at IS NULL OR (kind IN ('earn', 'grant') AND available_at > created_at)", name="waits_only_when_given"),
    one_of("kind", ("earn", "grant", "redeem", "refund", "adjust", "expire", "reverse")),
)

# What was credited and cannot be spent yet. `active`: it can now; `cancelled`: its transfer was reversed before it could.
pending_credit = Table(
    "pending_credit",
    metadata,
    uuid_column("tenant_id", primary_key=True),
    uuid_column("transfer_id", primary_key=True),
    uuid_column("account_id"),
    Column("amount", BigInteger, nullable=False),
    instant_column("available_at"),
    Column("state", Text, nullable=False, server_default="pending"),
    instant_column("settled_at", nullable=True),
    ForeignKeyConstraint(["tenant_id", "account_id"], ["account.tenant_id", "account.account_id"]),
    Index("ix_pending_credit_due", "available_at", "tenant_id", "transfer_id", postgresql_where=text("state = 'pending'")),
    Index("ix_pending_credit_account", "tenant_id", "account_id", "available_at", postgresql_where=text("state = 'pending'")),
    CheckConstraint("amount > 0", name="amount_positive"),
    CheckConstraint("(state = 'pending') = (settled_at IS NULL)", name="settled_when_not_pending"),
    one_of("state", ("pending", "active", "cancelled")),
    postgresql_with={"fillfactor": "80"},
)

hold = Table(
    "hold",
    metadata,
    uuid_column("tenant_id", primary_key=True),
    uuid_column("hold_id", primary_key=True),
    uuid_column("account_id"),
    Column("amount", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    uuid_column("redemption_id"),
    instant_column("created_at"),
    instant_column("settled_at", nullable=True),
    ForeignKeyConstraint(["tenant_id", "account_id"], ["account.tenant_id", "account.account_id"]),
    Index("uq_hold_tenant_id_redemption_id", "tenant_id", "redemption_id", unique=True),
    Index("ix_hold_open", "tenant_id", "account_id", postgresql_where=text("state = 'held'")),
    CheckConstraint("amount > 0", name="amount_positive"),
    CheckConstraint("(state = 'held') = (settled_at IS NULL)", name="settled_when_not_held"),
    one_of("state", ("held", "captured", "released", "expired")),
)

earning_rule = Table(
    "earning_rule",
    metadata,
    uuid_column("tenant_id", primary_key=True),
    uuid_column("rule_id", primary_key=True),
    Column("name", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("definition", JSONB, nullable=False),
    Column("active", Boolean, nullable=False),
    instant_column("created_at"),
    instant_column("updated_at"),
    instant_column("archived_at", nullable=True),
    ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"]),
)

earning_rule_version = Table(
    "earning_rule_version",
    metadata,
    uuid_column("tenant_id", primary_key=True),
    uuid_column("rule_id", primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("definition", JSONB, nullable=False),
    Column("active", Boolean, nullable=False),
    instant_column("valid_from"),
    Index("ix_earning_rule_version_valid_from", "tenant_id", "valid_from"),
    ForeignKeyConstraint(["tenant_id", "rule_id"], ["earning_rule.tenant_id", "earning_rule.rule_id"]),
)

# What a rule with a budget has given to all users together, in 1/10 000 point: a row for every rule, apart from it, because the
# pumps lock it while an admin's change of the rule waits for the pumps.
earning_budget = Table(
    "earning_budget",
    metadata,
    uuid_column("tenant_id", primary_key=True),
    uuid_column("rule_id", primary_key=True),
    Column("spent", BigInteger, nullable=False, server_default="0"),
    ForeignKeyConstraint(["tenant_id", "rule_id"], ["earning_rule.tenant_id", "earning_rule.rule_id"]),
    CheckConstraint("spent >= 0", name="spent_not_negative"),
    postgresql_with={"fillfactor": "50"},
)

# What a rule with caps has given to a user in a day, week or month of the tenant's time, in 1/10 000 point.
earning_usage = Table(
    "earning_usage",
    metadata,
    uuid_column("tenant_id", primary_key=True),
    uuid_column("rule_id", primary_key=True),
    uuid_column("user_id", primary_key=True),
    key_column("period", primary_key=True),
    Column("given", BigInteger, nullable=False),
    # Kept as long after it as events are. No index: it would be moved by every event that earns.
    Column("changed_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    CheckConstraint("given >= 0", name="given_not_negative"),
    postgresql_with={"fillfactor": "70"},
)
