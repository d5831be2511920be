"""Deliveries in a rare state are looked through without reading those that were delivered.

Revision: 0019
"""

from alembic import op

from runtime.online import create_index

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_index(
        "ix_webhook_delivery_ended_otherwise",
        "webhook_delivery",
        ["tenant_id", "state", "delivery_id"],
        where="state IN ('superseded', 'cancelled')",
    )


def downgrade() -> None:
    op.drop_index("ix_webhook_delivery_ended_otherwise", "webhook_delivery")
