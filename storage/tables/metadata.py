"""The metadata that all tables share, its naming convention, and shorthands for columns that recur."""

from enum import StrEnum

from sqlalchemy import CheckConstraint, Column, DateTime, MetaData, Text
from sqlalchemy.dialects.postgresql import UUID

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def uuid_column(name: str, *, nullable: bool = False, primary_key: bool = False) -> Column[object]:
    """A UUID column."""
    return Column(name, UUID(as_uuid=True), nullable=nullable, primary_key=primary_key)


def instant_column(name: str, *, nullable: bool = False) -> Column[object]:
    """A timestamp with time zone."""
    return Column(name, DateTime(timezone=True), nullable=nullable)


def key_column(name: str, *, nullable: bool = False, primary_key: bool = False) -> Column[object]:
    """Text compared in byte order: ids that clients choose, and everything that ranks."""
    return Column(name, Text(collation="C"), nullable=nullable, primary_key=primary_key)


def one_of(column: str, values: type[StrEnum] | tuple[str, ...]) -> CheckConstraint:
    """The names that a state column may hold, the same as in the domain's table of moves."""
    names = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({names})", name=f"{column}_known")
