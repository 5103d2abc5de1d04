"""Of `segmill doctor`: does the site's key open its store, and does all in it open?"""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from engine.cli.exits import Failure
from engine.cli.sites import keys_of

if TYPE_CHECKING:
    from engine.cli.examining import Surroundings, Topic
    from engine.model.store_key import StoreKeys


def examine_encryption(around: "Surroundings", topic: "Topic") -> None:
    """The key's id, and what is in the way of it. With --deep, every sealed value is opened."""
    from engine.adapters.stores.starting import look
    from engine.adapters.stores.unlocking import read_at
    from engine.cli.examining import Finding
    from engine.ports.store import StoreError, WrongKey

    store = around.store
    if store is None or not store.exists():
        topic.well = "there is no store yet"
        return
    try:
        keys = keys_of(around.loaded, around.folder)
    except Failure:
        topic.well = "the site's key cannot be used, as is said of its files"
        return
    try:
        look(store, keys)
        sealed = read_at(store)
        is_sealed = sealed.state == "sealed"
        topic.well = f"encrypted with the key {sealed.key_id}" if is_sealed else "the store is not encrypted"
        wrong = _unopened(store, keys) if around.is_deep and is_sealed else 0
    except WrongKey as exc:
        topic.findings.append(Finding("E584", str(exc), "See: segmill store status; segmill explain E584", str(store)))
        return
    except (StoreError, sqlite3.Error):
        topic.well = "not looked at, as the store cannot be read"
        return
    if wrong:
        advice = "They count as damaged. Compare with a backup; check the disk: segmill explain W582"
        topic.findings.append(Finding("W582", f"{wrong} values of it do not open", advice, str(store)))


def _unopened(store: Path, keys: "StoreKeys") -> int:
    from engine.adapters.stores.resealing import unopened
    from engine.adapters.stores.sealing import Sealing
    from engine.adapters.stores.unlocking import unlock

    sealing = Sealing()
    with closing(sqlite3.connect(f"{store.absolute().as_uri()}?mode=ro", uri=True, timeout=5)) as db:
        unlock(db, store, keys, sealing)
        return sum(1 for _ in unopened(db, sealing))
