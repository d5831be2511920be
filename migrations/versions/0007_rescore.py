"""Rescores, and where a window's standings stand.

Revision: 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("leaderboard_window", sa.Column("standings_id", sa.UUID(), nullable=True))
    op.create_index(
        "uq_leaderboard_window_standings_id",
        "leaderboard_window",
        ["tenant_id", "standings_id"],
        unique=True,
        postgresql_where=sa.text("standings_id IS NOT NULL"),
    )
    op.create_table(
        "rescore",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("rescore_id", sa.UUID(), nullable=False),
        sa.Column("board_id", sa.UUID(), nullable=False),
        sa.Column("window_id", sa.UUID(), nullable=False),
        sa.Column("window_key", sa.Text(collation="C"), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("valid_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("reads_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("replaced_id", sa.UUID(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("status IN ('running', 'completed', 'failed')", name=op.f("ck_rescore_status_known")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "board_id"], ["leaderboard.tenant_id", "leaderboard.board_id"], name=op.f("fk_rescore_tenant_id_board_id")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "rescore_id", name=op.f("pk_rescore")),
    )
    op.create_index(
        "uq_rescore_running", "rescore", ["tenant_id", "window_id"], unique=True, postgresql_where=sa.text("status = 'running'")
    )
    op.create_index("ix_rescore_board_id", "rescore", ["tenant_id", "board_id", "rescore_id"])
    op.create_table(
        "rescore_partition",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("rescore_id", sa.UUID(), nullable=False),
        sa.Column("scoring_partition", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("first_position", sa.BigInteger(), nullable=True),
        sa.Column("position", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("until_position", sa.BigInteger(), nullable=False),
        sa.Column("events_read", sa.BigInteger(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "rescore_id"], ["rescore.tenant_id", "rescore.rescore_id"], name=op.f("fk_rescore_partition_tenant_id_rescore_id")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "rescore_id", "scoring_partition", name=op.f("pk_rescore_partition")),
    )
    op.execute(
        "CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON rescore FOR EACH ROW "
        "WHEN (coalesce(current_setting('laurel.actor', true), '') <> '') EXECUTE FUNCTION record_change('rescore_id')"
    )


def downgrade() -> None:
    op.drop_table("rescore_partition")
    op.drop_table("rescore")
    op.drop_column("leaderboard_window", "standings_id")
