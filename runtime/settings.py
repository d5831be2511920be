"""Every setting of every process, in one frozen Struct built from a mapping.

Nothing else in the project reads the environment. `SETTINGS` is also what the README table, `laurel doctor` and the guard
test walk, so a setting cannot exist without a description.
"""

import ipaddress
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

PREFIX = "LAUREL_"
FILE_SUFFIX = "_FILE"
SECRETS = frozenset(
    {"DATABASE_URL", "DATABASE_DIRECT_URL", "REDIS_URL", "TEMPORAL_API_KEY", "SECRET_KEY", "SECRET_KEY_PREVIOUS", "OPERATOR_KEY"}
)
"""Settings that may also be given as the name of a file, `LAUREL_…_FILE`: environments are seen by more eyes than mounted files."""
MINIMUM_SECRET_LENGTH = 32
REDIS_SCHEMES = ("redis", "rediss", "valkey", "valkeys", "unix")


class SettingError(ValueError):
    """A variable of the environment is missing or malformed; the message starts with its name."""


class JwtIssuer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One trusted issuer of Zitadel-style tokens (contract 1)."""

    issuer: str
    jwks_url: str
    audience: str | None = None


class Setting(msgspec.Struct, frozen=True):
    """How one variable is documented. `name` comes without the prefix."""

    name: str
    default: str
    description: str


SETTINGS: tuple[Setting, ...] = (
    Setting("DATABASE_URL", "", "PostgreSQL address, `postgresql://user:password@host:port/database` (required)"),
    Setting("DATABASE_DIRECT_URL", "", "the same database, bypassing the pooler, for LISTEN and event writers; empty: no pooler"),
    Setting("DATABASE_PREPARE", "on", "`off` behind a pooler in transaction mode: nothing is prepared or set for a session"),
    Setting(
        "REDIS_URL",
        "redis://127.0.0.1:6379/0",
        "Redis or Valkey server: `redis[s]://`, `valkey[s]://`, `unix://`; a private CA: `?ssl_ca_certs=FILE`",
    ),
    Setting("TEMPORAL_ADDRESS", "127.0.0.1:7233", "Temporal frontend, `host:port`"),
    Setting("TEMPORAL_NAMESPACE", "default", "Temporal namespace, of this installation alone"),
    Setting("TEMPORAL_UI_URL", "http://127.0.0.1:8233", "address of the Temporal UI, for links"),
    Setting("TEMPORAL_TLS_CERT", "", "client certificate file for mutual TLS to Temporal"),
    Setting("TEMPORAL_TLS_KEY", "", "client key file for mutual TLS to Temporal"),
    Setting("TEMPORAL_TLS_CA", "", "CA certificate file for Temporal; setting it turns TLS on"),
    Setting("TEMPORAL_API_KEY", "", "API key for Temporal Cloud; setting it turns TLS on"),
    Setting("TEMPORAL_RETENTION_DAYS", "30", "how long Temporal keeps closed workflows"),
    Setting("TASK_QUEUE", "laurel", "prefix of the Temporal task queues"),
    Setting(
        "SECRET_KEY", "", "at least 32 characters; the keys that encrypt secrets at rest and sign tokens are derived from it (required)"
    ),
    Setting(
        "SECRET_KEY_PREVIOUS",
        "",
        "previous values, comma-separated, until `rotate-secrets` has run and the tokens they signed have expired",
    ),
    Setting("OPERATOR_KEY", "", "credential for `/v1/operator/*`; empty turns these routes off"),
    Setting("ENVIRONMENT", "development", "`development` or `production`"),
    Setting("PUBLIC_URL", "http://127.0.0.1:8080", "the API's address as partners see it"),
    Setting("JWT_ISSUERS", "[]", 'JSON list of `{"issuer","jwks_url","audience"}`'),
    Setting("JWT_SERVER_ROLE", "laurel-server", "role claim that gives a JWT the rights of role `server`"),
    Setting("DEDUPE_WINDOW_SECONDS", "300", "guaranteed window in which a repeated `event_id` has no effect"),
    Setting("EVENT_RETENTION_DAYS", "400", "how long the event log is kept"),
    Setting("WEBHOOK_ALLOW_CIDRS", "", "comma-separated private networks that webhooks may reach; refused in production"),
    Setting("SCORING_PARTITIONS", "8", "number of scoring partitions; fixed once the database is set up"),
    Setting("GATEWAYS", "all", "`all`, or a comma-separated subset of `ingestion,admin,query,console` for this API process to serve"),
    Setting("RATE_LIMIT_PER_SECOND", "50000", "requests per second per credential and per tenant"),
    Setting("API_HOST", "127.0.0.1", "address that `laurel api` listens on"),
    Setting("API_PORT", "8080", "port that `laurel api` listens on"),
    Setting("TRUSTED_PROXIES", "", "comma-separated addresses and networks whose `X-Forwarded-For` and `X-Forwarded-Proto` are trusted"),
    Setting("MAX_CONNECTIONS", "20000", "maximum open connections per API process; beyond it, 503"),
    Setting(
        "DRAIN_SECONDS",
        "2",
        "how long a stopping API process keeps accepting requests, with `draining` on `/ready` and `Connection: close`",
    ),
    Setting("SOCKET_HEARTBEAT_SECONDS", "30", "a WebSocket idle for this long gets a heartbeat"),
    Setting("SOCKET_STUCK_SECONDS", "60", "a WebSocket whose client has read nothing for this long is closed"),
    Setting("WORKER_METRICS_HOST", "127.0.0.1", "address that the worker's Prometheus endpoint listens on; it asks for no credential"),
    Setting("TEMPORAL_MANAGE_NAMESPACE", "on", "`off` where search attributes and retention are managed elsewhere, as in Temporal Cloud"),
    Setting("WORKER_DRAIN_SECONDS", "35", "how long a stopping worker lets webhooks in flight finish"),
    Setting("WORKER_HEALTH_PORT", "0", "port of the worker's health endpoint, 200 or 503; 0 turns it off"),
    Setting("WORKER_DEPLOYMENT", "", "worker deployment name in Temporal; empty: no worker versioning"),
    Setting(
        "WORKER_BUILD_ID",
        "",
        "build id of this worker within the deployment, such as the commit; required with `LAUREL_WORKER_DEPLOYMENT`",
    ),
    Setting("WORKER_METRICS_PORT", "0", "port of the worker's Prometheus endpoint; 0 turns it off"),
    Setting("OTLP_ENDPOINT", "", "OpenTelemetry collector for traces over HTTP, `http://host:4318`; empty turns tracing off"),
    Setting("TRACE_SAMPLE_RATIO", "1", "share of new traces to keep, 0 to 1"),
    Setting("LOG_FORMAT", "text", "`text` or `json`"),
    Setting("ACCESS_LOG", "off", "`on` writes a line for each request, as logger `laurel.access` at INFO"),
    Setting("LOG_LEVEL", "INFO", "`DEBUG`, `INFO`, `WARNING` or `ERROR`"),
)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The whole configuration of a process. Durations and sizes carry their unit in the name."""

    database_url: str
    database_direct_url: str
    database_prepare: Literal["on", "off"]
    redis_url: str
    temporal_address: str
    temporal_namespace: str
    temporal_ui_url: str
    temporal_tls_cert: str
    temporal_tls_key: str
    temporal_tls_ca: str
    temporal_api_key: str
    temporal_retention_days: int
    task_queue: str
    secret_key: str
    secret_key_previous: tuple[str, ...]
    operator_key: str
    environment: Literal["development", "production"]
    public_url: str
    jwt_issuers: tuple[JwtIssuer, ...]
    jwt_server_role: str
    dedupe_window_seconds: int
    event_retention_days: int
    webhook_allow_cidrs: tuple[str, ...]
    scoring_partitions: int
    gateways: tuple[str, ...]
    rate_limit_per_second: int
    api_host: str
    api_port: int
    trusted_proxies: tuple[str, ...]
    max_connections: Annotated[int, msgspec.Meta(ge=1)]
    drain_seconds: Annotated[float, msgspec.Meta(ge=0, le=300)]
    socket_heartbeat_seconds: float
    socket_stuck_seconds: float
    worker_metrics_host: str
    temporal_manage_namespace: Literal["on", "off"]
    worker_drain_seconds: Annotated[float, msgspec.Meta(ge=0, le=3600)]
    worker_health_port: int
    worker_deployment: str
    worker_build_id: str
    worker_metrics_port: int
    otlp_endpoint: str
    trace_sample_ratio: Annotated[float, msgspec.Meta(ge=0, le=1)]
    log_format: Literal["text", "json"]
    access_log: Literal["on", "off"]
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"]

    @property
    def session_url(self) -> str:
        """Where a connection keeps its session: for LISTEN, and for whoever holds a connection for long."""
        return self.database_direct_url or self.database_url

    @property
    def pooled(self) -> bool:
        """Whether a pooler gives each transaction of `database_url` another server connection."""
        return self.database_prepare == "off"


