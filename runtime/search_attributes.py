"""The search attributes of our workflows, as Temporal's command line spells them. Kept apart from the client, which is slow to import.

SQL visibility has room for ten attributes of type Keyword and three of each other type: two Keywords are left.
"""

SEARCH_ATTRIBUTES: dict[str, str] = {
    "TenantId": "Keyword",
    "RedemptionId": "Keyword",
    "ExternalUserId": "Keyword",
    "RewardSlug": "Keyword",
    "RedemptionStatus": "Keyword",
    "LeaderboardId": "Keyword",
    "WindowStatus": "Keyword",
    "PayoutStatus": "Keyword",
}
