"""What anyone may ask of Laurel: every limit by name, in one place. docs/limits.md shows this table, and a test keeps both equal.

A bound is declared where it is listed here and used by its value everywhere else: `LEADERBOARDS.value`.
"""

from typing import Literal

import msgspec

Scope = Literal["request", "event", "definition", "tenant", "credential", "user", "endpoint", "connection", "address", "process", "payout"]


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """One bound. `beyond` says what happens to whoever exceeds it; `setting` names the variable that moves it, if one does."""

    section: str
    name: str
    value: int
    unit: str
    scope: Scope
    beyond: str
    setting: str | None = None


LIMITS: list[Limit] = []
REFUSED = "409 `LIMIT_REACHED` with `limit`"
INVALID = "400 `VALIDATION_ERROR`"


def _limit(section: str, name: str, value: int, unit: str, *, scope: Scope, beyond: str, setting: str | None = None) -> Limit:
    limit = Limit(section=section, name=name, value=value, unit=unit, scope=scope, beyond=beyond, setting=setting)
    LIMITS.append(limit)
    return limit


DEFINITIONS = "Definitions of a tenant"
LEADERBOARDS = _limit(DEFINITIONS, "leaderboards that are not archived", 500, "boards", scope="tenant", beyond=REFUSED)
EARNING_RULES = _limit(DEFINITIONS, "earning rules that are not archived", 500, "rules", scope="tenant", beyond=REFUSED)
EVENT_TYPES = _limit(DEFINITIONS, "declared event types", 500, "types", scope="tenant", beyond=REFUSED)
API_KEYS = _limit(DEFINITIONS, "API keys that are neither revoked nor expired", 200, "keys", scope="tenant", beyond=REFUSED)
WEBHOOK_ENDPOINTS = _limit(DEFINITIONS, "webhook endpoints that are not archived", 50, "endpoints", scope="tenant", beyond=REFUSED)
SCHEDULES = _limit(DEFINITIONS, "payout schedules that are not archived", 200, "schedules", scope="tenant", beyond=REFUSED)
REWARDS = _limit(DEFINITIONS, "rewards that are not archived", 2000, "rewards", scope="tenant", beyond=REFUSED)
REWARD_ITEMS = _limit(DEFINITIONS, "reward items that are not archived", 2000, "items", scope="tenant", beyond=REFUSED)
REWARD_CONFIGS = _limit(DEFINITIONS, "reward configs that are not archived", 500, "configs", scope="tenant", beyond=REFUSED)
CURRENCIES = _limit(DEFINITIONS, "currencies", 50, "currencies", scope="tenant", beyond=REFUSED)
CONSOLE_USERS = _limit(DEFINITIONS, "people who can sign in to the console", 200, "accounts", scope="tenant", beyond=REFUSED)

TIERS = _limit(DEFINITIONS, "tiers", 100, "tiers", scope="tenant", beyond=INVALID)
TIER_BENEFITS_BYTES = _limit(DEFINITIONS, "`benefits` of a tier", 16_384, "bytes of JSON", scope="definition", beyond=INVALID)
SETTINGS_BYTES = _limit(DEFINITIONS, "`metadata` of the settings", 16_384, "bytes of JSON", scope="tenant", beyond=INVALID)
CORS_ORIGINS = _limit(DEFINITIONS, "origins in `cors_origins`", 100, "origins", scope="tenant", beyond=INVALID)

