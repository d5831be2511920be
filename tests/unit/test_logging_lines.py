"""Text of strangers in a log line looks like text, never like a line of ours."""

import logging

from runtime.logging import TextFormatter


def test_a_line_stays_one_line() -> None:
    record = logging.LogRecord(
        "laurel", logging.INFO, "", 0, "user %s", ("eve\r\n2026-01-01T00:00:00Z INFO laurel: all is well\x1b[2J\u2028",), None
    )
    line = TextFormatter().format(record)
    assert line.splitlines() == [line]
    assert r"eve\r\n2026" in line
    assert r"\x1b[2J" in line


def test_a_traceback_stands_below_its_line() -> None:
    try:
        raise ValueError("broken")
    except ValueError as error:
        record = logging.LogRecord("laurel", logging.ERROR, "", 0, "failed", (), (type(error), error, error.__traceback__))
    assert TextFormatter().format(record).splitlines()[-1] == "ValueError: broken"
