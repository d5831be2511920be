"""The search attributes of our workflows, as Temporal's command line spells them. Kept apart from the client, which is slow to import.

SQL visibility has room for ten attributes of type Keyword and three of each other type: the Keywords are all taken, two lists are left.
"""

import json

KEYWORD_BYTES = 2000
"""Temporal refuses a workflow whose Keyword takes more than 2048 bytes as JSON, where 😀 takes twelve."""

SEARCH_ATTRIBUTES: dict[str, str] = {
    "TenantId": "Keyword",
    "RedemptionId": "Keyword",
    "ExternalUserId": "Keyword",
    "RewardSlug": "Keyword",
    "RedemptionStatus": "Keyword",
    "LeaderboardId": "Keyword",
    "WindowStatus": "Keyword",
    "PayoutStatus": "Keyword",
    "ScheduleId": "Keyword",
    "EndpointId": "Keyword",
    "Flags": "KeywordList",
}


def fitting(text: str) -> str:
    """The text as a Keyword, cut to its beginning when it is too long for one."""
    while len(json.dumps(text)) > KEYWORD_BYTES:
        text = text[: len(text) * KEYWORD_BYTES // len(json.dumps(text))]
    return text
