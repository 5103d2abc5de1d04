"""What is counted beside the queues: since when an encrypted store has its keys (ADR 54)."""

from contextlib import closing
from pathlib import Path

from engine.adapters.metrics import PrometheusMeter
from engine.adapters.stores.memory import MemoryStore
from engine.adapters.stores.sqlite import SqliteStore
from engine.counting import KEYS_EVERY_S, counted
from engine.model.store_key import NO_KEYS
from tests.adapters.stores.sealed_store import ONE, made
from tests.adapters.test_metrics import samples

NAME = "segmill_store_key_since_timestamp_seconds"


def shown(meter: PrometheusMeter) -> dict[str, float]:
    return {dict(labels)["key"]: value for (name, labels), value in samples(meter).items() if name == NAME}


def test_an_encrypted_store_tells_since_when_it_has_its_keys(tmp_path: Path):
    path, meter = made(tmp_path / "segmill.db", ONE, messages=1), PrometheusMeter()
    with closing(SqliteStore(path, keys=ONE).queries()) as queries:
        assert shown(meter) == {}, "before the first look"
        assert {one.destination for one in counted(queries, meter)()} == {"ris", "pacs"}
        keys = queries.keys_in_use()
    assert keys is not None
    assert shown(meter) == {"site": keys.site_us / 1e6, "data": keys.data_us / 1e6}
    _, body = meter.render()
    assert ONE.current is not None and ONE.current.line() not in body.decode()


def test_a_store_that_is_not_encrypted_has_no_such_series(tmp_path: Path):
    meter = PrometheusMeter()
    with closing(SqliteStore(made(tmp_path / "segmill.db", NO_KEYS, messages=1)).queries()) as queries:
        counted(queries, meter)()
    counted(MemoryStore().queries(), meter)()
    assert shown(meter) == {} and NAME not in meter.render()[1].decode()


def test_keys_are_looked_at_once_a_minute_however_often_queues_are_counted(tmp_path: Path, monkeypatch):
    path, now_s, looks = made(tmp_path / "segmill.db", ONE, messages=1), [0.0], []
    with closing(SqliteStore(path, keys=ONE).queries()) as queries:
        ask = queries.keys_in_use
        monkeypatch.setattr(queries, "keys_in_use", lambda: looks.append(now_s[0]) or ask())
        count = counted(queries, PrometheusMeter(), lambda: now_s[0])
        for at_s in (0.0, 1.0, KEYS_EVERY_S - 1, KEYS_EVERY_S, KEYS_EVERY_S + 1):
            now_s[0] = at_s
            count()
    assert looks == [0.0, KEYS_EVERY_S]
