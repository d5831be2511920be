"""Uses of caps know when they changed, so that old ones can go; a user's payouts are found without reading all of them.

Revision: 0017
"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("earning_usage", sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()")))
    op.create_index("ix_payout_recipient_user", "payout_recipient", ["tenant_id", "user_id"])
    op.execute("ALTER TABLE payout_recipient SET (fillfactor = 50)")


def downgrade() -> None:
    op.execute("ALTER TABLE payout_recipient SET (fillfactor = 80)")
    op.drop_index("ix_payout_recipient_user", "payout_recipient")
    op.drop_column("earning_usage", "changed_at")
