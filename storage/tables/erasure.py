"""Users who asked to be forgotten."""

from sqlalchemy import ForeignKeyConstraint, Index, Table, text

from storage.tables.metadata import instant_column, key_column, metadata, uuid_column

erasure = Table(
    "erasure",
    metadata,
    uuid_column("tenant_id", primary_key=True),
    uuid_column("user_id", primary_key=True),
    # What has to be looked for; null once nothing of it is left.
    key_column("external_id", nullable=True),
    instant_column("requested_at"),
    instant_column("completed_at", nullable=True),
    ForeignKeyConstraint(["tenant_id", "user_id"], ["app_user.tenant_id", "app_user.user_id"]),
    Index("ix_erasure_open", "tenant_id", "user_id", postgresql_where=text("completed_at IS NULL")),
)
