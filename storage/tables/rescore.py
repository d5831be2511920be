"""Rescores: windows that are built anew from the event log, beside what is shown."""

from sqlalchemy import BigInteger, Column, ForeignKeyConstraint, Index, Integer, SmallInteger, Table, Text, text

from domain.leaderboard.rescore import RescoreStatus
from storage.tables.metadata import instant_column, key_column, metadata, one_of, uuid_column

# `rescore_id` is also the id under which the standings of the new generation stand (leaderboard_window.standings_id).
rescore = Table(
    "rescore",
    metadata,
    uuid_column("tenant_id", primary_key=True),
    uuid_column("rescore_id", primary_key=True),
    uuid_column("board_id"),
    uuid_column("window_id"),
    key_column("window_key"),
    Column("status", Text, nullable=False),
    # The rules in force at this instant are those by which everything is counted; what is scored later, pumps write to both generations.
    instant_column("valid_from"),
    Column("version", Integer, nullable=False),
    # No event accepted before this can count in the window.
    instant_column("reads_from"),
    # What the window's standings stood under before; deleted a while after the switch.
    uuid_column("replaced_id", nullable=True),
    Column("reason", Text),
    instant_column("created_at"),
    instant_column("completed_at", nullable=True),
    ForeignKeyConstraint(["tenant_id", "board_id"], ["leaderboard.tenant_id", "leaderboard.board_id"]),
    one_of("status", RescoreStatus),
    # At most one at a time for a window.
    Index("uq_rescore_running", "tenant_id", "window_id", unique=True, postgresql_where=text("status = 'running'")),
    Index("ix_rescore_board_id", "tenant_id", "board_id", "rescore_id"),
)

# How far each lane of the log has been read again. `until_position` is where its pump stood when the rescore began: what lies behind is
# read by the rescore, what follows is scored by the pump into both generations, so nothing is missed and nothing counts twice.
rescore_partition = Table(
    "rescore_partition",
    metadata,
    uuid_column("tenant_id", primary_key=True),
    uuid_column("rescore_id", primary_key=True),
    Column("scoring_partition", SmallInteger, primary_key=True, autoincrement=False),
    Column("first_position", BigInteger),
    Column("position", BigInteger, nullable=False, server_default="0"),
    Column("until_position", BigInteger, nullable=False),
    Column("events_read", BigInteger, nullable=False, server_default="0"),
    ForeignKeyConstraint(["tenant_id", "rescore_id"], ["rescore.tenant_id", "rescore.rescore_id"]),
)