def process_environment() -> dict[str, str]:
    """The environment of this process: the one place that reads it."""
    return dict(os.environ)


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Build the settings from `LAUREL_*` variables; raises `SettingError` that names the offending variable."""
    values = {setting.name: _given(environ, setting) for setting in SETTINGS}
    typed = {name.lower(): _typed(name, text) for name, text in values.items()}
    try:
        settings = msgspec.convert(typed, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise SettingError(_name_variable(str(error))) from None
    _check(settings)
    return settings


def names_database(environ: Mapping[str, str]) -> bool:
    """Whether this environment says which database to use, itself or by a file."""
    return f"{PREFIX}DATABASE_URL" in environ or f"{PREFIX}DATABASE_URL{FILE_SUFFIX}" in environ


def _given(environ: Mapping[str, str], setting: Setting) -> str:
    """The text of one setting: the variable's, or for a secret what stands in the file that is named; else the default."""
    variable = PREFIX + setting.name
    path = environ.get(variable + FILE_SUFFIX, "") if setting.name in SECRETS else ""
    if not path:
        return environ.get(variable, setting.default)
    if environ.get(variable):
        raise SettingError(f"{variable} and {variable}{FILE_SUFFIX} are both set: which of them counts?")
    try:
        return Path(path).read_text().strip()
    except (OSError, ValueError) as error:
        raise SettingError(f"{variable}{FILE_SUFFIX}: {error}") from None


