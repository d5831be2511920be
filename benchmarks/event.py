"""The events that the benchmarks send: about 440 bytes, 1 000 users, one type, numbers that the boards' expressions read."""

import time

TYPE = "match.completed"
USERS = 1000
MARK = "\0"
OCCURRED_AT = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
BODY = (
    '{"event_id":"%s","type":"match.completed","actor":{"user_id":"%s","metadata":{"region":"eu","platform":"android",'
    '"client":"4.11.2-release"}},"subject":{"type":"match","id":"match-%08d"},"occurred_at":"%s","attrs":{"score":%d,'
    '"kills":%d,"deaths":%d,"assists":7,"victory":%s,"mode":"ranked","map":"frozen-harbour","duration_seconds":1260,'
    '"team":"blue","season":"2026-autumn","weapon":"longbow","hero":"warden"}}'
)


def user(number: int) -> str:
    """The external id of the user of the `number`th event: consecutive events belong to different users."""
    return f"user-{number * 7919 % USERS:06d}"


def text(event_id: str, user_id: str, number: int) -> str:
    """One event as JSON. Its numbers depend on `number` alone."""
    victory = "true" if number % 2 else "false"
    return BODY % (event_id, user_id, number, OCCURRED_AT, number % 1000, number % 23, number % 11, victory)


def body(event_id: str, user_id: str, number: int) -> bytes:
    """One event as the bytes that a client would send."""
    return text(event_id, user_id, number).encode()


def single_request(key: str, number: int, token_length: int) -> list[str]:
    """A `POST /v1/events`, in the pieces between which the load generator puts the token that makes its event_id."""
    event = text(MARK, user(number), number)
    return post("/v1/events", key, event, token_length)


def bulk_request(key: str, number: int, size: int, token_length: int) -> list[str]:
    """A `POST /v1/events/bulk` of `size` events; their ids are the token and a number."""
    numbers = range(number * size, (number + 1) * size)
    events = ",".join(text(f"{MARK}-{n - numbers.start:03d}", user(n), n) for n in numbers)
    return post("/v1/events/bulk", key, f'{{"events":[{events}]}}', token_length)


def post(path: str, key: str, body: str, token_length: int, *, method: str = "POST") -> list[str]:
    """A POST (or the like) in pieces: split where `MARK` stands for a token of `token_length` characters."""
    length = len(body.encode()) + body.count(MARK) * (token_length - len(MARK))
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    )
    return (head + body).split(MARK)


def get(path: str, key: str) -> list[str]:
    """A GET, whole."""
    return [f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\nAccept-Encoding: identity\r\n\r\n"]
