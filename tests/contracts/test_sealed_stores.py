"""A store whose values are sealed keeps the contract of its port as the plain one does: what stands beside messages."""

from pathlib import Path

import pytest

from engine.adapters.stores.sqlite import SqliteStore
from engine.model.store_key import StoreKey, StoreKeys
from engine.ports.store import Store
from engine.testing.access_contract import AccessContract
from engine.testing.hand_off_contract import HandOffContract
from engine.testing.operation_contract import OperationContract
from engine.testing.step_contract import StepContract
from engine.testing.worklist_contract import WorklistContract
from tests.contracts.test_stores import SqliteBench

KEYS = StoreKeys(StoreKey(bytes(range(32))))


class SealedBench(SqliteBench):
    """The same bench, of a store with a key."""

    def _open(self, path: Path) -> Store:
        store = SqliteStore(path, keys=KEYS)
        store.open()
        self._opened.append(store)
        return store

    def second(self) -> Store:
        return SqliteStore(self._opened[-1].path, keys=KEYS)


class TestWorklistsOfSealedStore(WorklistContract):
    @pytest.fixture
    def bench(self, tmp_path):
        bench = SealedBench(tmp_path)
        yield bench
        bench.close()


class TestStepsOfSealedStore(StepContract):
    @pytest.fixture
    def bench(self, tmp_path):
        bench = SealedBench(tmp_path)
        yield bench
        bench.close()


class TestHandOffsOfSealedStore(HandOffContract):
    @pytest.fixture
    def bench(self, tmp_path):
        bench = SealedBench(tmp_path)
        yield bench
        bench.close()


class TestAccessOfSealedStore(AccessContract):
    @pytest.fixture
    def bench(self, tmp_path):
        bench = SealedBench(tmp_path)
        yield bench
        bench.close()


class TestOperationsOfSealedStore(OperationContract):
    @pytest.fixture
    def bench(self, tmp_path):
        bench = SealedBench(tmp_path)
        yield bench
        bench.close()
