"""Migrating while others work: nobody waits long for it, and it takes its turn."""

import secrets
import subprocess
import sys
import threading
import time

import psycopg
import pytest

from runtime import schema
from runtime.settings import SettingError
from stack import postgres
from tests.conftest import PASSWORD, REPOSITORY


@pytest.fixture
def fresh_url(postgres_server: int) -> str:
    return postgres.ensure_database(postgres_server, PASSWORD, f"fresh_{secrets.token_hex(4)}")


def test_a_held_lock_puts_a_revision_off_and_others_pass(fresh_url: str) -> None:
    schema.upgrade(fresh_url, "0016")
    errors: list[BaseException] = []

    def migrate() -> None:
        try:
            schema.upgrade(fresh_url)
        except BaseException as error:
            errors.append(error)

    with psycopg.connect(fresh_url) as holder, psycopg.connect(fresh_url, autocommit=True) as other:
        holder.execute("SELECT FROM earning_usage")  # 0017 alters it
        other.execute("SET statement_timeout TO '20s'")
        migrating = threading.Thread(target=migrate)
        migrating.start()
        deadline = time.monotonic() + 30
        waits = "SELECT FROM pg_stat_activity WHERE application_name = 'laurel-migrate' AND wait_event_type = 'Lock'"
        while other.execute(waits).fetchone() is None:
            assert time.monotonic() < deadline
        began = time.monotonic()
        other.execute("SELECT FROM earning_usage")  # queues behind the revision, for as long as that waits
        assert time.monotonic() - began < 15
        holder.rollback()
        migrating.join(60)
    assert not errors
    assert schema.revisions(fresh_url)[0] == schema.known_revisions()[0]
    schema.check(fresh_url)


def test_two_who_migrate_take_turns(fresh_url: str) -> None:
    argv = (sys.executable, "-c", "import sys; from runtime import schema; schema.upgrade(sys.argv[1])", fresh_url)
    running = [subprocess.Popen(argv, cwd=REPOSITORY) for _ in range(2)]
    assert [each.wait(60) for each in running] == [0, 0]
    schema.check(fresh_url)


def test_an_index_that_an_earlier_try_left_invalid_is_built_anew(fresh_url: str) -> None:
    schema.upgrade(fresh_url, "0018")
    name = "ix_webhook_delivery_ended_otherwise"
    with psycopg.connect(fresh_url, autocommit=True) as connection:
        connection.execute(f"CREATE INDEX {name} ON webhook_delivery (tenant_id)")
        connection.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = to_regclass(%s)", (name,))
    schema.upgrade(fresh_url)
    schema.check(fresh_url)


def test_several_hosts_may_stand_in_the_address(fresh_url: str) -> None:
    head, _, tail = fresh_url.rpartition("@")
    host, _, database = tail.partition("/")
    schema.upgrade(f"{head}@127.0.0.1:1,{host}/{database}")


def test_too_old_a_server_is_refused_before_anything_is_made(fresh_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "OLDEST_POSTGRES", 990000)
    with pytest.raises(SettingError, match="99 or newer"):
        schema.upgrade(fresh_url)
    assert schema.revisions(fresh_url)[0] is None
