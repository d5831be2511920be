"""The audit log is looked through by what was changed, deliveries by a rare kind of event, without reading all of them.

Revision: 0018
"""

from alembic import op

from runtime.online import create_index

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_index("ix_audit_log_subject", "audit_log", ["tenant_id", "subject", "audit_id"])
    create_index("ix_audit_log_subject_id", "audit_log", ["tenant_id", "subject_id", "audit_id"])
    create_index(
        "ix_webhook_delivery_event",
        "webhook_delivery",
        ["tenant_id", "event", "delivery_id"],
        where="event <> 'reward_redeemed'",
    )


def downgrade() -> None:
    op.drop_index("ix_webhook_delivery_event", "webhook_delivery")
    op.drop_index("ix_audit_log_subject_id", "audit_log")
    op.drop_index("ix_audit_log_subject", "audit_log")
