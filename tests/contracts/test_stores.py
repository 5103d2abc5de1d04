"""Every store that ships keeps the contract of its port."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import ClassVar

import pytest

from engine.adapters.stores.memory import MemoryStore
from engine.adapters.stores.row_checks import ROW_DAMAGED_NOTE
from engine.adapters.stores.sealed_tables import TABLES
from engine.adapters.stores.sealing import Sealing, opened
from engine.adapters.stores.sqlite import SqliteStore
from engine.adapters.stores.unlocking import unlock
from engine.model.ids import MessageSeq
from engine.model.store_key import NO_KEYS, StoreKey, StoreKeys
from engine.ports.store import Store
from engine.testing.access_contract import AccessContract
from engine.testing.hand_off_contract import HandOffContract
from engine.testing.operation_contract import OperationContract
from engine.testing.search_contract import SearchContract
from engine.testing.step_contract import StepContract
from engine.testing.store_contract import StoreContract
from engine.testing.worklist_contract import WorklistContract


class SqliteBench:
    """A store in a folder; a crash is the copy of its files as they lie there, which is what kill -9 leaves."""

    keys = NO_KEYS

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._runs = 0
        self._opened: list[SqliteStore] = []
        self._damages: list[MessageSeq] = []
        self.store: Store = self._open(folder / "run0" / "store.db")

    def _open(self, path: Path) -> Store:
        store = SqliteStore(path, keys=self.keys)
        store.open()
        self._opened.append(store)
        return store

    def restart(self, *, clean: bool) -> Store:
        last = self._opened[-1]
        if clean:
            last.close()
        self._runs += 1
        folder = self._folder / f"run{self._runs}"
        shutil.copytree(last.path.parent, folder, ignore=shutil.ignore_patterns("*.lock", "*-shm"))
        self._rot(folder / "store.db")
        self.store = self._open(folder / "store.db")
        return self.store

    def _rot(self, path: Path) -> None:
        if self._damages:
            db = sqlite3.connect(path)
            for seq in self._damages:
                ((id_, raw),) = db.execute(
                    "SELECT b.id, b.bytes FROM body b JOIN message m ON m.body = b.id WHERE m.seq = ?", (seq,)
                )
                db.execute("UPDATE body SET bytes = ? WHERE id = ?", (bytes([raw[0] ^ 1]) + raw[1:], id_))
            db.commit()
            db.close()
            self._damages.clear()

    def check_rows(self) -> None:
        """Whatever was done to a row, its checksum followed."""
        queries = SqliteStore(self._opened[-1].path, keys=self.keys).queries()
        try:
            for message in queries.messages():
                assert ROW_DAMAGED_NOTE not in message.findings
                assert all(d.note != ROW_DAMAGED_NOTE for d in queries.deliveries(message.seq))
        finally:
            queries.close()

    def second(self) -> Store:
        return SqliteStore(self._opened[-1].path, keys=self.keys)

    def damage(self, seq: MessageSeq) -> None:
        self._damages.append(seq)

    def close(self) -> None:
        for store in self._opened:
            store.close()


class SealedBench(SqliteBench):
    """A store that is encrypted: to whoever uses it, it is as any other."""

    keys = StoreKeys(StoreKey(bytes(range(32))))

    def check_rows(self) -> None:
        super().check_rows()
        self.check_sealed()

    def check_sealed(self) -> None:
        """Whatever stands in a column that is to be sealed was sealed there, and opens."""
        path = self._opened[-1].path
        sealing = Sealing()
        with closing(sqlite3.connect(path)) as db:
            unlock(db, path, self.keys, sealing)
            for table in TABLES:
                names = dict.fromkeys((*table.key, *(name for c in table.columns for name in (*c.row, c.name))))
                for row in db.execute(f"SELECT {', '.join(names)} FROM {table.name}"):
                    values = dict(zip(names, row, strict=True))
                    for column in table.columns:
                        if (table.name, values.get("id")) not in self._rotten:
                            opened(sealing, table, column, values)

    def _rot(self, path: Path) -> None:
        self._rotten |= {("body", self._body_of(path, seq)) for seq in self._damages}
        super()._rot(path)

    _rotten: ClassVar[frozenset[tuple[str, object]]] = frozenset()

    @staticmethod
    def _body_of(path: Path, seq: MessageSeq) -> int:
        with closing(sqlite3.connect(path)) as db:
            return db.execute("SELECT body FROM message WHERE seq = ?", (seq,)).fetchone()[0]


class TestSqliteStore(StoreContract):
    @pytest.fixture
    def bench(self, tmp_path):
        bench = SqliteBench(tmp_path)
        yield bench
        bench.check_rows()
        bench.close()


class MemoryBench:
    """A store in memory: the same object through all its stops."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.store.open()

    def restart(self, *, clean: bool) -> Store:
        if clean:
            self.store.close()
        else:
            self.store.crash()
        self.store.open()
        return self.store

    def second(self) -> Store:
        return self.store

    def damage(self, seq: MessageSeq) -> None:
        self.store.damage(seq)


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def bench(self):
        return MemoryBench()


