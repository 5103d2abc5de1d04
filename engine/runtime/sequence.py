"""The sequence number protocol of MSH-13, receiver's side (HL7 v2.5.1 section 2.10.1; hl7.md item 64).

A sender that values MSH-13 numbers its messages one by one; each is taken only in its turn::

    MSH-13      what we know of its link      answer                          MSA-4
    0           last n / nothing              AA, nothing is processed        n + 1 / -1
    -1          anything                      AA, the link starts anew        -1
    n + 1       last n                        as its channel decides          n + 1
    any n > 0   nothing                       as its channel decides: the base  n
    n           last n                        AA, not processed again         n + 1
    n           last n of another MSH-10      AE, refused                     n + 1
    any other   last n                        AE, refused                     n + 1
    no number                                 AE, refused

A message without MSH-13 is outside of the protocol. A message that is refused, or cannot be stored, does not move
the link on. The last number is durable: it is written in the transaction of its message.

One message of a sender is on its way at a time; those behind it wait for its end, in order, so that a number is
judged by what is on stable storage and by nothing else.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from engine.hl7.message import Message
from engine.model.finding import Finding

NONE = -1
"""No number yet: the next positive one is the base."""

MOST_DIGITS = 15
"""HL7 says NM of 15."""

Verdict = Literal["take", "link", "again", "wrong"]


@dataclass(slots=True, frozen=True)
class Judgement:
    """What becomes of one numbered message.

    `take`: process it, and `number` is the last one then. `link`: nothing to process, and `number` is to be kept,
    None where nothing changes. `again`: it was taken before. `wrong`: refused with `finding`. `expected` is MSA-4.
    """

    verdict: Verdict
    expected: int | None
    number: int | None = None
    finding: Finding | None = None


class SequenceNumbers:
    """The links of one channel's senders."""

    def __init__(self, last: Mapping[str, int]) -> None:
        self._last = dict(last)
        self._busy: dict[str, deque[Callable[[], None]]] = {}

    def waits(self, sender: str, again: Callable[[], None]) -> bool:
        """Whether a message of this sender is on its way; then `again` is called when it has ended."""
        behind = self._busy.get(sender)
        if behind is None:
            return False
        behind.append(again)
        return True

    def judge(self, sender: str, written: str) -> Judgement:
        """By MSH-13 as it stands, which is not empty. `begin` follows, where the message is to be stored."""
        number = number_of(written)
        last = self._last.get(sender, NONE)
        expected = last + 1 if last != NONE else NONE
        if number is None:
            finding = Finding("E239", "error", "MSH-13 is not a sequence number", "MSH-13", "102")
            return Judgement("wrong", expected, None, finding)
        if number == 0:
            return Judgement("link", expected)
        if number == NONE:
            return Judgement("link", NONE, NONE)
        if last == NONE or number == expected:
            return Judgement("take", number, number)
        if number == last:
            return Judgement("again", expected)
        text = f"sequence number {number} is out of turn; {expected} was expected"
        return Judgement("wrong", expected, None, Finding("E239", "error", text, "MSH-13", "207"))

    def other(self, judged: Judgement) -> Judgement:
        """Of a message that has the last number, and was never here: its sender must not take it for stored."""
        text = "another message has this sequence number"
        finding = Finding("E239", "error", text, "MSH-13", "207")
        return Judgement("wrong", judged.expected, None, finding)

    def begin(self, sender: str) -> None:
        """A message of this sender is on its way to the store."""
        self._busy[sender] = deque()

    def ended(self, sender: str, number: int | None) -> None:
        """It is stored, and `number` is its link's last now (-1: none), None for no change; or it was not stored."""
        if number is not None:
            self._last[sender] = number
        behind = self._busy.pop(sender, None)
        while behind:
            behind.popleft()()
            # The next one may be on its way now: those behind it wait for it instead.
            if (now := self._busy.get(sender)) is not None:
                now.extend(behind)
                return


def number_of(written: str) -> int | None:
    """MSH-13 as a number: 0, -1 or positive; None for anything else."""
    text = written.strip()
    digits = text[1:] if text[:1] in "+-" else text
    if not (digits.isascii() and digits.isdigit() and len(digits) <= MOST_DIGITS):
        return None
    number = int(text)
    return number if number >= NONE else None


def written_in(message: Message) -> str:
    """MSH-13 as it stands, '' where the sender does not use it."""
    fields = message.fields(0)
    return fields[13].strip() if len(fields) > 13 and fields[0] == "MSH" else ""
