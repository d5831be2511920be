"""The event that editors try a definition with."""

from datetime import UTC, datetime

import msgspec


def sample_event(now: datetime, event_type: str) -> str:
    """An event of this type, as JSON that a person can change."""
    body = {
        "event_id": "sample-1",
        "type": event_type or "match.completed",
        "actor": {"user_id": "player-1"},
        "occurred_at": now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "attrs": {"score": 120, "goals": 2},
    }
    return msgspec.json.format(msgspec.json.encode(body), indent=2).decode()
