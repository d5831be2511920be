"""The console: sessions, attempts to sign in, and the counts of its dashboard.

Revision: 0010
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    instant = sa.DateTime(timezone=True)
    op.create_table(
        "console_session",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("session_id", sa.UUID(), nullable=False),
        sa.Column("console_user_id", sa.UUID(), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("user_agent", sa.Text(), nullable=False),
        sa.Column("created_at", instant, nullable=False),
        sa.Column("last_seen_at", instant, nullable=False),
        sa.Column("expires_at", instant, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "session_id", name="pk_console_session"),
        sa.ForeignKeyConstraint(
            ["tenant_id", "console_user_id"],
            ["console_user.tenant_id", "console_user.console_user_id"],
            name="fk_console_session_tenant_id_console_user_id",
            ondelete="CASCADE",
        ),
    )
    op.create_index("uq_console_session_token_hash", "console_session", ["token_hash"], unique=True)
    op.create_index("ix_console_session_tenant_id_console_user_id", "console_session", ["tenant_id", "console_user_id"])
    op.create_index("ix_console_session_expires_at", "console_session", ["expires_at"])
    op.create_table(
        "sign_in_attempt",
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("began_at", instant, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_sign_in_attempt"),
    )
    op.create_index("ix_sign_in_attempt_began_at", "sign_in_attempt", ["began_at"])
    counts = ("events", "users", "issued", "spent", "redemptions")
    op.create_table(
        "activity_slot",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("starts_at", instant, nullable=False),
        *(sa.Column(name, sa.BigInteger(), server_default="0", nullable=False) for name in counts),
        sa.PrimaryKeyConstraint("tenant_id", "starts_at", name="pk_activity_slot"),
    )
    op.create_table(
        "activity_cursor",
        sa.Column("name", sa.Text(collation="C"), nullable=False),
        sa.Column("position", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("until", instant, nullable=True),
        sa.PrimaryKeyConstraint("name", name="pk_activity_cursor"),
    )
    op.create_index("ix_redemption_tenant_id_status_redemption_id", "redemption", ["tenant_id", "status", "redemption_id"])


def downgrade() -> None:
    raise NotImplementedError("the first revisions are not taken back: drop the database instead")
