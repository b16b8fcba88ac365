"""Opening the database: engine, transactions, migrations."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, event, make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session, create_engine

from dicom_node.errors import StorageError

_MIGRATIONS = Path(__file__).parent / "migrations"
_BUSY_TIMEOUT_MS = 30_000
_READS_ONLY = "dicom_node_reads_only"


class Database:
    """The node's state. Each `transaction()` is atomic and durable when it returns.

    SQLite runs in WAL mode with synchronous=FULL: a committed row survives a power cut, which the index relies on when it
    moves an instance out of `incoming/`. Write transactions begin IMMEDIATE, so that two processes never deadlock on upgrade.
    """

    def __init__(self, url: str, *, busy_timeout_ms: int = _BUSY_TIMEOUT_MS) -> None:
        """Open lazily; no file is touched before the first use.

        Args:
            url: SQLAlchemy URL, for example `sqlite:////var/lib/dicom-node/node.db`.
            busy_timeout_ms: How long a transaction waits for another process's, milliseconds; SQLite only.
        """
        self.url = url
        self._engine: Engine = create_engine(url, pool_pre_ping=not url.startswith("sqlite"))
        self._file: Path | None = None
        self._identity: tuple[int, int] | None = None
        if url.startswith("sqlite"):
            self._file = Path(make_url(url).database or "")
            event.listen(self._engine, "connect", _configure_sqlite(busy_timeout_ms))
            event.listen(self._engine, "begin", _begin_immediate)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Run a block in one transaction; an exception rolls it back.

        Raises:
            StorageError: the database failed; retry later.
        """
        self._check_file()
        try:
            with Session(self._engine, expire_on_commit=False) as session, session.begin():
                yield session
        except SQLAlchemyError as error:
            raise StorageError(f"database: {type(error).__name__}: {_without_parameters(error)}", hint="see `dicom-node doctor`") from error

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Read in one transaction as of its first statement; unlike `transaction` it keeps no writer waiting.

        Raises:
            StorageError: the database failed; retry later.
        """
        self._check_file()
        try:
            with self._engine.connect().execution_options(**{_READS_ONLY: True}) as connection, Session(connection) as session:
                yield session
        except SQLAlchemyError as error:
            raise StorageError(f"database: {type(error).__name__}: {_without_parameters(error)}", hint="see `dicom-node doctor`") from error

    def migrate(self) -> None:
        """Bring the schema to the newest version; creates it in an empty database. All of it happens, or nothing.

        Raises:
            StorageError: the database failed, or holds rows that refer to none.
        """
        try:
            with self._engine.connect() as connection, _foreign_keys_at_the_end(connection):
                config = Config()
                config.set_main_option("script_location", str(_MIGRATIONS))
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
                connection.commit()
        except SQLAlchemyError as error:
            raise StorageError(f"migration: {_without_parameters(error)}") from error

    def schema_version(self) -> tuple[str | None, str | None]:
        """Return the version in the database, None without tables or file, and the newest one known."""
        script = ScriptDirectory(str(_MIGRATIONS))
        if self._file is not None and not self._file.exists():  # asking would make an empty one
            return None, script.get_current_head()
        try:
            with self._engine.connect() as connection:
                return MigrationContext.configure(connection).get_current_revision(), script.get_current_head()
        except SQLAlchemyError as error:
            raise StorageError(f"database: {_without_parameters(error)}") from error

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    def _check_file(self) -> None:
        """See that the file of the open connections still has its name.

        SQLite goes on writing into a file that was removed or replaced, and makes an empty one where there is none; both would lose
        rows silently.
        """
        if self._file is None:
            return
        try:
            state = self._file.stat()
        except OSError as error:
            self._engine.dispose()
            what = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be reached: {error.strerror}"
            raise StorageError(
                f"database {self._file} {what}", hint="put it back, or restart the node to begin an empty one; instances wait in incoming/"
            ) from error
        identity = (state.st_dev, state.st_ino)
        if self._identity not in (None, identity):
            self._engine.dispose()
        self._identity = identity


def _without_parameters(error: SQLAlchemyError) -> str:
    """Name the driver's complaint only: the statement's parameters may hold patient data."""
    return str(getattr(error, "orig", None) or type(error).__name__)


def _configure_sqlite(busy_timeout_ms: int) -> Callable[[sqlite3.Connection, object], None]:
    def configure(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout = {busy_timeout_ms}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")

    return configure


@contextmanager
def _foreign_keys_at_the_end(connection: Connection) -> Iterator[None]:
    """Let SQLite, which changes a table by making it anew, drop one that others refer to.

    Source: https://www.sqlite.org/lang_altertable.html, "Making Other Kinds Of Table Schema Changes".
    """
    if connection.dialect.name != "sqlite":
        yield
        return
    driver = connection.connection.dbapi_connection  # the setting changes outside of transactions only
    if driver is None:
        raise RuntimeError("connection is closed")
    driver.execute("PRAGMA foreign_keys = OFF")
    try:
        yield
    finally:
        driver.execute("PRAGMA foreign_keys = ON")


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN" if connection.get_execution_options().get(_READS_ONLY) else "BEGIN IMMEDIATE")
