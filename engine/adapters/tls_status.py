"""What people and metrics are told of TLS files: lists that run out, ways out that wait for their files (ADR 58)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

LEAST_LEFT: Final = 0.05
"""Of a list's time. Authorities make the next one while a little is left: of a week, Microsoft's half a day."""


@dataclass(slots=True, frozen=True)
class RevocationList:
    """thisUpdate and nextUpdate of a list of revoked certificates, seconds since 1970."""

    begins_s: float
    ends_s: float

    def ends_soon(self, now_s: float) -> bool:
        """Whether the next one is late, or is still to be put in place."""
        return self.ends_s - now_s < LEAST_LEFT * (self.ends_s - self.begins_s)


class TlsStatus:
    """Of one engine. Any thread may ask."""

    def __init__(self) -> None:
        self.lists: Mapping[str, RevocationList] = {}
        """By the place whose senders it is about."""
        self.sources: list[Callable[[], Mapping[str, str]]] = []
        """Each gives the ways out of one kind that wait for their TLS files now, and why."""
        self.reread: Callable[[], None] = lambda: None
        """Look anew when certificates end."""
        self._waited: frozenset[str] = frozenset()

    def waiting(self) -> dict[str, str]:
        """By place (as of `certificate_ends`): why its TLS files cannot be used."""
        found: dict[str, str] = {}
        for source in self.sources:
            found |= source()
        waited, self._waited = self._waited, frozenset(found)
        if waited - self._waited:
            self.reread()  # without a reload
        return found
