"""What the console keeps in memory for a session while it is signed in: a notice for the next page, and searches.

The words of a search may quote a patient's number, and so stand in no address: the address has a number drawn at random
that means something to this session alone. All of it ends with the session, and with the engine.
"""

import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

MOST_DESKS: Final = 200
MOST_KEPT: Final = 50
ID_BYTES: Final = 9


@dataclass(slots=True)
class Desk:
    """Of one session. `ends`: what else ends with it, such as a stream that its browser listens to."""

    notice: tuple[str, str] | None = None
    ends: set[Callable[[], None]] = field(default_factory=set)
    _kept: "OrderedDict[str, object]" = field(default_factory=OrderedDict)

    def keep(self, thing: object) -> str:
        """The id under which it can be asked for; the oldest makes room."""
        for id_, kept in self._kept.items():
            if kept == thing:
                self._kept.move_to_end(id_)
                return id_
        id_ = secrets.token_urlsafe(ID_BYTES)
        self._kept[id_] = thing
        while len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
        return id_

    def kept(self, id_: str) -> object | None:
        """What was kept under this id; None: it is another session's, or no longer there."""
        thing = self._kept.get(id_)
        if thing is not None:
            self._kept.move_to_end(id_)
        return thing

    def take_notice(self) -> tuple[str, str] | None:
        """What is to be said on the next page, once: a kind (`ok`, `warn`, `bad`) and a sentence."""
        said, self.notice = self.notice, None
        return said


class Desks:
    """By session. Used by the one loop of the console's server."""

    def __init__(self) -> None:
        self._desks: OrderedDict[bytes, Desk] = OrderedDict()

    def of(self, session: bytes) -> Desk:
        """The desk of the session with this hash; the one that was not used for longest makes room."""
        desk = self._desks.setdefault(session, Desk())
        self._desks.move_to_end(session)
        while len(self._desks) > MOST_DESKS:
            self._clear(next(iter(self._desks)))
        return desk

    def drop(self, session: bytes) -> None:
        """The session has ended."""
        if session in self._desks:
            self._clear(session)

    def _clear(self, session: bytes) -> None:
        for end in list(self._desks.pop(session).ends):
            end()