class TestOperationsOfSqliteStore(OperationContract):
    @pytest.fixture
    def bench(self, tmp_path):
        bench = SqliteBench(tmp_path)
        yield bench
        bench.check_rows()
        bench.close()


class TestOperationsOfMemoryStore(OperationContract):
    @pytest.fixture
    def bench(self):
        return MemoryBench()


class TestAccessOfSqliteStore(AccessContract):
    @pytest.fixture
    def bench(self, tmp_path):
        bench = SqliteBench(tmp_path)
        yield bench
        bench.check_rows()
        bench.close()


class TestAccessOfMemoryStore(AccessContract):
    @pytest.fixture
    def bench(self):
        return MemoryBench()


class TestWorklistsOfSqliteStore(WorklistContract):
    @pytest.fixture
    def bench(self, tmp_path):
        bench = SqliteBench(tmp_path)
        yield bench
        bench.close()


class TestWorklistsOfMemoryStore(WorklistContract):
    @pytest.fixture
    def bench(self):
        return MemoryBench()


class TestStepsOfSqliteStore(StepContract):
    @pytest.fixture
    def bench(self, tmp_path):
        bench = SqliteBench(tmp_path)
        yield bench
        bench.close()


class TestStepsOfMemoryStore(StepContract):
    @pytest.fixture
    def bench(self):
        return MemoryBench()


class TestHandOffsOfSqliteStore(HandOffContract):
    @pytest.fixture
    def bench(self, tmp_path):
        bench = SqliteBench(tmp_path)
        yield bench
        bench.close()


class TestHandOffsOfMemoryStore(HandOffContract):
    @pytest.fixture
    def bench(self):
        return MemoryBench()


class TestSearchesOfSqliteStore(SearchContract):
    @pytest.fixture
    def bench(self, tmp_path):
        bench = SqliteBench(tmp_path)
        yield bench
        bench.check_rows()
        bench.close()


class TestSearchesOfMemoryStore(SearchContract):
    @pytest.fixture
    def bench(self):
        return MemoryBench()


class TestSealedStore(StoreContract):
    @pytest.fixture
    def bench(self, tmp_path):
        bench = SealedBench(tmp_path)
        yield bench
        bench.check_rows()
        bench.close()


class TestOperationsOfSealedStore(OperationContract):
    @pytest.fixture
    def bench(self, tmp_path):
        bench = SealedBench(tmp_path)
        yield bench
        bench.check_rows()
        bench.close()


class TestAccessOfSealedStore(AccessContract):
    @pytest.fixture
    def bench(self, tmp_path):
        bench = SealedBench(tmp_path)
        yield bench
        bench.check_rows()
        bench.close()


class TestWorklistsOfSealedStore(WorklistContract):
    @pytest.fixture
    def bench(self, tmp_path):
        bench = SealedBench(tmp_path)
        yield bench
        bench.check_sealed()
        bench.close()


class TestStepsOfSealedStore(StepContract):
    @pytest.fixture
    def bench(self, tmp_path):
        bench = SealedBench(tmp_path)
        yield bench
        bench.check_sealed()
        bench.close()


class TestHandOffsOfSealedStore(HandOffContract):
    @pytest.fixture
    def bench(self, tmp_path):
        bench = SealedBench(tmp_path)
        yield bench
        bench.check_sealed()
        bench.close()


class TestSearchesOfSealedStore(SearchContract):
    @pytest.fixture
    def bench(self, tmp_path):
        bench = SealedBench(tmp_path)
        yield bench
        bench.check_rows()
        bench.close()