SCORING = "Scoring"
RULE_BYTES = _limit(
    SCORING,
    "all active rules of boards and earning: those for `*` once for each event type that is named and once more, those of a board once for "
    "each change of its timeframe and once more, each with its board's filters",
    300_000,
    "bytes of JSON",
    scope="tenant",
    beyond=REFUSED,
)
RULE_CHANGES = _limit(
    SCORING,
    "what a tenant changes of its boards (not archiving), earning rules, tiers, currencies and time zone, early closes and rescores",
    2000,
    "changes in an hour",
    scope="tenant",
    beyond="429 `RATE_LIMITED` until the hour is over",
)
BATCH_WORK = _limit(
    SCORING,
    "work of one scoring transaction: the characters of the rules that run, 1 500 more for each event and for each standing it may change",
    30_000_000,
    "units",
    scope="process",
    beyond="the other events come in the next",
)
TENANT_WORK = _limit(
    SCORING,
    "such work in a transaction that scores several tenants",
    500_000,
    "units",
    scope="tenant",
    beyond="its events wait for turns of their own, and nobody waits for them",
)
TURN_WORK = _limit(
    SCORING, "such work in one of these turns", 2_000_000, "units", scope="tenant", beyond="the other events come in the next turn"
)
BACKLOG_TURNS = _limit(
    SCORING, "such turns that are under way while several tenants send", 1, "turns", scope="process", beyond="the others wait"
)
CAREFUL_EVENTS = _limit(
    SCORING,
    "events of a scoring transaction that looks for those that break scoring",
    250,
    "events",
    scope="process",
    beyond="the other events come in the next",
)

EXPLAINED = _limit(
    SCORING,
    "boards, and earning rules, that tell what they made of an event",
    200,
    "of each",
    scope="request",
    beyond="others are left out",
)

BALANCE = _limit(
    "Points",
    "a balance, with what waits",
    2**53 - 1,
    "of the smallest unit",
    scope="user",
    beyond=f"{REFUSED}; an event earns what there is room for, a payout skips the user (`balance_full`)",
)
RUN_TOTAL = _limit(
    "Points", "what one payout gives of a currency", 2**53 - 1, "of the smallest unit", scope="payout", beyond="the others are not covered"
)
RULE_POINTS = _limit(
    "Points", "the result of a rule, above and below 0", 1_000_000_000, "points", scope="event", beyond="the rule gives none"
)

CREDENTIALS = "Credentials"
REMEMBERED_CREDENTIALS = _limit(
    CREDENTIALS, "remembered credentials", 50_000, "credentials", scope="process", beyond="the least recently used is looked up again"
)
REMEMBERED_SECONDS = _limit(CREDENTIALS, "a credential that is no longer used", 900, "seconds", scope="process", beyond="it is forgotten")
STRANGERS = _limit(
    CREDENTIALS, "look-ups for credentials and origins never seen before", 3, "queries at once", scope="process", beyond="others wait"
)
STRANGERS_WAITING = _limit(
    CREDENTIALS, "such look-ups that wait", 200, "requests", scope="process", beyond="503 `UNAVAILABLE`; known credentials are not affected"
)
TOKEN_SECONDS = _limit(CREDENTIALS, "trust in a verified token", 300, "seconds", scope="credential", beyond="it is verified again")
GUESSES = _limit(
    CREDENTIALS,
    "unknown API keys and wrong operator keys",
    100,
    "requests",
    scope="address",
    beyond="until the period ends keys never seen before are looked up one at a time, others 429 `RATE_LIMITED`",
)
GUESS_SECONDS = _limit(CREDENTIALS, "the period of that", 10, "seconds", scope="address", beyond="the count starts again")
GUESSING_ADDRESSES = _limit(
    CREDENTIALS, "addresses whose guesses are counted", 10_000, "addresses", scope="process", beyond="the oldest is forgotten"
)
UNKNOWN_KEYS = _limit(CREDENTIALS, "remembered unknown key ids", 10_000, "ids", scope="process", beyond="the oldest is looked up again")
UNKNOWN_SECONDS = _limit(CREDENTIALS, "trust in an unknown key id", 5, "seconds", scope="credential", beyond="it is looked up again")
REMEMBERED_ORIGINS = _limit(
    CREDENTIALS, "remembered origins of browsers", 1000, "origins", scope="process", beyond="the oldest is looked up again"
)
TOKEN_ENTRY_HOURS = _limit(
    CREDENTIALS, "what an entry of the audit log tells of gamer tokens for a user", 1, "hours", scope="credential", beyond="another entry"
)
TOKEN_ENTRY_DAYS = _limit(CREDENTIALS, "the time that such entries are kept", 90, "days", scope="tenant", beyond="they are deleted")
JWKS_BYTES = _limit(
    CREDENTIALS, "an issuer's JWKS document", 262_144, "bytes", scope="process", beyond="401 `UNAUTHORIZED` or 503 `UNAVAILABLE`"
)

