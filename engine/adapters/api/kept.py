"""Searches for values, kept for the session that asked: a page's address names one by a random word, and holds no value.

Nothing of it is written anywhere; it goes with the session, at its end or when its user signs out.
"""

import secrets
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

MOST_SESSIONS: Final = 1000
MOST_OF_ONE: Final = 50
ID_BYTES: Final = 9
ID_PATTERN: Final = r"^[A-Za-z0-9_-]{12}$"


@dataclass(slots=True)
class _Session:
    until_us: int
    texts: OrderedDict[str, str] = field(default_factory=OrderedDict)


class KeptSearches:
    """Used by one loop. Sessions are named by the hash of their secret; the oldest makes room."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[bytes, _Session] = OrderedDict()

    def keep(self, session: bytes, text: str, until_us: int, now_us: int) -> str:
        """The word for it; the same text has the same word as long as it is kept. `until_us`: the session's end."""
        self._drop_ended(now_us)
        kept = self._sessions.setdefault(session, _Session(until_us))
        self._sessions.move_to_end(session)
        for word, known in kept.texts.items():
            if known == text:
                kept.texts.move_to_end(word)
                return word
        word = secrets.token_urlsafe(ID_BYTES)
        kept.texts[word] = text
        while len(kept.texts) > MOST_OF_ONE:
            kept.texts.popitem(last=False)
        while len(self._sessions) > MOST_SESSIONS:
            self._sessions.popitem(last=False)
        return word

    def text(self, session: bytes, word: str) -> str | None:
        """None where it is not kept, or was another session's."""
        kept = self._sessions.get(session)
        return None if kept is None else kept.texts.get(word)

    def forget(self, session: bytes) -> None:
        """All of a session's."""
        self._sessions.pop(session, None)

    def _drop_ended(self, now_us: int) -> None:
        for session in [one for one, kept in self._sessions.items() if kept.until_us < now_us]:
            del self._sessions[session]
