"""The installation has an id, by which what it shares with others (a Redis, a Temporal namespace) tells whose it is.

Revision: 0022
"""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("platform", sa.Column("installation_id", sa.Uuid(), nullable=False, server_default=sa.text("gen_random_uuid()")))


def downgrade() -> None:
    op.drop_column("platform", "installation_id")