REQUESTS = "Requests"
BODY_BYTES = _limit(REQUESTS, "a body", 1_048_576, "bytes", scope="request", beyond="413 `PAYLOAD_TOO_LARGE`")
HEAD_BYTES = _limit(REQUESTS, "a head: request line and headers", 65_536, "bytes", scope="request", beyond="431, connection closed")
UNREAD_SECONDS = _limit(
    REQUESTS, "64 KB of an answer, or its rest, to be read", 60, "seconds", scope="connection", beyond="connection closed"
)
QUERY_BYTES = _limit(REQUESTS, "a query string", 8_192, "bytes", scope="request", beyond="400 `VALIDATION_ERROR`")
QUERY_PARAMETERS = _limit(REQUESTS, "query parameters", 100, "parameters", scope="request", beyond="400 `VALIDATION_ERROR`")
HEADERS = _limit(REQUESTS, "headers", 128, "headers", scope="request", beyond="431, connection closed")
BESIDE_BODY_BYTES = _limit(
    REQUESTS,
    "chunk sizes, extensions and trailers in a row",
    16_384,
    "bytes",
    scope="request",
    beyond="431, connection closed",
)

AT_ONCE = _limit(
    REQUESTS,
    "work in PostgreSQL for one tenant at once, its people taking turns (events and board pages have ways of their own)",
    2,
    "connections",
    scope="process",
    beyond="others of the tenant wait",
)
ALONE_AT_ONCE = _limit(
    REQUESTS, "the same while no other tenant has asked for a minute", 8, "connections", scope="process", beyond="others of the tenant wait"
)
AT_ONCE_WAITING = _limit(
    REQUESTS, "requests of a tenant that wait so, each for 10 seconds", 500, "requests", scope="process", beyond="429 `RATE_LIMITED`"
)

ACTIVITIES_AT_ONCE = _limit(
    REQUESTS,
    "transactions of a worker for one tenant at once while others have work too; for its payouts 1",
    4,
    "connections",
    scope="process",
    beyond="others of the tenant wait",
)

EXPORTS = "Exports"
EXPORTS_OF_TENANT = _limit(
    EXPORTS, "exports under way: of a user, of redemptions as CSV", 2, "exports", scope="tenant", beyond="429 `RATE_LIMITED`"
)
EXPORTS_UNDER_WAY = _limit(EXPORTS, "exports under way in all", 20, "exports", scope="process", beyond="503 `UNAVAILABLE`")
EXPORT_BYTES_OF_TENANT = _limit(
    EXPORTS,
    "what a tenant's exports of users have put aside on disk, compressed",
    268_435_456,
    "bytes",
    scope="tenant",
    beyond="429 `RATE_LIMITED`",
)
EXPORT_BYTES = _limit(EXPORTS, "the same of all tenants", 1_073_741_824, "bytes", scope="process", beyond="503 `UNAVAILABLE`")
EXPORT_PIECE_SECONDS = _limit(EXPORTS, "64 KB that its reader does not take", 60, "seconds", scope="connection", beyond="connection closed")

