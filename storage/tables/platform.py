"""What is fixed once for the whole platform."""

from sqlalchemy import Boolean, CheckConstraint, Column, Integer, Table, Text, Uuid, text

from storage.tables.metadata import instant_column, metadata

platform = Table(
    "platform",
    metadata,
    Column("singleton", Boolean, primary_key=True, server_default=text("true")),
    Column("scoring_partitions", Integer, nullable=False),
    Column("installation_id", Uuid, nullable=False, server_default=text("gen_random_uuid()")),
    instant_column("created_at"),
    CheckConstraint("singleton", name="one_row"),
)

lease = Table(
    "lease",
    metadata,
    # Work for the whole platform that one process does at a time, until this instant.
    Column("name", Text(collation="C"), primary_key=True),
    instant_column("held_until"),
)
