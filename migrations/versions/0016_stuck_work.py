"""Indexes for what people look through in the console: the redemptions of one reward, and the few rows that are stuck.

Revision: 0016
"""

from alembic import op

from runtime.online import create_index

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

OPEN = "status IN ('pending_claim', 'pending_approval', 'pending', 'processing')"


def upgrade() -> None:
    create_index("ix_redemption_tenant_id_reward_id_redemption_id", "redemption", ["tenant_id", "reward_id", "redemption_id"])
    create_index(
        "ix_redemption_flagged_open",
        "redemption",
        ["tenant_id", "redemption_id"],
        where=f"flags <> '{{}}' AND {OPEN}",
    )
    create_index(
        "ix_webhook_delivery_stuck",
        "webhook_delivery",
        ["tenant_id", "state", "delivery_id"],
        where="state IN ('exhausted', 'held')",
    )
    create_index("ix_dead_letter_open", "dead_letter", ["tenant_id", "position"], where="replayed_at IS NULL")


def downgrade() -> None:
    op.drop_index("ix_dead_letter_open", "dead_letter")
    op.drop_index("ix_webhook_delivery_stuck", "webhook_delivery")
    op.drop_index("ix_redemption_flagged_open", "redemption")
    op.drop_index("ix_redemption_tenant_id_reward_id_redemption_id", "redemption")
