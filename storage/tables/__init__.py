"""The schema, declared once. Alembic migrates to it and a guard test proves that migrations and tables agree.

Queries are plain SQL in `storage/<feature>.py` (docs/decisions/0002). `tenant_id` leads every primary key but those of the event
log and the platform's own bookkeeping (docs/decisions/0003), and every foreign key is composite with it, so that a row can
never refer to another tenant's row.
"""

from storage.tables import (
    audit,
    console,
    erasure,
    event,
    leaderboard,
    ledger,
    payout,
    platform,
    redemption,
    rescore,
    reward,
    schedule,
    snapshot,
    tenant,
    tier,
    webhook,
)
from storage.tables.metadata import metadata

__all__ = [
    "audit",
    "console",
    "erasure",
    "event",
    "leaderboard",
    "ledger",
    "metadata",
    "payout",
    "platform",
    "redemption",
    "rescore",
    "reward",
    "schedule",
    "snapshot",
    "tenant",
    "tier",
    "webhook",
]
