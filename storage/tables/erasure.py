"""Users who asked to be forgotten."""

from sqlalchemy import Column, ForeignKeyConstraint, Index, LargeBinary, PrimaryKeyConstraint, Table, text

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

# Who was erased lately, by a hash of the external id: tokens issued to them before are refused. Gone when such tokens have expired.
erased_name = Table(
    "erased_name",
    metadata,
    uuid_column("tenant_id"),
    Column("name_hash", LargeBinary, nullable=False),
    instant_column("erased_at"),
    PrimaryKeyConstraint("tenant_id", "name_hash"),
    ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"]),
    Index("ix_erased_name_tenant_id_erased_at", "tenant_id", "erased_at"),
)
