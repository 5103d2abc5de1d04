"""Pieces of large bodies in the store in plain dicts: nothing is kept of them but how far each body has come."""

from itertools import chain

from engine.model.envelope import Batch


class MemoryPieces:
    """As of the store in SQLite, a piece that is not the next one of its body is refused."""

    def __init__(self) -> None:
        self._ahead: dict[int, tuple[bytes, int]] = {}
        """By the identity of a body, which is held so that no other is taken for it: the bytes that are there."""

    def clear(self) -> None:
        """A new run."""
        self._ahead = {}

    def checked(self, batch: Batch) -> dict[int, tuple[bytes, int]]:
        """What is there behind this batch, for `adopt`. Raises ValueError, and changes nothing."""
        unwanted = set(map(id, batch.unwanted))
        ahead = {key: value for key, value in self._ahead.items() if key not in unwanted}
        for piece in batch.pieces:
            size = ahead.get(id(piece.body), (b"", 0))[1]
            if piece.start != size or not piece.start < piece.end <= len(piece.body):
                raise ValueError(f"{piece} does not follow the {size} bytes that are there")
            ahead[id(piece.body)] = (piece.body, piece.end)
        for intake in batch.intakes:
            ahead.pop(id(intake.raw), None)
        drafts = [*(i.deliveries for i in batch.intakes), *(r.deliveries for r in batch.reprocessed)]
        for draft in chain.from_iterable(drafts):
            ahead.pop(id(draft.body), None)
        return ahead

    def adopt(self, ahead: dict[int, tuple[bytes, int]]) -> None:
        """The batch was kept."""
        self._ahead = ahead
