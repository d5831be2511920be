"""The audit log hears of the people of the console, never of their passwords.

Revision: 0009
"""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        "CREATE OR REPLACE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON console_user FOR EACH ROW "
        "WHEN (coalesce(current_setting('laurel.actor', true), '') <> '') EXECUTE FUNCTION record_change('console_user_id')"
    )


def downgrade() -> None:
    raise NotImplementedError("revisions are not taken back: drop the database instead")
