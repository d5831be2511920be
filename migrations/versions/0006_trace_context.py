"""The trace that a command in the outbox belongs to.

Revision: 0006
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("outbox", sa.Column("trace_context", sa.Text()))


def downgrade() -> None:
    op.drop_column("outbox", "trace_context")