def _typed(name: str, text: str) -> Any:
    if name == "JWT_ISSUERS":
        try:
            return json.loads(text)
        except ValueError as error:
            raise SettingError(f"{PREFIX}JWT_ISSUERS is not JSON: {error}") from None
    if name in ("WEBHOOK_ALLOW_CIDRS", "GATEWAYS", "SECRET_KEY_PREVIOUS", "TRUSTED_PROXIES"):
        return tuple(part.strip() for part in text.split(",") if part.strip())
    return text.rstrip("/") if name.endswith(("_URL", "OTLP_ENDPOINT")) and text.startswith("http") else text


def _name_variable(error: str) -> str:
    reason, _, path = error.partition(" - at `$.")
    return f"{PREFIX}{path.rstrip('`').split('[')[0].upper()}: {reason}"


def check_redis_url(url: str) -> None:
    """Raise `SettingError` for an address that no process could use."""
    scheme, _, rest = url.partition("://")
    servers = rest.partition("/")[0].rpartition("@")[2]
    if "sentinel" in scheme or "cluster" in scheme or "," in servers:
        raise SettingError(
            f"{PREFIX}REDIS_URL names Sentinel, Cluster or several servers, which Laurel does not speak: give the one address that always "
            "leads to the primary (a proxy, a service or a DNS name); what it holds is rebuilt from PostgreSQL after a failover"
        )
    if scheme not in REDIS_SCHEMES:
        raise SettingError(f"{PREFIX}REDIS_URL must begin with {', '.join(f'{each}://' for each in REDIS_SCHEMES)}")


def _check(settings: Settings) -> None:
    production = settings.environment == "production"
    if not settings.database_url:
        raise SettingError(f"{PREFIX}DATABASE_URL is missing")
    if settings.pooled and not settings.database_direct_url:
        raise SettingError(f"{PREFIX}DATABASE_DIRECT_URL is missing: a pooler in transaction mode passes on no LISTEN")
    if len(settings.secret_key) < MINIMUM_SECRET_LENGTH:
        raise SettingError(f"{PREFIX}SECRET_KEY is missing or shorter than {MINIMUM_SECRET_LENGTH} characters")
    if any(len(each) < MINIMUM_SECRET_LENGTH for each in settings.secret_key_previous):
        raise SettingError(f"{PREFIX}SECRET_KEY_PREVIOUS holds a key that is shorter than {MINIMUM_SECRET_LENGTH} characters")
    if production and len(set(settings.secret_key)) < 10:
        raise SettingError(f"{PREFIX}SECRET_KEY is too simple for production: use 32 random characters or more")
    check_redis_url(settings.redis_url)
    if bool(settings.worker_deployment) is not bool(settings.worker_build_id):
        raise SettingError(f"{PREFIX}WORKER_DEPLOYMENT and {PREFIX}WORKER_BUILD_ID are given together, or neither is")
    if not 1 <= settings.scoring_partitions <= 256:
        raise SettingError(f"{PREFIX}SCORING_PARTITIONS must be 1 to 256")
    if production and settings.webhook_allow_cidrs:
        raise SettingError(f"{PREFIX}WEBHOOK_ALLOW_CIDRS is refused in production")
    for name, networks in (("WEBHOOK_ALLOW_CIDRS", settings.webhook_allow_cidrs), ("TRUSTED_PROXIES", settings.trusted_proxies)):
        for each in networks:
            try:
                ipaddress.ip_network(each)
            except ValueError as error:
                raise SettingError(f"{PREFIX}{name}: {error}") from None
    if production:
        _check_strangers_doors(settings)
    unknown = set(settings.gateways) - {"all", "ingestion", "admin", "query", "console"}
    if unknown or not settings.gateways:
        raise SettingError(f"{PREFIX}GATEWAYS: unknown part {', '.join(sorted(unknown)) or '(empty)'}")


def _check_strangers_doors(settings: Settings) -> None:
    """What anybody on the network could try, or read on its way."""
    key = settings.operator_key
    if key and (len(key) < MINIMUM_SECRET_LENGTH or len(set(key)) < 10):
        raise SettingError(f"{PREFIX}OPERATOR_KEY is too simple for production: use {MINIMUM_SECRET_LENGTH} random characters or more")
    plain = next((each.issuer for each in settings.jwt_issuers if not each.jwks_url.startswith("https://")), None)
    if plain is not None:
        raise SettingError(f"{PREFIX}JWT_ISSUERS: the jwks_url of '{plain}' must be https in production")
