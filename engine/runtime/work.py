"""What one commit carries, beside those who wait for its parts."""

import asyncio
from collections.abc import Callable, Sequence

from engine.model.envelope import Batch, Delivery, DeliveryResult, Intake, Reprocessed
from engine.model.ids import MessageSeq

Done = Callable[[MessageSeq, list[Delivery]], None]
Refused = Callable[[Exception], None]
Recorded = Callable[[], None]


class Work:
    """One batch with those who wait for it."""

    __slots__ = ("batch", "intakes", "reprocessed", "results")

    def __init__(
        self,
        batch: Batch,
        intakes: list[tuple[Intake, Done, Refused]],
        reprocessed: list[tuple[Reprocessed, Done, Refused]],
        results: list[tuple[DeliveryResult, Recorded | None]],
    ) -> None:
        self.batch = batch
        self.intakes = intakes
        self.reprocessed = reprocessed
        self.results = results

    def singles(self) -> "list[Work]":
        """Each member alone, in order; pieces of large messages stay together."""
        batch = self.batch
        return [
            *([Work(Batch(pieces=batch.pieces, unwanted=batch.unwanted), [], [], [])] if batch.pieces else ()),
            *(Work(Batch(intakes=[e[0]]), [e], [], []) for e in self.intakes),
            *(Work(Batch(reprocessed=[p[0]]), [], [p], []) for p in self.reprocessed),
            *(Work(Batch(results=[r[0]]), [], [], [r]) for r in self.results),
        ]


def joined(works: Sequence[Work]) -> Work:
    """Several in one, in order."""
    pieces = [piece for work in works for piece in work.batch.pieces]
    unwanted = [body for work in works for body in work.batch.unwanted]
    return Work(
        Batch(pieces=pieces, unwanted=unwanted),
        [entry for work in works for entry in work.intakes],
        [item for work in works for item in work.reprocessed],
        [result for work in works for result in work.results],
    )


def noticed(end: asyncio.Future[None], tell: Callable[..., None] | None) -> Callable[..., None]:
    """As `tell`, which hears of the outcome of a part; `end` ends behind it, whatever it was."""

    def told(*of: object) -> None:
        try:
            if tell is not None:
                tell(*of)
        finally:
            if not end.done():
                end.set_result(None)

    return told
