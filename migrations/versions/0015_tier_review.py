"""The version of a tier set that the review under way began with.

Revision: 0015
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("tier_set", sa.Column("reviewing_version", sa.Integer, nullable=False, server_default="0"))


def downgrade() -> None:
    op.drop_column("tier_set", "reviewing_version")
