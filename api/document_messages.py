"""What Laurel sends by itself, in the API document: webhooks, and the messages of a board's WebSocket."""

from typing import Any

from api.schema_book import SchemaBook
from domain.leaderboard.socket_wire import ServerMessage
from domain.leaderboard.view import Configure, Ping, RequestPage
from domain.webhook.bodies_wire import BODIES

JSON = "application/json"
WEBHOOK_HEADERS = {
    "webhook-id": "The delivery's id, the same at every attempt: drop what you have had",
    "webhook-timestamp": "Unix seconds of this attempt",
    "webhook-signature": "`v1,` and the Base64 HMAC-SHA256 of `id.timestamp.body` (Standard Webhooks); two of them during a rotation",
    "X-GamifyEngine-Event": "The event",
    "X-GamifyEngine-Delivery": "The delivery's id",
    "X-GamifyEngine-Attempt": "1 for the first attempt",
    "X-GamifyEngine-Timestamp": "Unix seconds of this attempt",
    "X-GamifyEngine-Signature": "The hexadecimal HMAC-SHA256 of `timestamp.body`, of raw bytes",
}
CLIENT_MESSAGES = Configure | RequestPage | Ping


def webhooks(book: SchemaBook) -> dict[str, Any]:
    """The `webhooks` of the document: one POST to the partner by event."""
    return {event: {"post": _webhook(event, shape, book)} for event, shape in BODIES.items()}


def _webhook(event: str, shape: Any, book: SchemaBook) -> dict[str, Any]:
    headers = [
        {"name": name, "in": "header", "required": True, "description": text, "schema": {"type": "string"}}
        for name, text in WEBHOOK_HEADERS.items()
    ]
    text = " ".join((shape.__doc__ or "").split())
    return {
        "operationId": "on_" + event.replace(".", "_"),
        "summary": text.rstrip("."),
        "description": f"{text} Verify the signature over the raw bytes, store the delivery's id, then answer.",
        "tags": ["Webhooks"],
        "parameters": headers,
        "requestBody": {"required": True, "content": {JSON: {"schema": book.answer(shape)}}},
        "responses": {
            "2XX": {"description": "Taken. Any other answer is followed by retries, but for 3xx and 410"},
            "410": {"description": "Never again: the endpoint is disabled"},
        },
    }


def describe_websocket(operation: dict[str, Any], book: SchemaBook) -> None:
    """Say beside the upgrade which messages go either way."""
    operation["x-websocket"] = {"client": _union(CLIENT_MESSAGES, book.body), "server": _union(ServerMessage, book.answer)}


def _union(shapes: Any, described: Any) -> dict[str, Any]:
    return {"oneOf": [described(shape) for shape in shapes.__args__]}
