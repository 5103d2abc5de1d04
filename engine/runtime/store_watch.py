"""Sees to it that the store stays where it is (reliability.md D8).

Every commit looks for itself, so that nothing is acknowledged that went into a file which nobody will find again.
An engine that has nothing to commit looks once a second, so that it does not wait for the next message to find out.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol, runtime_checkable

from engine.ports.store import StoreGone

LOOK_S = 1.0


@runtime_checkable
class PlacedStore(Protocol):
    """A store that is files at a place."""

    def check_place(self) -> None:
        """Raise StoreGone if they were moved, replaced or deleted."""
        ...


async def watch_store(store: object, on_gone: Callable[[BaseException], None]) -> None:
    """Look once a second until cancelled, or until it is gone and `on_gone` was told."""
    if not isinstance(store, PlacedStore):
        return
    while True:
        await asyncio.sleep(LOOK_S)
        try:
            await asyncio.to_thread(store.check_place)
        except StoreGone as error:
            on_gone(error)
            return