PATTERNS = "Patterns and schemas"
PATTERN_CHARACTERS = _limit(
    PATTERNS, "a regular expression in a schema or a reward's field", 200, "characters", scope="definition", beyond=INVALID
)
PATTERN_MEMORY = _limit(PATTERNS, "a compiled regular expression", 524_288, "bytes", scope="definition", beyond=INVALID)
PATTERN_PROGRAM = _limit(PATTERNS, "a compiled regular expression's program", 4000, "instructions", scope="definition", beyond=INVALID)
PATTERN_STEPS = _limit(
    PATTERNS,
    "characters × instructions of all patterns that an event meets",
    4_000_000,
    "steps",
    scope="event",
    beyond="400 `EVENT_TYPE_NOT_DECLARED`",
)
REWARD_PROGRAMS = _limit(
    PATTERNS, "the programs of all patterns of a reward's fields", 10_000, "instructions", scope="definition", beyond=INVALID
)
MATCHED_CHARACTERS = _limit(
    PATTERNS, "text that a pattern is matched against", 1000, "characters", scope="event", beyond="it never matches"
)
SCHEMA_NODES = _limit(PATTERNS, "parts of an event type's schema", 200, "values", scope="definition", beyond=INVALID)
SCHEMA_DEPTH = _limit(PATTERNS, "nesting of an event type's schema", 12, "schemas", scope="definition", beyond=INVALID)
SCHEMA_BYTES = _limit(PATTERNS, "an event type's schema", 16_384, "bytes", scope="definition", beyond=INVALID)
SCHEMA_TEXT_BYTES = _limit(
    PATTERNS, "text that costs as much to check as one value", 1024, "bytes", scope="event", beyond="it counts as one more"
)
SCHEMA_CHECKS = _limit(
    PATTERNS,
    "parts of the schema × (values of the event + its KB)",
    20_000,
    "checks",
    scope="event",
    beyond="400 `EVENT_TYPE_NOT_DECLARED`, in a bulk call for that event",
)

BOARDS = "Boards and what a process remembers of them"
RENDERED_BYTES = _limit(
    BOARDS, "rendered pages, each kept for 0.1 s", 33_554_432, "bytes", scope="process", beyond="the oldest are rendered again"
)
REMEMBERED_VIEWS = _limit(
    BOARDS, "windows looked up, each kept for 0.1 s", 1024, "windows", scope="process", beyond="the oldest are looked up again"
)
LINE_BYTES = _limit(
    BOARDS,
    "entries as they are sent, kept for 5 minutes",
    67_108_864,
    "bytes",
    scope="process",
    beyond="those of the tenant with most are made anew",
)
PROFILE_BYTES = _limit(
    BOARDS, "profiles that boards show, each kept for 30 s", 33_554_432, "bytes", scope="process", beyond="they are read again"
)
DECODED_ENTRIES = _limit(
    BOARDS,
    "entries of the rankings, decoded (at most 1 500 bytes each)",
    20_000,
    "entries",
    scope="process",
    beyond="the least used are decoded again",
)
REMEMBERED_QUERIES = _limit(
    BOARDS, "plain query strings of pages, parsed", 10_000, "queries", scope="process", beyond="they are parsed again"
)
PLAIN_QUERY_BYTES = _limit(BOARDS, "a query string that is remembered", 128, "bytes", scope="request", beyond="parsed each time")
BOARD_SCANS = _limit(
    BOARDS,
    "boards sorted in PostgreSQL at a time (Redis away)",
    2,
    "scans",
    scope="tenant",
    beyond="after 2 s 503 `UNAVAILABLE`",
)
BOARD_SCANS_WAITING = _limit(BOARDS, "scans in progress or waiting", 64, "scans", scope="tenant", beyond="503 `UNAVAILABLE`")
SOCKETS_OF_PERSON = _limit(BOARDS, "WebSockets of one person (tokens)", 100, "connections", scope="process", beyond="429 `RATE_LIMITED`")
SOCKETS_OF_TENANT = _limit(BOARDS, "WebSockets of one tenant", 10_000, "connections", scope="process", beyond="429 `RATE_LIMITED`")

