"""The database sink on SQLite and, where a server can be had, on PostgreSQL."""

import asyncio
import builtins
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.adapters.errors import ConfigError
from engine.adapters.sinks.database import DatabaseSink, DatabaseSinkSettings
from engine.adapters.sinks.sql import for_psycopg, is_several, names_in
from engine.model.outcome import Delivered, Refused, Unreachable, Unsendable
from engine.ports.clock import SystemClock
from engine.testing import messages
from engine.testing.sink_contract import NAME, delivery
from tests.adapters import postgres_server

TABLE = "CREATE TABLE visit (control_id TEXT PRIMARY KEY, mrn TEXT, family TEXT, seq INTEGER, stays TEXT NOT NULL)"
INSERT = "INSERT INTO visit VALUES (:control_id, :mrn, :family, :segmill_seq, :stays)"
PARAMETERS = {"control_id": "=MSH-10", "mrn": "=PID-3.1", "family": "=PID-5.1", "stays": "yes"}


class SqliteTable:
    def __init__(self, site: Path) -> None:
        self.site = site
        self.path = site / "lab.db"
        self.settings = {"url": "sqlite:lab.db", "timeout": "200ms"}
        self.run(TABLE)

    def run(self, statement: str) -> list[tuple[object, ...]]:
        db = sqlite3.connect(self.path)
        try:
            rows = db.execute(statement).fetchall()
            db.commit()
            return rows
        finally:
            db.close()


class PostgresTable:
    def __init__(self, server: postgres_server.PostgresServer, site: Path) -> None:
        self.site = site
        self.server = server
        self.settings = {"url": server.url, "timeout": "60s", "connect_timeout": "60s"}
        self.run("DROP TABLE IF EXISTS visit")
        self.run(TABLE)

    def run(self, statement: str) -> list[tuple[object, ...]]:
        import psycopg

        with psycopg.connect(self.server.url) as db:
            cursor = db.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []


@pytest.fixture(scope="module")
def server() -> Iterator[postgres_server.PostgresServer]:
    if why := postgres_server.missing():
        pytest.skip(why)
    pytest.importorskip("psycopg")
    with postgres_server.running() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def table(request: pytest.FixtureRequest, tmp_path: Path):
    if request.param == "sqlite":
        return SqliteTable(tmp_path)
    return PostgresTable(request.getfixturevalue("server"), tmp_path)


@pytest.fixture
async def sink():
    opened: list[DatabaseSink] = []

    def make(table, sql=INSERT, parameters=PARAMETERS, **settings) -> DatabaseSink:
        given = {"sql": sql, "parameters": parameters, **table.settings, **settings}
        model = DatabaseSinkSettings.model_validate(given)
        folder = table.site / "channels" / "adt"
        opened.append(DatabaseSink.open(model, folder=folder, lane="adt/out", clock=SystemClock()))
        return opened[-1]

    yield make
    for one in opened:
        await one.close()


HOSTILE = ["'; DROP TABLE visit; --", 'x"y', "%s %(mrn)s %%", ":mrn", "a\\b", "\u4e2d\u6587", "0'--", "$$x$$"]


