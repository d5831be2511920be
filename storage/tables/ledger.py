"""Currencies, accounts, immutable transfers, holds, and the rules that earn points.

The second place for every rule about money: a balance below zero, a hold larger than the balance or a transfer of nothing cannot be stored.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
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
    ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"]),
    CheckConstraint("decimal_places BETWEEN 0 AND 4", name="places"),
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
    ForeignKeyConstraint(["tenant_id", "user_id"], ["app_user.tenant_id", "app_user.user_id"]),
    ForeignKeyConstraint(["tenant_id", "currency_id"], ["currency.tenant_id", "currency.currency_id"]),
    Index("uq_account_tenant_id_user_id_currency_id", "tenant_id", "user_id", "currency_id", unique=True),
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
    PrimaryKeyConstraint("tenant_id", "transfer_id"),
    Index("uq_transfer_cause", "tenant_id", "cause_type", "cause_id", "kind", unique=True),
    Index("ix_transfer_tenant_id_user_account_id_transfer_id", "tenant_id", "user_account_id", "transfer_id"),
    CheckConstraint("amount > 0", name="amount_positive"),
    CheckConstraint("debit_account_id <> credit_account_id", name="two_accounts"),
    CheckConstraint("user_account_id IN (debit_account_id, credit_account_id)", name="user_side"),
    one_of("kind", ("earn", "grant", "redeem", "refund", "adjust", "expire", "reverse")),
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
    CheckConstraint("given >= 0", name="given_not_negative"),
    postgresql_with={"fillfactor": "70"},
)
