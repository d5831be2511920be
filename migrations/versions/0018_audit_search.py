"""The audit log is looked through by what was changed without reading all of it.

Revision: 0018
"""

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_audit_log_subject", "audit_log", ["tenant_id", "subject", "audit_id"])
    op.create_index("ix_audit_log_subject_id", "audit_log", ["tenant_id", "subject_id", "audit_id"])


def downgrade() -> None:
    op.drop_index("ix_audit_log_subject_id", "audit_log")
    op.drop_index("ix_audit_log_subject", "audit_log")
