"""Deliveries say whom they are about, so that what is held about a user is found without reading all of them.

Revision: 0033
"""

from alembic import op

from runtime.online import create_index

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE webhook_delivery ADD COLUMN IF NOT EXISTS user_id uuid")
    create_index("ix_webhook_delivery_user_id", "webhook_delivery", ["tenant_id", "user_id"], where="user_id IS NOT NULL")
    create_index(
        "ix_webhook_delivery_of_nobody",
        "webhook_delivery",
        ["tenant_id", "delivery_id"],
        where="user_id IS NULL AND redemption_id IS NULL",
    )


def downgrade() -> None:
    op.drop_index("ix_webhook_delivery_of_nobody", "webhook_delivery")
    op.drop_index("ix_webhook_delivery_user_id", "webhook_delivery")
    op.drop_column("webhook_delivery", "user_id")
