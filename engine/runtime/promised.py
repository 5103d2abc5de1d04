"""Whose answer the sender of a stored message was promised, by the files that the message was accepted by.

A channel's files may have said `delivered(x)` then and `delivered(y)` now. What y says of such a message is nobody's
answer, unless its sender asks again once nobody waits for x any more, and is told to wait for y, or a person has it
processed again by the files of now: the message's version is those from then on.
"""

from engine.config.recorded import awaited_by
from engine.model.ids import DestinationName, VersionId
from engine.ports.store import StoreQueries


class Promised:
    """Looks into each version once."""

    def __init__(self, queries: StoreQueries) -> None:
        self._queries = queries
        self._known: dict[VersionId, DestinationName] = {}

    def is_now(self, version: VersionId, destination: DestinationName) -> None:
        """The files in force are this version, and make senders wait for this destination."""
        self._known[version] = destination

    def by(self, version: VersionId) -> DestinationName:
        """Whose answer that version makes senders wait for, '' for nobody's. Raises StoreError."""
        found = self._known.get(version)
        if found is None:
            found = self._known[version] = awaited_by(self._queries.version_files(version) or {})
        return found