class TestBoth:
    async def test_values_are_given_by_name(self, table, sink) -> None:
        one = delivery("C1")
        (outcome,) = await sink(table).send([one])
        assert outcome == Delivered(note="1 row")
        assert table.run("SELECT * FROM visit") == [("C1", "900001", NAME, one.seq, "yes")]

    @pytest.mark.parametrize("value", HOSTILE)
    async def test_a_value_is_never_a_part_of_the_statement(self, table, sink, value) -> None:
        body = messages.adt(control_id="C1", family="HERE", charset="UNICODE UTF-8")
        body = body.replace(b"HERE", value.replace("\\", "\\E\\").encode())
        (outcome,) = await sink(table).send([delivery(body=body)])
        assert isinstance(outcome, Delivered)
        assert table.run("SELECT family FROM visit") == [(value,)]

    async def test_a_unique_key_and_on_conflict_make_it_once(self, table, sink) -> None:
        lane = sink(table, sql=INSERT + " ON CONFLICT (control_id) DO NOTHING")
        one = delivery("C1")
        outcomes = [*await lane.send([one]), *await lane.send([one])]
        assert outcomes == [Delivered(note="1 row"), Delivered(note="0 rows")]
        assert len(table.run("SELECT * FROM visit")) == 1

    async def test_without_on_conflict_the_second_is_refused_and_no_value_is_told(self, table, sink) -> None:
        lane = sink(table)
        await lane.send([delivery(NAME)])
        (outcome,) = await lane.send([delivery(NAME)])
        assert isinstance(outcome, Refused)
        assert outcome.ack_code == "AE"
        assert NAME.lower() not in outcome.note.lower()

    async def test_several_statements_are_one_transaction(self, table, sink) -> None:
        sql = [INSERT, "INSERT INTO visit (control_id, stays) VALUES (:control_id || '-2', NULL)"]
        (outcome,) = await sink(table, sql=sql).send([delivery("C1")])
        assert isinstance(outcome, Refused)
        assert table.run("SELECT * FROM visit") == []

    async def test_an_empty_value_is_null_unless_it_is_to_be_text(self, table, sink) -> None:
        body = messages.adt(control_id="C1", family="")
        await sink(table).send([delivery(body=body)])
        await sink(table, empty="text").send([delivery(body=body.replace(b"|C1|", b"|C2|"))])
        assert table.run("SELECT control_id, family FROM visit ORDER BY 1") == [("C1", None), ("C2", "")]

    async def test_the_body_as_bytes(self, table, sink) -> None:
        kind = "BLOB" if isinstance(table, SqliteTable) else "BYTEA"
        table.run("DROP TABLE visit")
        table.run(f"CREATE TABLE visit (raw {kind})")
        one = delivery("C1")
        (outcome,) = await sink(table, sql="INSERT INTO visit VALUES (:segmill_body)", parameters={}).send([one])
        assert isinstance(outcome, Delivered), outcome
        ((raw,),) = table.run("SELECT raw FROM visit")
        assert bytes(raw) == one.body

    async def test_a_missing_table_is_retried_until_somebody_makes_it(self, table, sink) -> None:
        lane = sink(table)
        table.run("DROP TABLE visit")
        (outcome,) = await lane.send([delivery("C1")])
        assert isinstance(outcome, Refused)
        assert outcome.ack_code == "AR"
        table.run(TABLE)
        assert [type(o) for o in await lane.send([delivery("C1")])] == [Delivered]

    async def test_a_message_that_cannot_be_read(self, table, sink) -> None:
        assert [type(o) for o in await sink(table).send([delivery(body=b"no message")])] == [Unsendable]


