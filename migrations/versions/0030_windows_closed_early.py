"""Windows that were closed before their end: the sweep looks whether somebody makes the next one.

Revision: 0030
"""

from alembic import op

from runtime.online import create_index

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_index("ix_leaderboard_window_closed_early", "leaderboard_window", ["tenant_id", "window_id"], where="closed_at < ends_at")


def downgrade() -> None:
    op.drop_index("ix_leaderboard_window_closed_early", "leaderboard_window")
