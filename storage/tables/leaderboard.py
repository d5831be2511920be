"""Leaderboards, their versions and windows, and the standings in a window."""

from sqlalchemy import BigInteger, Column, ForeignKeyConstraint, Index, Integer, SmallInteger, Table, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB

from storage.tables.metadata import instant_column, key_column, metadata, one_of, uuid_column

leaderboard = Table(
    "leaderboard",
    metadata,
    uuid_column("tenant_id", primary_key=True),
    # The incarnation: archiving and re-creating the same leaderboard_id makes another one.
    uuid_column("board_id", primary_key=True),
    key_column("leaderboard_id"),
    Column("name", Text, nullable=False),
    Column("description", Text),
    Column("status", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("config", JSONB, nullable=False),
    # Timeframe, aggregation and method in each segment of the board's life; empty when they have always been as in the config.
    Column("timeline", JSONB, nullable=False, server_default="[]"),
    uuid_column("reward_config_id", nullable=True),
    instant_column("created_at"),
    instant_column("updated_at"),
    ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"]),
    one_of("status", ("active", "inactive", "archived")),
    Index(
        "uq_leaderboard_tenant_id_leaderboard_id", "tenant_id", "leaderboard_id", unique=True, postgresql_where=text("status <> 'archived'")
    ),
)

leaderboard_version = Table(
    "leaderboard_version",
    metadata,
    uuid_column("tenant_id", primary_key=True),
    uuid_column("board_id", primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("status", Text, nullable=False),
    Column("config", JSONB, nullable=False),
    uuid_column("reward_config_id", nullable=True),
    instant_column("valid_from"),
    Index("ix_leaderboard_version_valid_from", "tenant_id", "valid_from"),
    ForeignKeyConstraint(["tenant_id", "board_id"], ["leaderboard.tenant_id", "leaderboard.board_id"]),
)

leaderboard_window = Table(
    "leaderboard_window",
    metadata,
    uuid_column("tenant_id", primary_key=True),
    uuid_column("window_id", primary_key=True),
    uuid_column("board_id"),
    key_column("window_key"),
    Column("status", Text, nullable=False),
    instant_column("starts_at", nullable=True),
    instant_column("ends_at", nullable=True),
    instant_column("closes_at", nullable=True),
    instant_column("closed_at", nullable=True),
    # Where its standings stand (standing.window_id, live_position.window_id): under its own id unless a rescore has replaced them.
    uuid_column("standings_id", nullable=True),
    Column("late_events", BigInteger, nullable=False, server_default="0"),
    # Written when the window is frozen: how many were ranked, how many of them the snapshot keeps, and by which ranking.
    Column("total", BigInteger),
    Column("snapshot_size", Integer),
    Column("ranking_method", Text),
    Column("ranking_min_score", BigInteger),
    instant_column("created_at"),
    UniqueConstraint("tenant_id", "board_id", "window_key"),
    Index("ix_leaderboard_window_starts_at", "tenant_id", "board_id", "starts_at"),
    Index("ix_leaderboard_window_unclosed", "tenant_id", "window_id", postgresql_where=text("status IN ('open', 'closing')")),
    Index("ix_leaderboard_window_closed_early", "tenant_id", "window_id", postgresql_where=text("closed_at < ends_at")),
    Index(
        "uq_leaderboard_window_standings_id", "tenant_id", "standings_id", unique=True, postgresql_where=text("standings_id IS NOT NULL")
    ),
    ForeignKeyConstraint(["tenant_id", "board_id"], ["leaderboard.tenant_id", "leaderboard.board_id"]),
    one_of("status", ("open", "closing", "closed", "paid")),
)

# One partition of the log owns one user's standings, so only its pump writes them. No foreign key and no index on the score:
# both would be paid on every scored event, while ranks are read from the rankings (docs/decisions/0004).
standing = Table(
    "standing",
    metadata,
    uuid_column("tenant_id", primary_key=True),
    uuid_column("window_id", primary_key=True),
    uuid_column("user_id", primary_key=True),
    key_column("external_user_id"),
    Column("score", BigInteger, nullable=False),
    instant_column("reached_at"),
    Column("total", BigInteger, nullable=False),
    Column("counted", BigInteger, nullable=False),
    Column("best", BigInteger),
    instant_column("best_at", nullable=True),
    instant_column("scored_at", nullable=True),
    instant_column("counted_at"),
    Column("scoring_partition", SmallInteger, nullable=False),
    Column("position", BigInteger, nullable=False),
    # What the points add up to is `total + turns * 2^64`.
    Column("turns", Integer, nullable=False, server_default="0"),
    postgresql_with={"fillfactor": "70"},
)

live_position = Table(
    "live_position",
    metadata,
    uuid_column("tenant_id", primary_key=True),
    uuid_column("window_id", primary_key=True),
    Column("scoring_partition", SmallInteger, primary_key=True, autoincrement=False),
    Column("position", BigInteger, nullable=False),
    instant_column("updated_at"),
    Index("ix_live_position_scoring_partition", "scoring_partition", "updated_at"),
    postgresql_with={"fillfactor": "70"},
)
