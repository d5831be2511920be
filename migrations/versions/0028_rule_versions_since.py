"""The versions of a tenant's rules by when they began: scoring reads those that it still needs.

Revision: 0028
"""

from alembic import op

from runtime.online import create_index

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_index("ix_leaderboard_version_valid_from", "leaderboard_version", ["tenant_id", "valid_from"])
    create_index("ix_earning_rule_version_valid_from", "earning_rule_version", ["tenant_id", "valid_from"])


def downgrade() -> None:
    op.drop_index("ix_leaderboard_version_valid_from", "leaderboard_version")
    op.drop_index("ix_earning_rule_version_valid_from", "earning_rule_version")
