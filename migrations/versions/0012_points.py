"""Points that wait and points that expire: what accounts and transfers need for it, and the credits that wait.

Revision: 0012
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("currency", sa.Column("expiry_from", INSTANT))
    op.add_column("currency", sa.Column("undated_expires_at", INSTANT))
    op.create_check_constraint(op.f("ck_currency_expires_after_days_range"), "currency", "expires_after_days BETWEEN 1 AND 36500")
    op.create_check_constraint(op.f("ck_currency_pending_seconds_range"), "currency", "pending_seconds BETWEEN 0 AND 31536000")
    op.create_check_constraint(
        op.f("ck_currency_expiry_has_a_beginning"),
        "currency",
        "expires_after_days IS NULL OR (expiry_from IS NOT NULL AND undated_expires_at IS NOT NULL)",
    )
    op.add_column("account", sa.Column("pending", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("account", sa.Column("last_expires_at", INSTANT))
    op.add_column("account", sa.Column("next_expiry_at", INSTANT, nullable=False, server_default=sa.text("'1970-01-01 00:00:00+00'")))
    op.add_column("account", sa.Column("noticed_until", INSTANT))
    op.add_column("account", sa.Column("noticed_at", INSTANT))
    op.create_check_constraint(op.f("ck_account_pending_not_negative"), "account", "pending >= 0")
    op.create_index("ix_account_next_expiry", "account", ["tenant_id", "currency_id", "next_expiry_at", "account_id"])
    op.add_column("transfer", sa.Column("available_at", INSTANT))
    op.add_column("transfer", sa.Column("expires_at", INSTANT))
    op.create_check_constraint(
        op.f("ck_transfer_expires_after_it_is_available"), "transfer", "expires_at > coalesce(available_at, created_at)"
    )
    op.create_check_constraint(
        op.f("ck_transfer_waits_only_when_given"),
        "transfer",
        "available_at IS NULL OR (kind IN ('earn', 'grant') AND available_at > created_at)",
    )
    op.create_index(
        "uq_transfer_reverses",
        "transfer",
        ["tenant_id", "reverses_transfer_id"],
        unique=True,
        postgresql_where=sa.text("reverses_transfer_id IS NOT NULL"),
    )
    op.create_index(
        "ix_transfer_expires_at",
        "transfer",
        ["tenant_id", "user_account_id", "expires_at"],
        postgresql_where=sa.text("expires_at IS NOT NULL"),
    )
    op.add_column("tier_set", sa.Column("reviewed_version", sa.Integer, nullable=False, server_default="0"))
    _pending_credit()


def _pending_credit() -> None:
    op.create_table(
        "pending_credit",
        sa.Column("tenant_id", sa.UUID, nullable=False),
        sa.Column("transfer_id", sa.UUID, nullable=False),
        sa.Column("account_id", sa.UUID, nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("available_at", INSTANT, nullable=False),
        sa.Column("state", sa.Text, nullable=False, server_default="pending"),
        sa.Column("settled_at", INSTANT),
        sa.PrimaryKeyConstraint("tenant_id", "transfer_id", name=op.f("pk_pending_credit")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "account_id"], ["account.tenant_id", "account.account_id"], name=op.f("fk_pending_credit_tenant_id")
        ),
        sa.CheckConstraint("amount > 0", name=op.f("ck_pending_credit_amount_positive")),
        sa.CheckConstraint("(state = 'pending') = (settled_at IS NULL)", name=op.f("ck_pending_credit_settled_when_not_pending")),
        sa.CheckConstraint("state IN ('pending', 'active', 'cancelled')", name=op.f("ck_pending_credit_state_known")),
        postgresql_with={"fillfactor": "80"},
    )
    waiting = sa.text("state = 'pending'")
    op.create_index("ix_pending_credit_due", "pending_credit", ["available_at", "tenant_id", "transfer_id"], postgresql_where=waiting)
    op.create_index("ix_pending_credit_account", "pending_credit", ["tenant_id", "account_id", "available_at"], postgresql_where=waiting)


def downgrade() -> None:
    raise NotImplementedError("what points are worth cannot be told without these columns")
