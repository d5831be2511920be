"""Log lines for people (`text`) or machines (`json`), each with the request, tenant and workflow that it belongs to."""

import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec

from runtime import tracing
from runtime.settings import Settings


class Asked(msgspec.Struct):
    """The request that a task answers, filled in as more of it is known: whatever is logged meanwhile says it."""

    request_id: bytes
    tenant_id: UUID | None = None
    credential: str = ""
    route: str = "unknown"


asked: ContextVar[Asked | None] = ContextVar("asked", default=None)

WORKFLOW_FIELDS = ("temporal_workflow", "temporal_activity")
_STEERING = (*range(32), *range(127, 160), 0x2028, 0x2029)
_ESCAPED = {code: repr(chr(code))[1:-1] for code in _STEERING}
"""What would begin a new line, or steer a terminal: text of strangers must not look like lines of ours."""

QUIET = ("httpx", "httpcore", "uvicorn.access", "alembic", "temporalio.worker")


class TextFormatter(logging.Formatter):
    """`2026-11-20T10:00:00Z INFO  api: message [request=… tenant=…]`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and the traceback below it if there is one."""
        facts = " ".join(f"{name}={value}" for name, value in context_of(record).items())
        line = f"{instant_of(record)} {record.levelname:<7} {record.name}: {record.getMessage()}"
        line = (line + (f" [{facts}]" if facts else "")).translate(_ESCAPED)
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    """One JSON object on a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The record with its context as members."""
        line = {
            "time": instant_of(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **context_of(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


def instant_of(record: logging.LogRecord) -> str:
    """When the record was made, RFC 3339 in UTC with milliseconds."""
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def begin(request_id: bytes) -> Asked:
    """From here on, the present task answers this request."""
    about = Asked(request_id)
    asked.set(about)
    return about


def admitted(tenant_id: UUID | None, credential: str) -> None:
    """The request at hand, if there is one, belongs to this tenant and came with this kind of credential."""
    if (about := asked.get()) is not None:
        about.tenant_id, about.credential = tenant_id, credential


def context_of(record: logging.LogRecord) -> dict[str, Any]:
    """What the record belongs to: the request, tenant and trace at hand, and the workflow when Temporal's loggers say one."""
    context: dict[str, Any] = dict(getattr(record, "facts", ()))
    if (about := asked.get()) is not None:
        context["request"] = about.request_id.decode()
        if about.tenant_id is not None:
            context["tenant"] = str(about.tenant_id)
    if trace := tracing.trace_id():
        context["trace"] = trace
    for field in WORKFLOW_FIELDS:
        facts: Any = getattr(record, field, None)
        if isinstance(facts, dict):
            context.update({name: str(facts[name]) for name in ("workflow_id", "activity_type", "attempt") if name in facts})
    return context


def set_up(settings: Settings) -> None:
    """Send the log to standard error in the format that the settings ask for."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else TextFormatter())
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    logging.captureWarnings(True)
    for name in QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelName(settings.log_level)))
