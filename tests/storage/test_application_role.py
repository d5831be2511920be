"""The platform's role owns its database and may do nothing to the server or its files."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from runtime import schema
from stack import postgres, processes

PASSWORD = secrets.token_hex(16)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[int]:
    """A cluster of an earlier release: the superuser made the schema."""
    postgres.initialise(tmp_path / "data", PASSWORD)
    port = processes.free_port()
    command = postgres.command(tmp_path / "data", port, tmp_path / "log", {"fsync": "off", "shared_buffers": "16MB"})
    process = postgres.start(tmp_path / "data", command)
    try:
        processes.wait_ready(process, command, lambda: postgres.ready(port, PASSWORD))
        yield port
    finally:
        processes.stop(process, command)


def test_it_migrates_and_reads_no_files(server: int) -> None:
    schema.upgrade(postgres.ensure_database(server, PASSWORD), "0017")
    address = postgres.ensure_application(server, PASSWORD)
    assert postgres.ensure_application(server, PASSWORD) == address
    assert PASSWORD not in address
    schema.upgrade(address)
    schema.check(address)
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute("SELECT ensure_event_partitions(9)")
        for forbidden in ("SELECT pg_read_file('/etc/passwd')", "COPY tenant TO PROGRAM 'true'", "ALTER SYSTEM SET work_mem TO '1MB'"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(forbidden.encode())
