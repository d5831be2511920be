"""Deliveries in a rare state are looked through without reading those that were delivered.

Revision: 0019
"""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "ix_webhook_delivery_ended_otherwise",
        "webhook_delivery",
        ["tenant_id", "state", "delivery_id"],
        postgresql_where=sa.text("state IN ('superseded', 'cancelled')"),
    )


def downgrade() -> None:
    op.drop_index("ix_webhook_delivery_ended_otherwise", "webhook_delivery")
