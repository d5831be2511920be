"""What is fixed once for the whole platform."""

from sqlalchemy import Boolean, CheckConstraint, Column, Integer, Table, text

from storage.tables.metadata import instant_column, metadata

platform = Table(
    "platform",
    metadata,
    Column("singleton", Boolean, primary_key=True, server_default=text("true")),
    Column("scoring_partitions", Integer, nullable=False),
    instant_column("created_at"),
    CheckConstraint("singleton", name="one_row"),
)
