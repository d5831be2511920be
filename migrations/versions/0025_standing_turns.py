"""Sums of a standing may go beyond what a bigint holds.

Revision: 0025
"""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("standing", sa.Column("turns", sa.Integer(), nullable=False, server_default="0"))


def downgrade() -> None:
    op.drop_column("standing", "turns")
