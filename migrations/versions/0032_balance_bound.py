"""No balance grows beyond what a JSON number carries, whoever writes it.

A trigger and no check: a balance that an earlier release let grow further may be spent, which a check would refuse.

Revision: 0032
"""

from alembic import op

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None

MOST = 2**53 - 1


def upgrade() -> None:
    op.execute(
        """
        CREATE OR REPLACE FUNCTION refuse_full_balance() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'account % of tenant % would have more than a JSON number carries', NEW.account_id, NEW.tenant_id
                USING ERRCODE = 'check_violation', CONSTRAINT = 'account_balance_within_bound';
        END $$
        """
    )
    op.execute(
        f"""
        CREATE OR REPLACE TRIGGER balance_begins_within_bound BEFORE INSERT ON account FOR EACH ROW
        WHEN (NEW.posted + NEW.pending > {MOST}) EXECUTE FUNCTION refuse_full_balance()
        """
    )
    op.execute(
        f"""
        CREATE OR REPLACE TRIGGER balance_grows_within_bound BEFORE UPDATE OF posted, pending ON account FOR EACH ROW
        WHEN (NEW.posted + NEW.pending > {MOST} AND NEW.posted + NEW.pending > OLD.posted + OLD.pending)
        EXECUTE FUNCTION refuse_full_balance()
        """
    )


def downgrade() -> None:
    op.execute("DROP TRIGGER balance_grows_within_bound ON account")
    op.execute("DROP TRIGGER balance_begins_within_bound ON account")
    op.execute("DROP FUNCTION refuse_full_balance()")
