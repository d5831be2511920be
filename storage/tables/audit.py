"""What admins and the operator changed: written by triggers, in the transaction of the change (migration 0003)."""

from sqlalchemy import Column, Index, Table, Text, text
from sqlalchemy.dialects.postgresql import JSONB

from storage.tables.metadata import instant_column, key_column, metadata, uuid_column

audit_log = Table(
    "audit_log",
    metadata,
    uuid_column("tenant_id", primary_key=True),
    uuid_column("audit_id", primary_key=True),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    key_column("subject"),
    key_column("subject_id"),
    # The columns that differ; null where there was nothing before or is nothing after.
    Column("before", JSONB),
    Column("after", JSONB),
    Column("reason", Text),
    instant_column("created_at"),
    # What the log is looked through for, newest first: a kind of thing, or one thing.
    Index("ix_audit_log_subject", "tenant_id", "subject", "audit_id"),
    Index("ix_audit_log_subject_id", "tenant_id", "subject_id", "audit_id"),
    # Those that are not kept for ever.
    Index("ix_audit_log_gamer_token", "audit_id", postgresql_where=text("subject = 'gamer_token'")),
)
"""No foreign key to the tenant: what happened stays written."""