WEBHOOKS = "Webhooks"
ENDPOINT_SENDS = _limit(WEBHOOKS, "sends in progress to one endpoint", 8, "sends", scope="process", beyond="the others wait")
TENANT_SENDS = _limit(
    WEBHOOKS,
    "sends in progress for one tenant",
    32,
    "sends",
    scope="process",
    beyond="each of its endpoints still has one; the others wait",
)
WEBHOOK_READ_BYTES = _limit(
    WEBHOOKS,
    "what is read of an answer, with heads, interim answers and framing",
    524_288,
    "bytes",
    scope="connection",
    beyond="the attempt has failed",
)
LOOK_UPS = _limit(
    WEBHOOKS,
    "host name look-ups in progress",
    2000,
    "look-ups",
    scope="process",
    beyond="the send is postponed; it does not count as an attempt",
)
ENDPOINT_PUMPS = _limit(
    WEBHOOKS,
    "endpoints that one worker delivers to at once",
    1000,
    "endpoints",
    scope="process",
    beyond="endpoints take turns, up to ten in a second",
)

CONSOLE = "The console"
PAIR_ATTEMPTS = _limit(
    CONSOLE,
    "attempts to sign in in 15 minutes for an e-mail from one address, or in a browser that the person has signed in with before",
    6,
    "attempts",
    scope="user",
    beyond="429 for the rest of the 15 minutes",
)
EMAIL_ATTEMPTS = _limit(
    CONSOLE, "such attempts for an e-mail from anywhere", 30, "attempts", scope="user", beyond="429 for all but browsers that are known"
)
ADDRESS_ATTEMPTS = _limit(
    CONSOLE,
    "such attempts from one address for any e-mail",
    60,
    "attempts",
    scope="address",
    beyond="429 for all but browsers that are known",
)
STRANGERS_FORM_BYTES = _limit(CONSOLE, "a form sent without being signed in", 16_384, "bytes", scope="request", beyond="413")
FORM_FIELDS = _limit(CONSOLE, "fields of a form", 2000, "fields", scope="request", beyond="413")
PASSWORD_CHARACTERS = _limit(CONSOLE, "a password (and 12 at least)", 1024, "characters", scope="user", beyond="400")
HASHERS = _limit(CONSOLE, "passwords hashed at once, each in 64 MB", 2, "threads", scope="process", beyond="others wait")
FIRST_PASSWORD_DAYS = _limit(
    CONSOLE, "the life of the password of an invitation", 7, "days", scope="user", beyond="invite the person again"
)

TIME = "Time"
ANSWER_SECONDS = _limit(
    TIME, "an answer of PostgreSQL to a worker or a command", 120, "seconds", scope="connection", beyond="the connection is given up"
)
BRISK_SECONDS = _limit(
    TIME, "an answer of PostgreSQL to a request or to scoring", 15, "seconds", scope="connection", beyond="the connection is given up"
)
LOCK_SECONDS = _limit(
    TIME, "a wait for a lock in PostgreSQL", 12, "seconds", scope="connection", beyond="the statement fails and is retried, or 503"
)
IDLE_SECONDS = _limit(
    TIME, "a transaction that is idle, or an answer not read", 10, "seconds", scope="connection", beyond="it is rolled back"
)
TAKEN_SECONDS = _limit(TIME, "commands for Temporal taken and not settled", 15, "seconds", scope="process", beyond="others take them over")
REDIS_SECONDS = _limit(TIME, "an answer of Redis", 2, "seconds", scope="connection", beyond="PostgreSQL answers, or 503 `UNAVAILABLE`")
TEMPORAL_SECONDS = _limit(TIME, "an answer of Temporal", 5, "seconds", scope="request", beyond="the call is retried or fails")
TEMPORAL_POLL_SECONDS = _limit(
    TIME, "an answer of Temporal that waits for what a workflow does", 60, "seconds", scope="request", beyond="the call is retried or fails"
)
TEMPORAL_CALL_SECONDS = _limit(
    TIME,
    "a call to Temporal with its attempts",
    15,
    "seconds",
    scope="request",
    beyond="the work waits in the outbox, or 503 `UNAVAILABLE`",
)
TEMPORAL_CONNECT_SECONDS = _limit(TIME, "connecting to Temporal", 10, "seconds", scope="process", beyond="a worker retries after a second")
