"""One mapping from everything that can go wrong to the error body of contract 1."""

import logging
from typing import Any, cast

import msgspec
import psycopg
from litestar import Request, Response
from litestar.exceptions import HTTPException, ImproperlyConfiguredException, ValidationException
from litestar.types import ExceptionHandlersMap

from domain.errors import DomainError, PayloadTooLarge, RateLimited, Unavailable, ValidationError
from runtime.metrics import UNAVAILABLE
from runtime.postgres import cause_of, is_away
from runtime.slots import CrowdedError

log = logging.getLogger("laurel.api")

MESSAGE_CHARACTERS = 8000
DETAIL_CHARACTERS = 1000
"""Of what is said to a client. Refusals repeat what was sent, and that may be most of a megabyte."""

CODES_BY_STATUS = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED", 415: "UNSUPPORTED_MEDIA_TYPE", 426: "UPGRADE_REQUIRED"}


def known_codes() -> dict[str, type[DomainError]]:
    """Every code of `domain/errors.py` with the class that explains it."""
    found: dict[str, type[DomainError]] = {}
    waiting: list[type[DomainError]] = [DomainError]
    while waiting:
        each = waiting.pop(0)
        if each.code not in found or "code" in vars(each):
            found[each.code] = each
        waiting.extend(each.__subclasses__())
    return found


def request_id_of(scope: Any) -> str:
    """The id that the front of the application gave to the request."""
    return cast(str, scope.get("state", {}).get("request_id", ""))


def retry_after(error: DomainError) -> dict[str, str]:
    """`Retry-After` for whoever may come again: as long as the refusal says, else a second."""
    return {"retry-after": str(error.facts.get("retry_after", 1))} if error.status in (429, 503) else {}


def error_body(error: DomainError, request_id: str) -> bytes:
    """The JSON body that every surface answers an error with."""
    content: dict[str, Any] = {"code": error.code, "message": _cut(error.message, MESSAGE_CHARACTERS), "status": error.status}
    if error.details:
        content["details"] = [{name: _cut(text, DETAIL_CHARACTERS) for name, text in detail.items()} for detail in error.details]
    if request_id:
        content["request_id"] = request_id
    return msgspec.json.encode({"error": content | error.facts})


def _cut(text: Any, most: int) -> Any:
    return text[:most] + "…" if isinstance(text, str) and len(text) > most else text


def known_error(error: Exception) -> DomainError | None:
    """The refusal that an exception stands for, or None when it is a defect of ours."""
    if isinstance(error, DomainError):
        return error
    if isinstance(error, CrowdedError):
        return RateLimited("Too many requests of this tenant are under way; try again", retry_after=1)
    if is_away(error):
        return _database_away(error)
    if isinstance(error, psycopg.DataError) and ("NUL" in str(error) or isinstance(error, psycopg.errors.UntranslatableCharacter)):
        return ValidationError("Text must not contain the character U+0000")
    if isinstance(error, ValidationException):
        return _error_of_parameters(error)
    if isinstance(error, HTTPException):
        return _error_of_http(error)
    return None


def _database_away(error: Exception) -> Unavailable:
    cause = cause_of(error)
    UNAVAILABLE.labels(cause).inc()
    if cause in ("schema", "access", "other"):  # no outage that ends by itself: somebody has to read this
        log.error("the database refused a request (%s)", cause, exc_info=error)
    return Unavailable("The database is unavailable; nothing was accepted, try again")


def _error_of_parameters(error: ValidationException) -> ValidationError:
    entries = cast(list[dict[str, str]], error.extra if isinstance(error.extra, list) else [])
    if any(entry.get("key") == "data" for entry in entries):
        return ValidationError("The request needs a JSON body")
    details = [{"field": entry["key"], "message": entry.get("message", "")} for entry in entries if "key" in entry]
    if not details:
        return ValidationError(str(error.detail))
    return ValidationError("; ".join(f"{entry['field']}: {entry['message']}" for entry in details), details=details)


def _error_of_http(error: HTTPException) -> DomainError | None:
    if error.status_code == 413:
        return PayloadTooLarge("The body is larger than 1048576 bytes")
    if error.status_code >= 500:
        return None
    if error.status_code == 404:
        return _plain_error("NOT_FOUND", 404, "Route not found")
    code = CODES_BY_STATUS.get(error.status_code, "VALIDATION_ERROR")
    if error.status_code == 405:
        methods = [name for name in (error.headers or {}).get("allow", "").split(", ") if name.isupper() and name != "OPTIONS"]
        return _plain_error(
            code, 405, f"This path takes only {' and '.join(methods)}" if methods else "This path does not take this method"
        )
    return _plain_error(code, error.status_code, str(error.detail))


def _plain_error(code: str, status: int, message: str) -> DomainError:
    error = DomainError(message)
    error.code, error.status = code, status  # type: ignore[misc]  # HTTP's own refusals have no class of ours
    return error


def internal_error(error: Exception, request_id: str) -> DomainError:
    """What a caller may learn of a defect: nothing but the id under which the log has the rest."""
    log.error("request %s failed", request_id, exc_info=error)
    return DomainError("Something went wrong on our side; the request id identifies it in the logs")


def answer_error(request: Request[Any, Any, Any], raised: Exception) -> Response[bytes]:
    """The answer to any exception that a handler, a guard or the framework raised."""
    request_id = request_id_of(request.scope)
    error = known_error(raised) or internal_error(raised, request_id)
    headers = retry_after(error)
    if isinstance(raised, HTTPException) and raised.headers:
        headers |= {name: value for name, value in raised.headers.items() if name.lower() in ("allow", "upgrade")}
    return Response(error_body(error, request_id), status_code=error.status, media_type="application/json", headers=headers)


EXCEPTION_HANDLERS: ExceptionHandlersMap = {
    Exception: answer_error,
    HTTPException: answer_error,
    DomainError: answer_error,
    ImproperlyConfiguredException: answer_error,
}
