"""Alembic, called from code: the configuration is these few lines, so there is no alembic.ini to find."""

import functools
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

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
    """An engine without a pool: migrating needs one connection, once."""
    address = sa.make_url(database_url).set(drivername="postgresql+psycopg")
    return sa.create_engine(address, poolclass=sa.NullPool)


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
    """Bring the database to `revision`; nothing happens when it is there already."""
    with engine(database_url).begin() as connection:
        command.upgrade(configuration(connection), revision)


def check(database_url: str) -> None:
    """Raise `alembic.util.CommandError` when the migrations and the declared tables disagree."""
    with engine(database_url).begin() as connection:
        command.check(configuration(connection))


def revisions(database_url: str) -> tuple[str | None, str | None]:
    """The database's revision and the newest one that this code has."""
    with engine(database_url).connect() as connection:
        present = MigrationContext.configure(connection).get_current_revision()
    return present, ScriptDirectory.from_config(configuration()).get_current_head()
