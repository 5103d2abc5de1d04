"""Answers as they were last written: consoles ask for the same list every minute, and several for that of one room.

An answer is a function of what is stored of an item, of its status, and of what was asked for: it is kept under these
three, whole, so that nothing ever has to be taken back when an item changes. Only what restricts a query is no part of
it: that says which items are answered, not how.
"""

import threading
from collections.abc import Callable, Hashable, Mapping
from typing import Final

from engine.adapters.dicom.keys import Identifier
from engine.ports.worklist import Shelved
from engine.worklist.item import Attributes

MOST_KEPT: Final = 2048
"""Answers, of three kilobytes each with what they are kept under."""
MOST_BYTES: Final = 16384
"""Of an item that is kept."""
_Key = tuple[Hashable, bytes, str]


class Kept:
    """From any thread."""

    def __init__(self, most: int = MOST_KEPT) -> None:
        self._most = most
        self._kept: dict[_Key, tuple[bytes, bool]] = {}
        self._lock = threading.Lock()

    def written(
        self, form: Hashable, shelved: Shelved, make: Callable[[], tuple[bytes, bool] | None]
    ) -> tuple[bytes, bool] | None:
        """The answer for one item, and whether text was rewritten in it; None where it cannot be made.

        `form`: what `make` depends on beside the item.
        """
        stored = shelved.encoded
        key = (form, stored, shelved.item.status)
        with self._lock:
            found = self._kept.pop(key, None)
            if found is not None:
                self._kept[key] = found  # the last one to go, from now on
                return found
        made = make()
        if made is not None and len(stored) <= MOST_BYTES:
            with self._lock:
                self._kept[key] = made
                while len(self._kept) > self._most:
                    del self._kept[next(iter(self._kept))]
        return made

    def __len__(self) -> int:
        return len(self._kept)


def form_of(identifier: Identifier) -> Hashable:
    """Which keys a query asks for, whatever it asks of them."""
    return _form(identifier.keys), tuple(sorted(identifier.extras.items()))


def _form(asked: Attributes) -> Hashable:
    return tuple(
        (keyword, tuple(_form(part) for part in values if isinstance(part, Mapping)))
        for keyword, values in sorted(asked.items())
    )
