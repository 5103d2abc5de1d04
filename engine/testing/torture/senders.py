"""What a sender is put through: every way to answer badly, and what it has to do then.

A message that has not got its own positive answer is sent again; one that has is not. The peer behaves as a row
says for one message, and answers the next one AA: if that is the same message, the sender sent it again, otherwise it
went on (hl7.md items 3, 19, 23, 32).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from engine.testing.peers import KINDS, Behaviour, Kind, parse_behaviour, read_header

Then = Literal["goes on", "sends again"]
SenderVerdict = Literal["standard", "tolerated", "lost", "repeated"]

SENDER_MEANINGS: dict[SenderVerdict, str] = {
    "standard": "as the standard says",
    "tolerated": "not quite, but no message comes to harm",
    "lost": "it went on, though nobody has said that the message arrived",
    "repeated": "it sent a message again that was accepted; receivers get it twice",
}


@dataclass(slots=True, frozen=True)
class SenderRow:
    """One way to answer. `then`: what a sender does; `is_strict`: what else it may do is no mere matter of taste."""

    kind: Kind
    then: Then
    is_strict: bool = True

    @property
    def about(self) -> str:
        """What the peer does."""
        return KINDS[self.kind]

    def judge(self, did: Then) -> SenderVerdict:
        """The verdict on what the sender did."""
        if did == self.then:
            return "standard"
        if not self.is_strict:
            return "tolerated"
        return "lost" if did == "goes on" else "repeated"


SENDER_ROWS: tuple[SenderRow, ...] = (
    SenderRow("AA", "goes on"),
    SenderRow("CA", "goes on", is_strict=False),
    # The content is at fault, so the same message comes to the same end; it is set aside for a person.
    SenderRow("AE", "goes on", is_strict=False),
    SenderRow("CE", "sends again", is_strict=False),
    SenderRow("AR", "sends again", is_strict=False),
    SenderRow("CR", "goes on", is_strict=False),
    SenderRow("CA+AA", "goes on"),
    SenderRow("CA+AE", "goes on", is_strict=False),
    SenderRow("split", "goes on"),
    SenderRow("slow", "goes on"),
    SenderRow("no-cr", "goes on", is_strict=False),
    SenderRow("release-2", "goes on", is_strict=False),
    SenderRow("AA-close", "goes on"),
    SenderRow("twice", "goes on"),
    SenderRow("late", "goes on", is_strict=False),
    SenderRow("none", "sends again"),
    SenderRow("garbage", "sends again"),
    SenderRow("text", "sends again"),
    SenderRow("empty", "sends again"),
    SenderRow("no-msa", "sends again"),
    SenderRow("wrong-id", "sends again"),
    SenderRow("stale-id", "sends again"),
    SenderRow("stale-first", "sends again", is_strict=False),
    SenderRow("half-ack", "sends again"),
    SenderRow("huge", "sends again"),
    SenderRow("close", "sends again"),
    SenderRow("half-close", "sends again"),
    SenderRow("reset", "sends again"),
)
"""All behaviours of the peer but two: `early` and `stall` need a message that is longer than one read."""


class SenderWatch:
    """Sees the messages of a sender under torture; `on_judged` is told of each row.

    `script` is for a ReceivingPeer, `received` is its `on_message`.
    """

    def __init__(self, rows: Sequence[SenderRow], on_judged: Callable[[SenderRow, Then, SenderVerdict], None]) -> None:
        self._rows = rows
        self._on_judged = on_judged
        self._count = 0
        self._before = b""

    @property
    def script(self) -> list[Behaviour]:
        """A row, then a plain AA to tell what the sender did, and so on."""
        return [parse_behaviour(kind) for row in self._rows for kind in (row.kind, "AA")]

    @property
    def is_done(self) -> bool:
        """Whether all rows are judged."""
        return self._count >= 2 * len(self._rows)

    def received(self, payload: bytes, behaviour: Behaviour) -> None:
        """One message came."""
        number, is_answer = divmod(self._count, 2)
        self._count += 1
        control_id = read_header(payload)[10]
        if is_answer and number < len(self._rows):
            row = self._rows[number]
            did: Then = "sends again" if control_id == self._before else "goes on"
            self._on_judged(row, did, row.judge(did))
        self._before = control_id
