"""The form of a webhook endpoint, the words for its retries while one types, and its secret, which is shown once."""

from typing import Any

from litestar import Response, get, post
from litestar.response import Redirect

from console.client import Refusal
from console.i18n import _
from console.request import Form, Visit
from console.webhook.endpoint import endpoint_path, endpoint_route
from console.webhook.labels import EVENTS, ladder_words
from domain.webhook.webhook import DEFAULT_RATE_PER_SECOND, DEFAULT_RETRY_DELAYS, DEFAULT_TIMEOUT_SECONDS

RETRIES = 3
ALL = "*"
NEW: dict[str, Any] = {
    "url": "",
    "description": "",
    "events": ["*"],
    "rate_per_second": int(DEFAULT_RATE_PER_SECOND),
    "timeout_seconds": int(DEFAULT_TIMEOUT_SECONDS),
    "retry_delays_seconds": [int(delay) for delay in DEFAULT_RETRY_DELAYS],
}


def read_form(form: Form) -> dict[str, Any]:
    """What was typed, as the API wants it; nonsense is left for the API to refuse."""
    delays = [form.number(f"retry_{number}") for number in range(1, RETRIES + 1)]
    events = form.all("events")
    return {
        "url": form.text("url"),
        "description": form.text("description") or None,
        "events": events,
        "rate_per_second": form.number("rate_per_second"),
        "timeout_seconds": form.number("timeout_seconds"),
        "retry_delays_seconds": [delay for delay in delays if delay is not None],
    }


def _contradiction(values: dict[str, Any]) -> Refusal | None:
    """Both "all" and single events: which of the two was meant is not for us to guess."""
    if ALL not in values["events"] or len(values["events"]) == 1:
        return None
    message = _("Choose either all events or single ones.")
    return Refusal(code="VALIDATION_ERROR", message=message, status=400, details=[{"field": "events", "message": message}])


def _words(delays: list[Any]) -> str:
    return ladder_words([delay for delay in delays if isinstance(delay, int | float) and 0 <= delay <= 86_400])


def _show_form(visit: Visit, values: dict[str, Any], endpoint_id: str = "", error: Refusal | None = None) -> Response[bytes]:
    fields = error.fields if error else {}
    errors = {name: text for name, text in fields.items() if name in (*NEW, "secret")}
    errors |= {name.split("[")[0].split(".")[0]: text for name, text in fields.items() if name.startswith("retry_delays_seconds")}
    return visit.page(
        "webhooks/form.html",
        status=400 if error else 200,
        values=values,
        delays=[*values["retry_delays_seconds"], "", "", ""][:RETRIES],
        endpoint_id=endpoint_id,
        words=EVENTS,
        ladder=_words(values["retry_delays_seconds"]),
        error=error,
        errors=errors,
        shown=list(fields) if set(errors) else [],
    )


def _show_secret(visit: Visit, made: dict[str, Any], *, is_new: bool) -> Response[bytes]:
    return visit.page(
        "webhooks/secret.html", status=201 if is_new else 200, made=made, is_new=is_new, until=made.get("old_secret_expires_at")
    )


@get("/webhooks/new")
async def new_endpoint(visit: Visit) -> Response[bytes]:
    """An empty form, with what suits most."""
    visit.must_change()
    return _show_form(visit, NEW)


@post("/webhooks")
async def create_endpoint(visit: Visit) -> Response[bytes]:
    """Make the endpoint and show its secret, this once."""
    values = read_form(visit.form)
    own = visit.form.text("secret")
    if (contradiction := _contradiction(values)) is not None:
        return _show_form(visit, values, error=contradiction)
    answer = await visit.api.post("/v1/admin/webhook-endpoints", {**values, **({"secret": own} if own else {})})
    return _show_form(visit, values, error=answer.error) if answer.error else _show_secret(visit, answer.body, is_new=True)


@get("/webhooks/{endpoint_id:str}/edit")
async def edit_endpoint(visit: Visit, endpoint_id: str) -> Response[bytes]:
    """The form with what holds now."""
    visit.must_change()
    return _show_form(visit, await visit.api.read(endpoint_route(endpoint_id)), endpoint_id)


@post("/webhooks/{endpoint_id:str}/edit")
async def change_endpoint(visit: Visit, endpoint_id: str) -> Response[bytes] | Redirect:
    """Save what was typed; the next attempts are made by it."""
    values = read_form(visit.form)
    if (contradiction := _contradiction(values)) is not None:
        return _show_form(visit, values, endpoint_id, contradiction)
    answer = await visit.api.patch(endpoint_route(endpoint_id), values, reason=visit.form.text("reason"))
    if answer.error is not None:
        return _show_form(visit, values, endpoint_id, answer.error)
    return visit.go(endpoint_path(endpoint_id), good=_("Saved. Applies to upcoming attempts."))


@post("/webhooks/preview")
async def preview_ladder(visit: Visit) -> Response[bytes]:
    """The words for the retries that stand in the form now."""
    return visit.page("webhooks/ladder.html", ladder=_words(read_form(visit.form)["retry_delays_seconds"]))


@post("/webhooks/{endpoint_id:str}/rotate")
async def rotate_secret(visit: Visit, endpoint_id: str) -> Response[bytes] | Redirect:
    """Make a new secret and show it, this once; the old one signs along for the overlap."""
    body = {"overlap_seconds": visit.form.number("overlap")}
    answer = await visit.api.post(f"{endpoint_route(endpoint_id)}/rotate-secret", body, reason=visit.form.text("reason"))
    return visit.done(endpoint_path(endpoint_id), answer.error, "") if answer.error else _show_secret(visit, answer.body, is_new=False)


routes = [new_endpoint, create_endpoint, edit_endpoint, change_endpoint, preview_ladder, rotate_secret]
