"""The tally tells what was taken back of issued points, and what was refunded of spent ones.

Revision: 0024
"""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("taken_back", "refunded"):
        op.add_column("activity_slot", sa.Column(name, sa.BigInteger(), nullable=False, server_default="0"))


def downgrade() -> None:
    for name in ("taken_back", "refunded"):
        op.drop_column("activity_slot", name)
