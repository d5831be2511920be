"""The audit log's entries of gamer tokens by age: they are deleted after 90 days.

Revision: 0031
"""

from alembic import op

from runtime.online import create_index

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_index("ix_audit_log_gamer_token", "audit_log", ["audit_id"], where="subject = 'gamer_token'")


def downgrade() -> None:
    op.drop_index("ix_audit_log_gamer_token", "audit_log")
