"""`laurel import`: a history of events from a file, sent through the same path as any other event (contract 2)."""

import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TextIO

import httpx
import msgspec
import rich_click as click
from rich.console import Console
from rich.progress import Progress

from stack.data_directory import data_dir_option, read_stack

BULK_EVENTS = 100
BULK_BYTES = 900_000
LINES_PER_REPORT = 100_000
TIMEOUT_SECONDS = 60.0
RETRIES = 5
CALLS_AT_A_TIME = 8
FIRST_WAIT_SECONDS = 0.25


class ImportLine(msgspec.Struct, frozen=True):
    """A line of the file; `end` is the byte at which the next one starts."""

    number: int
    text: bytes
    end: int


class Bookmark(msgspec.Struct):
    """How far an import got: kept beside the file, so that it goes on from there when it is started again."""

    offset: int = 0
    line: int = 0
    accepted: int = 0
    repeated: int = 0
    refused: int = 0


def bulks(file: Path, bookmark: Bookmark) -> Iterator[list[ImportLine]]:
    """The lines behind the bookmark, in calls of up to 100 events and less than 1 MiB; empty lines are left out."""
    waiting: list[ImportLine] = []
    size, number, end = 0, bookmark.line, bookmark.offset
    with file.open("rb") as lines:
        lines.seek(end)
        for text in lines:
            number, end = number + 1, end + len(text)
            if waiting and (len(waiting) == BULK_EVENTS or size + len(text) > BULK_BYTES):
                yield waiting
                waiting, size = [], 0
            if text.strip():
                waiting.append(ImportLine(number, text.strip(), end))
                size += len(text)
    if waiting:
        yield waiting


class SentChunk(msgspec.Struct, frozen=True):
    """One call that was answered: its lines, which of them were fit to be sent, and what became of each of those."""

    lines: list[ImportLine]
    fit: list[ImportLine]
    results: list[dict[str, Any]]


def send_bulk(client: httpx.Client, lines: list[ImportLine]) -> SentChunk:
    """Send those of the lines that are JSON in one call."""
    fit = [line for line in lines if _is_json(line.text)]
    results = _post(client, b'{"events":[' + b",".join(line.text for line in fit) + b"]}") if fit else []
    return SentChunk(lines, fit, results)


def note(sent: SentChunk, bookmark: Bookmark, refused: TextIO) -> None:
    """Count what became of each line, and write down the refused ones with their numbers."""
    results = iter(sent.results)
    fit = {line.number for line in sent.fit}
    for line in sent.lines:
        if line.number not in fit:
            _refuse(refused, bookmark, line, "Validation failed: the line is not JSON")
            continue
        result = next(results)
        if result["status"] == "failed":
            _refuse(refused, bookmark, line, result["error"])
        elif result.get("duplicate"):
            bookmark.repeated += 1
        else:
            bookmark.accepted += 1
    bookmark.offset, bookmark.line = sent.lines[-1].end, sent.lines[-1].number


def sent_in_order(client: httpx.Client, calls: Iterator[list[ImportLine]]) -> Iterator[SentChunk]:
    """The calls, several of them under way at a time, answered in the file's order.

    Events may be taken in another order, which changes nothing: scores are merged by sum, minimum and maximum. What was under way when
    an import is cut off is sent again by the next one, and counts once.
    """
    with ThreadPoolExecutor(CALLS_AT_A_TIME) as threads:
        under_way: deque[Future[SentChunk]] = deque()
        try:
            for lines in calls:
                under_way.append(threads.submit(send_bulk, client, lines))
                if len(under_way) > CALLS_AT_A_TIME:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            threads.shutdown(wait=True, cancel_futures=True)


def _is_json(text: bytes) -> bool:
    try:
        msgspec.json.decode(text)
        text.decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def _refuse(refused: TextIO, bookmark: Bookmark, line: ImportLine, error: str) -> None:
    entry = {"line": line.number, "error": error, "text": line.text.decode(errors="replace")}
    refused.write(msgspec.json.encode(entry).decode() + "\n")
    bookmark.refused += 1


def _post(client: httpx.Client, body: bytes) -> list[dict[str, Any]]:
    """The results of a bulk call. Repeats it when the server is away or busy, which is harmless: events count once."""
    for attempt in range(RETRIES + 1):
        try:
            answer = client.post("/v1/events/bulk", content=body)
        except httpx.TransportError:
            if attempt == RETRIES:
                raise
        else:
            if answer.status_code not in (429, 503) or attempt == RETRIES:
                break
        time.sleep(FIRST_WAIT_SECONDS * 2**attempt)
    if answer.status_code != 202:
        raise click.ClickException(f"the API answered {answer.status_code}: {answer.text[:300]}")
    results: list[dict[str, Any]] = msgspec.json.decode(answer.content)["results"]
    return results


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--tenant", "tenant_text", required=True, metavar="T", help="Id of the tenant.")
@click.option("--api-key", help="Key of role server or admin; without it, that of the stack's demo tenant.")
@click.option("--url", help="Address of the API; without it, that of the running stack.")
@data_dir_option
def import_(file: Path, tenant_text: str, api_key: str | None, url: str | None, data_dir: Path) -> None:
    """Send the events in FILE, one JSON object a line.

    Goes on where an earlier run stopped. Refused lines go to FILE.refused with their numbers; the exit status is then 1.
    """
    if url is None or api_key is None:
        stack = read_stack(data_dir)
        url, api_key = url or stack.api_url, api_key or stack.api_key
    if not api_key:
        raise click.UsageError("no API key: pass --api-key")
    mark = file.with_name(file.name + ".bookmark")
    bookmark = msgspec.json.decode(mark.read_bytes(), type=Bookmark) if mark.exists() else Bookmark()
    headers = {"Authorization": f"Bearer {api_key}", "X-Tenant-Id": tenant_text}
    with (
        httpx.Client(base_url=url, headers=headers, timeout=TIMEOUT_SECONDS) as client,
        file.with_name(file.name + ".refused").open("a" if bookmark.line else "w") as refused,
    ):
        _send_all(client, file, bookmark, refused, mark=mark)
    mark.unlink(missing_ok=True)
    click.echo(f"{bookmark.accepted} accepted, {bookmark.repeated} repeated, {bookmark.refused} refused", err=True)
    if bookmark.refused:
        raise SystemExit(1)


def _send_all(client: httpx.Client, file: Path, bookmark: Bookmark, refused: TextIO, *, mark: Path) -> None:
    """Send the whole file, with a bar on a terminal and a line now and then elsewhere."""
    console = Console(stderr=True)
    reported = bookmark.line
    with Progress(console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(file.name, total=file.stat().st_size, completed=bookmark.offset)
        for sent in sent_in_order(client, bulks(file, bookmark)):
            note(sent, bookmark, refused)
            refused.flush()
            part = mark.with_suffix(".part")
            part.write_bytes(msgspec.json.encode(bookmark))
            part.replace(mark)
            progress.update(task, completed=bookmark.offset)
            if not console.is_terminal and bookmark.line - reported >= LINES_PER_REPORT:
                reported = bookmark.line
                console.print(f"{bookmark.line} lines, {bookmark.refused} refused")
