"""What one attempt at a delivery came to, in words that every sink shares."""

from dataclasses import dataclass
from typing import Final

UNDECIDED: Final = -1
"""An epoch that no worklist has."""


@dataclass(slots=True, frozen=True)
class Effects:
    """What a delivery does to a worklist in the store, which is written in the transaction that records its end.

    `worklist`: its name. `changes`: of `engine.worklist.changes`, in order; all of them, or the delivery is not done.
    `seen`: the worklist's epoch that they were decided on; UNDECIDED: none that there is, so that the delivery is
    tried again. `who`: who did it, as the items' histories say it. `then`: the epoch that they leave behind, None for
    the next one: what was decided on top of them names it as seen, and is written after them or not at all.
    """

    worklist: str
    changes: tuple[object, ...]
    seen: int
    who: str = ""
    then: int | None = None


@dataclass(slots=True, frozen=True)
class Delivered:
    """The receiver has it: its own AA or CA with our control id, or the file is on stable storage.

    `answer` is the receiver's reply as it came (b'' for files); `note` a short remark for people
    ('written as x.hl7'), without field values. `effects`: where the receiver is a worklist in the store, it has it
    once these are written, with the record of the delivery.
    """

    answer: bytes = b""
    note: str = ""
    effects: Effects | None = None


@dataclass(slots=True, frozen=True)
class Refused:
    """The receiver answered, and the answer was no: AE, AR, CE or CR with our control id.

    `hl7_code` is the first table 0357 code of its ERR, or ''. `location` and `text`: where in the message, as a path,
    and why, where the engine's own rules refused it; never a value.
    """

    ack_code: str
    hl7_code: str = ""
    answer: bytes = b""
    note: str = ""
    location: str = ""
    text: str = ""


@dataclass(slots=True, frozen=True)
class Unreachable:
    """Nothing was sent, or it cannot have been taken in: refused connection, DNS, TLS, folder gone, disk full."""

    note: str


@dataclass(slots=True, frozen=True)
class Unanswered:
    """It was sent, and no answer that counts came: time-out, closed, garbage, foreign MSA-2.

    The receiver may or may not have it, so the next attempt may be a duplicate there.
    """

    note: str
    answer: bytes = b""


@dataclass(slots=True, frozen=True)
class Unsendable:
    """The message itself cannot go this way (VT or FS in the payload, no charset, no file name): a retry is no use."""

    note: str


Outcome = Delivered | Refused | Unreachable | Unanswered | Unsendable