class TestSqlite:
    @pytest.fixture
    def table(self, tmp_path: Path) -> SqliteTable:
        return SqliteTable(tmp_path)

    async def test_a_lock_is_waited_for_and_then_tried_again(self, table, sink) -> None:
        other = sqlite3.connect(table.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        lane = sink(table)
        (outcome,) = await lane.send([delivery("C1")])
        assert isinstance(outcome, Unreachable)
        assert "SQLITE_BUSY" in outcome.note
        other.execute("COMMIT")
        other.close()
        assert [type(o) for o in await lane.send([delivery("C1")])] == [Delivered]

    async def test_a_file_that_is_not_there_is_not_made(self, table, sink) -> None:
        table.path.unlink()
        assert [type(o) for o in await sink(table).send([delivery("C1")])] == [Unreachable]
        assert not table.path.exists()

    async def test_a_file_that_is_no_database(self, table, sink) -> None:
        table.path.write_bytes(b"no database at all " * 100)
        assert [type(o) for o in await sink(table).send([delivery("C1")])] == [Unreachable]

    async def test_a_full_disk(self, table, sink) -> None:
        table.run("PRAGMA journal_mode=WAL")
        lane = sink(table)
        await lane.send([delivery("C1")])

        def no_more() -> None:
            pages = lane._database._connection.execute("PRAGMA page_count").fetchone()[0]
            lane._database._connection.execute(f"PRAGMA max_page_count={pages}")

        await asyncio.get_running_loop().run_in_executor(lane._thread, no_more)
        body = messages.adt(control_id="C2", family="x" * 100_000)
        (outcome,) = await lane.send([delivery(body=body)])
        assert isinstance(outcome, Unreachable)
        assert "SQLITE_FULL" in outcome.note
        assert table.run("SELECT control_id FROM visit") == [("C1",)]

    async def test_no_thread_is_left(self, table, sink) -> None:
        lane = sink(table)
        await lane.send([delivery("C1")])
        threads = [thread for thread in threading.enumerate() if thread.name.startswith("database adt/out")]
        await lane.close()
        for thread in threads:
            await asyncio.to_thread(thread.join, 5)
            assert not thread.is_alive()


class TestPostgres:
    async def test_a_server_that_goes_away_and_comes_back(self, server, tmp_path, sink) -> None:
        table = PostgresTable(server, tmp_path)
        lane = sink(table)
        await lane.send([delivery("C1")])
        server.stop()
        for _ in range(2):
            assert [type(o) for o in await lane.send([delivery("C2")])] == [Unreachable]
        server.start()
        assert [type(o) for o in await lane.send([delivery("C2")])] == [Delivered]
        assert len(table.run("SELECT * FROM visit")) == 2

    async def test_a_lock_does_not_hold_the_lane_for_ever(self, server, tmp_path, sink) -> None:
        import psycopg

        table = PostgresTable(server, tmp_path)
        lane = sink(table, timeout="300ms")
        with psycopg.connect(server.url) as other:
            other.execute("LOCK TABLE visit")
            (outcome,) = await lane.send([delivery("C1")])
            assert isinstance(outcome, Unreachable)

        def be_patient() -> None:
            connection = lane._database._connection
            for name in ("statement_timeout", "lock_timeout"):
                connection.execute(f"SET {name} = '60s'")
            connection.commit()

        await asyncio.get_running_loop().run_in_executor(lane._thread, be_patient)
        assert [type(o) for o in await lane.send([delivery("C1")])] == [Delivered]

    async def test_a_value_that_its_column_cannot_hold(self, server, tmp_path, sink) -> None:
        table = PostgresTable(server, tmp_path)
        sql = "INSERT INTO visit (control_id, seq, stays) VALUES (:control_id, :family::int, 'x')"
        lane = sink(table, sql=sql, parameters={"control_id": "=MSH-10", "family": "=PID-5.1"})
        (outcome,) = await lane.send([delivery("C1")])
        assert isinstance(outcome, Refused)
        assert (outcome.ack_code, NAME in outcome.note, "22P02" in outcome.note) == ("AE", False, True)

    def test_without_the_driver_it_says_what_to_install(self, tmp_path, monkeypatch) -> None:
        real = builtins.__import__

        def absent(name, *more):
            if name == "psycopg":
                raise ImportError(name)
            return real(name, *more)

        monkeypatch.setattr(builtins, "__import__", absent)
        model = DatabaseSinkSettings.model_validate({"url": "postgresql://a@b/c", "sql": "SELECT 1"})
        with pytest.raises(ConfigError, match=r"pip install 'segmill\[postgres\]'"):
            DatabaseSink.open(model, folder=tmp_path, lane="adt/out", clock=SystemClock())


class TestSettings:
    @pytest.mark.parametrize(
        ("more", "told"),
        [
            ({"sql": "INSERT INTO t VALUES (:mrm)", "parameters": {"mrn": "=PID-3"}}, "mrm"),
            ({"sql": "SELECT 1", "parameters": {"mrn": "=PID-3"}}, "no statement names"),
            ({"sql": "SELECT 1; SELECT 2"}, "two statements"),
            ({"sql": [""]}, "empty statement"),
            ({"sql": "SELECT 1", "url": "mysql://x/y"}, "not a database"),
            ({"sql": "SELECT 1", "url": "postgresql://a:secret@h/d"}, "must not hold a password"),
        ],
    )
    def test_what_is_wrong_is_told(self, more, told) -> None:
        with pytest.raises(ValueError, match=told):
            DatabaseSinkSettings.model_validate({"url": "sqlite:x.db", **more})

    def test_an_expression_with_a_code_table_is_told_at_the_start(self, tmp_path) -> None:
        model = DatabaseSinkSettings.model_validate(
            {"url": "sqlite:x.db", "sql": "SELECT :a", "parameters": {"a": '=table("t.csv", PID-3)'}}
        )
        with pytest.raises(ConfigError, match="the parameter 'a'"):
            DatabaseSink.open(model, folder=tmp_path / "a" / "b", lane="adt/out", clock=SystemClock())


@pytest.mark.parametrize(
    ("statement", "names"),
    [
        ("SELECT :a, :b, :a", ["a", "b"]),
        ("SELECT ':a' || \":b\", `:c`, [:d]", []),
        ("SELECT 'it''s :a', :b -- :c\n, :d /* :e */", ["b", "d"]),
        ("SELECT x::text, :a::int, $$ :b $$, $t$ :c $t$", ["a"]),
        ("UPDATE t SET a=:a WHERE b>:b AND c LIKE '%:x'", ["a", "b"]),
    ],
)
def test_names_stand_outside_of_quotes_and_comments(statement, names) -> None:
    assert names_in(statement) == names


def test_psycopgs_way_of_writing() -> None:
    assert for_psycopg("SELECT ':x%', :a::int, 5 % :b") == "SELECT ':x%%', %(a)s::int, 5 %% %(b)s"


@pytest.mark.parametrize(("statement", "several"), [("SELECT 1;", False), ("SELECT ';'", False), ("A; B", True)])
def test_a_semicolon_divides(statement, several) -> None:
    assert is_several(statement) is several
