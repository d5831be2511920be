"""Alembic, called from code: the configuration is these few lines, so there is no alembic.ini to find."""

import functools
import logging
import random
import time
from pathlib import Path
from typing import cast

import psycopg
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg import errors

from runtime.postgres import CONNECT_TIMEOUT_SECONDS, DEAD_PEER
from runtime.settings import SettingError

log = logging.getLogger(__name__)

LOCK_TIMEOUT = "2s"
PATIENCE_SECONDS = 600.0

OLDEST_POSTGRES = 180000
"""`uuidv7()` and `RETURNING old` exist since then."""
MIGRATIONS = Path(__file__).parent.parent / "migrations"


def configuration(connection: sa.Connection | None = None) -> Config:
    """Alembic's configuration, bound to a connection when it is to run something."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def engine(database_url: str) -> sa.Engine:
    """An engine without a pool: migrating needs one connection, once. libpq reads the address, so it may name several hosts."""

    def connect() -> psycopg.Connection:
        options = f"-c timezone=UTC -c lock_timeout={LOCK_TIMEOUT}"
        return psycopg.connect(
            database_url, application_name="laurel-migrate", connect_timeout=CONNECT_TIMEOUT_SECONDS, options=options, **DEAD_PEER
        )

    return sa.create_engine("postgresql+psycopg://", creator=connect, poolclass=sa.NullPool)


@functools.cache
def known_revisions() -> tuple[str, frozenset[str]]:
    """The newest revision that this code has, and all of them."""
    scripts = ScriptDirectory.from_config(configuration())
    return scripts.get_current_head() or "", frozenset(each.revision for each in scripts.walk_revisions())


def is_behind(present: str | None) -> bool:
    """Whether a database at this revision lacks what this code needs. One that this code does not know is newer, and newer only adds."""
    newest, known = known_revisions()
    return present is None or (present in known and present != newest)


def upgrade(database_url: str, revision: str = "head") -> None:
    """Bring the database to `revision`; nothing happens when it is there already. Raises `SettingError` for too old a server.

    A revision that does not get a lock within two seconds lets those who queue behind it pass, and is tried again.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            with engine(database_url).connect() as connection:
                check_server(connection)
                command.upgrade(configuration(connection), revision)
                return
        except sa.exc.OperationalError as error:
            if not isinstance(error.orig, errors.LockNotAvailable | errors.DeadlockDetected) or time.monotonic() > deadline:
                raise
            log.info("a revision did not get its lock; it is tried again")
            time.sleep(random.uniform(0.2, 1.0))


def check_server(connection: sa.Connection) -> None:
    """Raise `SettingError` when the server is older than what the schema needs: before anything was made."""
    info = psycopg.ConnectionInfo(cast(psycopg.Connection, connection.connection.driver_connection).pgconn)
    connection.rollback()
    if info.server_version < OLDEST_POSTGRES:
        present, needed = info.server_version // 10_000, OLDEST_POSTGRES // 10_000
        raise SettingError(f"LAUREL_DATABASE_URL: the server is PostgreSQL {present}, and {needed} or newer is needed")


def check(database_url: str) -> None:
    """Raise `alembic.util.CommandError` when the migrations and the declared tables disagree."""
    with engine(database_url).connect() as connection:
        command.check(configuration(connection))


def revisions(database_url: str) -> tuple[str | None, str | None]:
    """The database's revision and the newest one that this code has."""
    with engine(database_url).connect() as connection:
        present = MigrationContext.configure(connection).get_current_revision()
    return present, ScriptDirectory.from_config(configuration()).get_current_head()
