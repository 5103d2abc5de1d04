"""What one attempt at a delivery came to, in words that every sink shares."""

from dataclasses import dataclass


@dataclass(slots=True, frozen=True)
class Delivered:
    """The receiver has it: its own AA or CA with our control id, or the file is on stable storage.

    `answer` is the receiver's reply as it came (b'' for files); `note` a short remark for people
    ('written as x.hl7'), without field values.
    """

    answer: bytes = b""
    note: str = ""


@dataclass(slots=True, frozen=True)
class Refused:
    """The receiver answered, and the answer was no: AE, AR, CE or CR with our control id.

    `hl7_code` is the first table 0357 code of its ERR, or ''.
    """

    ack_code: str
    hl7_code: str = ""
    answer: bytes = b""
    note: str = ""


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
