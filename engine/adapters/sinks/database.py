"""The database sink: statements with named parameters, one transaction a message.

What an attempt comes to::

    committed                                                        Delivered    with how many rows it touched
    no connection, locked, full, read-only, shutting down            Unreachable  nothing of it is there
    a constraint, a value of the wrong type or length                Refused AE   the same message, the same end
    no such table, no right, a wrong statement                       Refused AR   somebody must mend the database
    a value that cannot be had of the message                        Unsendable
    the connection broke while it committed, or an answer is overdue Unanswered   it may be there

A message can come again (after the last, or after a crash), so the table has a unique key and the statement says
what happens then: `ON CONFLICT DO NOTHING`. Texts of the database may quote values, and are not told.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Protocol

from pydantic import BeforeValidator, Field, WithJsonSchema, field_validator, model_validator

from engine.adapters.errors import ConfigError
from engine.adapters.sinks.sql import for_psycopg, is_several, missing, names_in
from engine.config.base import ConfigModel, did_you_mean
from engine.config.expression import ExpressionError, compile_value
from engine.config.finding import BadValue
from engine.config.types import ValueText
from engine.config.units import Duration
from engine.hl7.convert import FORMS, Form
from engine.hl7.errors import Hl7Error
from engine.hl7.message import Message
from engine.model.envelope import Delivery
from engine.model.outcome import Delivered, Outcome, Refused, Unanswered, Unreachable, Unsendable
from engine.ports.clock import Clock, from_us

Values = Mapping[str, Any]

GIVEN: Final[Mapping[str, Callable[[Delivery], Any]]] = {
    "segmill_seq": lambda delivery: delivery.seq,
    "segmill_delivery": lambda delivery: delivery.id,
    "segmill_channel": lambda delivery: str(delivery.channel),
    "segmill_destination": lambda delivery: str(delivery.destination),
    "segmill_received_at": lambda delivery: from_us(delivery.received_at_us).isoformat(),
    "segmill_body": lambda delivery: delivery.body,
}
"""Parameters that every statement may name beside its own."""


def _one_or_several(value: object) -> object:
    return (value,) if isinstance(value, str) else value


class DatabaseSinkSettings(ConfigModel):
    """What stands under `database:` in a destination. Statements take values by name only: `:mrn`."""

    url: str = Field(
        min_length=1, description="sqlite:FILE, relative to the site, or postgresql://user@host:port/database"
    )
    password: str | None = Field(default=None, min_length=1, description="For PostgreSQL: ${file:...}")
    sql: Annotated[
        tuple[str, ...],
        BeforeValidator(_one_or_several),
        WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
    ] = Field(min_length=1, description="A statement, or several in one transaction")
    parameters: dict[str, ValueText] = Field(
        default_factory=dict, description="Name in the statement: text as it stands, or an expression after ="
    )
    empty: str = Field(
        default="null", pattern="^(null|text)$", description="What an empty value is: null, or the empty text"
    )
    timeout: Duration = Field(default=30.0, gt=0, le=3600, description="How long a statement, or a lock, may take")
    connect_timeout: Duration = Field(default=10.0, ge=1, le=600, description="How long a connection may take")

    @field_validator("url")
    @classmethod
    def _is_known(cls, value: str) -> str:
        scheme, _, rest = value.partition(":")
        if scheme not in ("sqlite", "postgresql", "postgres") or not rest.strip("/"):
            raise BadValue("is not a database", "such as sqlite:data/lab.db or postgresql://segmill@db.local/lab")
        if scheme != "sqlite" and ":" in rest.partition("@")[0].removeprefix("//") and "@" in rest:
            raise BadValue("must not hold a password", "write password: ${file:...} beside it")
        return value

    @field_validator("sql")
    @classmethod
    def _are_statements(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for statement in value:
            if not statement.strip():
                raise BadValue("has an empty statement")
            if is_several(statement):
                raise BadValue("has two statements in one", "make it a list, one statement an entry")
        return value

    @model_validator(mode="after")
    def _parameters_are_those_of_the_statements(self) -> "DatabaseSinkSettings":
        named = [name for statement in self.sql for name in names_in(statement)]
        known = [*self.parameters, *GIVEN]
        if lacking := missing(named, known):
            hint = did_you_mean(lacking[0], known)
            raise BadValue(f"has a statement with :{lacking[0]}, which is no parameter", hint, code="E103")
        if unused := missing(self.parameters, named):
            raise BadValue(f"has the parameter '{unused[0]}', which no statement names", f"write :{unused[0]} there")
        return self

    @property
    def is_sqlite(self) -> bool:
        return self.url.startswith("sqlite:")


class Database(Protocol):
    """One connection of a kind of database. Blocking; used by one thread."""

    def deliver(self, statements: Sequence[str], values: Values) -> Outcome:
        """All statements in one transaction. Never raises for what the database does."""
        ...

    def close(self) -> None: ...


class DatabaseSink:
    """One lane's connection. All work is done on the sink's own thread."""

    name: ClassVar[str] = "database"
    model: ClassVar[type[DatabaseSinkSettings]] = DatabaseSinkSettings

    def __init__(self, database: Database, settings: DatabaseSinkSettings, lane: str) -> None:
        """Raises ConfigError for an expression that cannot be used here."""
        self.max_batch = 1
        self.linger_s = 0.0
        self._database = database
        self._statements = settings.sql
        self._empty = None if settings.empty == "null" else ""
        named = {name for statement in settings.sql for name in names_in(statement)}
        self._given = {name: get for name, get in GIVEN.items() if name in named}
        parameters = settings.parameters
        self._literals = {name: str(text) or self._empty for name, text in parameters.items() if not text.is_expression}
        self._values = {name: _compiled(name, text) for name, text in parameters.items() if text.is_expression}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"database {lane}")

    @staticmethod
    def forms(settings: DatabaseSinkSettings) -> Sequence[Form]:
        """Every form as :segmill_body; HL7 only where a parameter is a value of the message."""
        return ("hl7",) if any(text.is_expression for text in settings.parameters.values()) else FORMS

    @classmethod
    def open(cls, settings: DatabaseSinkSettings, *, folder: Path, lane: str, clock: Clock) -> "DatabaseSink":
        """Set up, without a connection yet. Raises ConfigError; also where PostgreSQL's driver is not installed."""
        database: Database
        if settings.is_sqlite:
            path = folder.parent.parent / settings.url.removeprefix("sqlite:")
            database = SqliteDatabase(path, settings.timeout)
        else:
            database = PostgresDatabase(settings)
        return cls(database, settings, lane)

    async def send(self, deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
        """A transaction each. After cancellation the thread may still finish it."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._send_each, deliveries)

    async def close(self) -> None:
        """Take no more; a statement that hangs is left behind."""
        try:
            self._thread.submit(self._database.close)
        except RuntimeError:
            return  # the second call
        self._thread.shutdown(wait=False)

    def _send_each(self, deliveries: Sequence[Delivery]) -> list[Outcome]:
        return [self._send(delivery) for delivery in deliveries]

    def _send(self, delivery: Delivery) -> Outcome:
        try:
            values: dict[str, Any] = {name: get(delivery) for name, get in self._given.items()}
            values |= self._literals
            if self._values:
                message = Message.parse(delivery.body)
                values |= {name: get(message) or self._empty for name, get in self._values.items()}
        except Hl7Error:
            return Unsendable("the message cannot be read for its parameters")
        return self._database.deliver(self._statements, values)


def _compiled(name: str, text: ValueText) -> Callable[[Message], str]:
    try:
        return compile_value(text.expression).run
    except ExpressionError as error:  # what `check` cannot know: code tables are the steps'
        raise ConfigError(f"the parameter '{name}' cannot be used in a destination: {error.message}") from error


class SqliteDatabase:
    """A file of another program's, or of our own beside the store."""

    _NO_ROOM_OR_TIME = ("locked", "busy", "full", "readonly", "cantopen", "ioerr", "protocol", "nomem", "notadb")

    def __init__(self, path: Path, timeout_s: float) -> None:
        self._path = path
        self._timeout_s = timeout_s
        self._connection: sqlite3.Connection | None = None

    def deliver(self, statements: Sequence[str], values: Values) -> Outcome:
        try:
            db = self._connected()
        except sqlite3.Error as error:
            return Unreachable(f"the database cannot be opened ({_name_of(error)})")
        try:
            db.execute("BEGIN IMMEDIATE")
            rows = sum(max(0, db.execute(statement, values).rowcount) for statement in statements)
            db.execute("COMMIT")
        except (sqlite3.Error, OverflowError, UnicodeError) as error:
            self._roll_back(db)
            return self._judged(error)
        return Delivered(note=_rows(rows))

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connected(self) -> sqlite3.Connection:
        if self._connection is not None and not self._path.exists():
            self.close()  # it was moved away: what is written to a file without a name is lost
        if self._connection is None:
            # mode=rw: a table is needed, so the file must be there; a wrong path makes no new one.
            uri = f"{self._path.absolute().as_uri()}?mode=rw"
            self._connection = sqlite3.connect(uri, uri=True, timeout=self._timeout_s, isolation_level=None)
            self._connection.execute("PRAGMA synchronous=FULL")
        return self._connection

    def _roll_back(self, db: sqlite3.Connection) -> None:
        try:
            if db.in_transaction:
                db.execute("ROLLBACK")
        except sqlite3.Error:
            self.close()  # which rolls back

    def _judged(self, error: Exception) -> Outcome:
        name = _name_of(error)
        if isinstance(error, sqlite3.IntegrityError):
            return Refused("AE", note=f"a constraint of the database refuses it ({name})")
        if isinstance(error, sqlite3.DataError | OverflowError | UnicodeError | sqlite3.InterfaceError):
            return Refused("AE", note=f"the database cannot hold a value of it ({name})")
        if any(part in name.lower() for part in self._NO_ROOM_OR_TIME):
            self.close()
            return Unreachable(f"the database takes nothing now ({name})")
        return Refused("AR", note=f"the database does not carry out the statement ({name})")


class PostgresDatabase:
    """A PostgreSQL server, by psycopg (the `postgres` extra). The connection is kept while it works."""

    def __init__(self, settings: DatabaseSinkSettings) -> None:
        """Raises ConfigError where psycopg is not installed, or does not understand the URL."""
        try:
            import psycopg
        except ImportError as error:
            raise ConfigError("a postgresql: database needs psycopg: pip install 'segmill[postgres]'") from error
        self._psycopg = psycopg
        milliseconds = max(1, round(settings.timeout * 1000))
        try:
            self._conninfo = psycopg.conninfo.make_conninfo(
                settings.url,
                **({"password": settings.password} if settings.password is not None else {}),
                connect_timeout=max(1, round(settings.connect_timeout)),
                application_name="segmill",
                options=f"-c statement_timeout={milliseconds} -c lock_timeout={milliseconds}",
                # A server that is gone without a word is noticed by the kernel, in the time of a statement.
                tcp_user_timeout=milliseconds + 1000,
            )
        except psycopg.ProgrammingError as error:
            raise ConfigError("the url of the database cannot be understood") from error
        self._connection: Any = None
        self._written: dict[str, Any] = {}

    def deliver(self, statements: Sequence[str], values: Values) -> Outcome:
        psycopg = self._psycopg
        try:
            db = self._connected()
        except psycopg.Error as error:
            return Unreachable(f"no connection to the database{_state_of(error)}")
        is_committing = False
        try:
            rows = 0
            for statement in statements:
                used = {name: values[name] for name in names_in(statement)}
                rows += max(0, db.execute(self._as_query(statement), used).rowcount)
            is_committing = True
            db.commit()
        except (psycopg.Error, UnicodeError) as error:
            outcome = self._judged(error, is_committing)
            self._roll_back(db)
            return outcome
        return Delivered(note=_rows(rows))

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _connected(self) -> Any:
        if self._connection is None or self._connection.closed:
            self._connection = self._psycopg.connect(self._conninfo, autocommit=False)
        return self._connection

    def _as_query(self, statement: str) -> bytes:
        written = self._written.get(statement)
        if written is None:
            written = self._written[statement] = for_psycopg(statement).encode()
        return bytes(written)

    def _roll_back(self, db: Any) -> None:
        try:
            db.rollback()
        except self._psycopg.Error:
            self.close()

    def _judged(self, error: Any, is_committing: bool) -> Outcome:
        if isinstance(error, UnicodeError):
            return Refused("AE", note="a value of it has characters that are none")
        state = error.sqlstate or ""
        told = _state_of(error)
        if not state:
            # The connection is gone. Before the commit was asked for, the server rolls back.
            self.close()
            if is_committing:
                return Unanswered("the connection to the database broke while it committed")
            if isinstance(error, self._psycopg.DataError | self._psycopg.ProgrammingError):
                return Refused("AE", note="a value of it cannot be given to the database")
            return Unreachable("the connection to the database broke")
        if state.startswith(("22", "23")):
            what = "the database cannot hold a value of it" if state[:2] == "22" else "a constraint refuses it"
            return Refused("AE", note=f"{what}{told}")
        if state.startswith(("08", "25", "40", "53", "55", "57", "58")):
            if is_committing and state.startswith(("08", "57", "58")):
                return Unanswered(f"the database failed while it committed{told}")
            return Unreachable(f"the database takes nothing now{told}")
        return Refused("AR", note=f"the database does not carry out the statement{told}")


def _name_of(error: Exception) -> str:
    """SQLite's name of an error, or the exception's: never its text, which may quote a value."""
    return getattr(error, "sqlite_errorname", "") or type(error).__name__


def _state_of(error: Any) -> str:
    return f" (SQLSTATE {error.sqlstate})" if error.sqlstate else ""


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count} rows"
