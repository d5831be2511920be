"""`If-Match: <version>`: a change is made only to what its author has seen."""

from typing import Any

from litestar import Request

from domain.errors import ValidationError, VersionConflict

VERSION_DIGITS = 12


def check_version(request: Request[Any, Any, Any], present: int) -> None:
    """Raise VersionConflict when the request names another version than the present one; no header passes."""
    given = request.headers.get("If-Match")
    if given is None or given.strip() == "*":
        return
    text = given.strip().removeprefix("W/").strip('"')
    if not text.isascii() or not text.isdigit() or len(text) > VERSION_DIGITS:
        raise ValidationError.of("If-Match", "must be a version number")
    if int(text) != present:
        raise VersionConflict(f"The current version is {present}", present=present)
