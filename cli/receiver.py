"""`laurel receiver`: a partner's receiver on a real socket, whose answers are chosen beforehand, good and bad ones alike.

It verifies both signatures of each webhook and prints one line of JSON for it. For tests, and for partners who want to see what comes.
"""

import asyncio
import contextlib
import hmac
import time
from collections.abc import Sequence
from typing import Any

import msgspec
import rich_click as click

from domain.webhook.webhook import check_secret, signatures

TOLERANCE_SECONDS = 300
MAXIMUM_BODY = 1024 * 1024
READ_SECONDS = 30.0
KINDS = ("status", "reset", "hang", "drip", "redirect", "huge")


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One answer. `delay` seconds pass before it; `drip` seconds lie between its bytes; `size` bytes make a huge body."""

    kind: str = "status"
    status: int = 200
    delay: float = 0.0
    retry_after: str | None = None
    location: str = ""
    drip: float = 0.5
    size: int = 1_000_000
    body: str = '{"ok":true}'


def parse_step(text: str) -> Step:
    """A step of a script: `STATUS`, `reset`, `hang`, `drip=SECONDS`, `redirect=URL` or `huge=BYTES`, then options.

    The options are `;delay=SECONDS`, `;retry-after=VALUE` and `;body=TEXT`. Raises click.BadParameter for anything else.
    """
    first, *options = text.strip().split(";")
    name, _, value = first.partition("=")
    try:
        step = _first(name, value)
        for option in options:
            step = _with(step, *option.partition("=")[::2])
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a valid answer; see --help") from None
    return step


def _first(name: str, value: str) -> Step:
    if name.isdigit() and 200 <= int(name) <= 599:
        return Step(status=int(name))
    if name in ("reset", "hang"):
        return Step(kind=name)
    if name == "drip":
        return Step(kind=name, drip=float(value or 0.5))
    if name == "redirect" and value:
        return Step(kind=name, status=302, location=value)
    if name == "huge":
        return Step(kind=name, size=int(value or 1_000_000))
    raise ValueError(name)


def _with(step: Step, name: str, value: str) -> Step:
    if name == "delay":
        return msgspec.structs.replace(step, delay=float(value))
    if name == "retry-after":
        return msgspec.structs.replace(step, retry_after=value)
    if name == "body":
        return msgspec.structs.replace(step, body=value)
    raise ValueError(name)


def verify(secrets: Sequence[str], headers: dict[str, str], body: bytes) -> dict[str, bool]:
    """Whether the seed's signature and the standard one hold under one of the secrets, and whether the attempt is recent."""
    stamp, identity = headers.get("x-gamifyengine-timestamp", ""), headers.get("webhook-id", "")
    if not stamp.isdigit():
        return {"seed_signature": False, "standard_signature": False, "recent": False}
    signed = [signatures([secret], identity, int(stamp), body) for secret in secrets]
    listed = headers.get("webhook-signature", "").split(" ")
    return {
        "seed_signature": any(hmac.compare_digest(each.seed, headers.get("x-gamifyengine-signature", "")) for each in signed),
        "standard_signature": any(each.standard is not None and each.standard in listed for each in signed),
        "recent": abs(time.time() - int(stamp)) <= TOLERANCE_SECONDS,
    }


class Receiver:
    """Gives the script's answers in turn and the last one for ever."""

    def __init__(self, script: Sequence[Step], secrets: Sequence[str]) -> None:
        self._script, self._secrets = script, secrets
        self._count = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take one webhook, print it, answer it."""
        try:
            async with asyncio.timeout(READ_SECONDS):
                headers, body = await _read(reader)
        except (TimeoutError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            writer.close()
            return
        self._count += 1
        step = self._script[min(self._count, len(self._script)) - 1]
        checks = verify(self._secrets, headers, body) if self._secrets else {}
        if checks and not (checks["recent"] and (checks["seed_signature"] or checks["standard_signature"])):
            step = Step(status=401, body='{"error":"invalid signature"}')
        self._print(headers, body, step, checks)
        with contextlib.suppress(ConnectionError):
            await _answer(writer, step)
        writer.close()

    def _print(self, headers: dict[str, str], body: bytes, step: Step, checks: dict[str, bool]) -> None:
        line = {
            "kind": "webhook",
            "number": self._count,
            "event": headers.get("x-gamifyengine-event"),
            "delivery_id": headers.get("x-gamifyengine-delivery"),
            "attempt": headers.get("x-gamifyengine-attempt"),
            **checks,
            "answer": step.status if step.kind == "status" else step.kind,
            "headers": headers,
            "body": body.decode("utf-8", "replace"),
        }
        report(line)


async def _read(reader: asyncio.StreamReader) -> tuple[dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:]) if name}
    length = int(headers.get("content-length", "0"))
    if not 0 <= length <= MAXIMUM_BODY:
        raise ValueError("too long")
    return headers, await reader.readexactly(length)


async def _answer(writer: asyncio.StreamWriter, step: Step) -> None:
    await asyncio.sleep(step.delay)
    if step.kind == "hang":
        await asyncio.sleep(3600)
    if step.kind in ("reset", "hang"):
        writer.transport.abort()
        return
    body = b"x" * step.size if step.kind == "huge" else step.body.encode()
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), "Connection": "close"}
    if step.retry_after is not None:
        headers["Retry-After"] = step.retry_after
    if step.kind == "redirect":
        headers["Location"] = step.location
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    writer.write(f"HTTP/1.1 {step.status} Answer\r\n{lines}\r\n".encode())
    if step.kind != "drip":
        writer.write(body)
        await writer.drain()
        return
    for byte in body:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(step.drip)


def report(line: dict[str, Any]) -> None:
    """One line of JSON on standard output."""
    click.echo(msgspec.json.encode(line).decode())


async def serve(host: str, port: int, receiver: Receiver) -> None:
    """Listen until interrupted; the first line says where."""
    server = await asyncio.start_server(receiver.serve, host, port)
    report({"kind": "listening", "url": f"http://{host}:{server.sockets[0].getsockname()[1]}/"})
    async with server:
        await server.serve_forever()


@click.command(
    epilog="An ANSWER is a status (200 to 599), reset, hang, drip=SECONDS, redirect=URL or huge=BYTES; after it may stand ;delay=SECONDS,"
    " ;retry-after=VALUE and ;body=TEXT. Example: --answer 503;retry-after=30 --answer reset --answer 200"
)
@click.option("--port", default=0, show_default=True, help="The port; 0 takes a free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--secret", "secrets", multiple=True, help="A secret to verify with; twice during a rotation.")
@click.option("--answer", "answers", multiple=True, default=("200",), show_default=True, help="The answers in turn; the last one for ever.")
def receiver(port: int, host: str, secrets: tuple[str, ...], answers: tuple[str, ...]) -> None:
    """Act as a partner's webhook receiver with the answers you choose.

    Prints one line of JSON for each webhook. With a secret, both signatures are verified; when neither holds, or the
    attempt is not recent, it gets 401.
    """
    script = [parse_step(text) for text in answers]
    for secret in secrets:
        check_secret(secret)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(host, port, Receiver(script, secrets)))
