"""The answer to a batch: a batch of answers in the same shape (spec item 67; HL7 v2.5.1 section 2.10.3).

One BHS and BTS for each of the sender's, in one FHS and FTS for each of its files. A header of ours is written with
the delimiters and in the character set of the header that it answers; FHS-12 and BHS-12 refer to FHS-11 and BHS-11.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Literal

from engine.hl7.ack import read_ack
from engine.hl7.batch import BatchFile, Group, Miscount
from engine.hl7.charset import bytes_of
from engine.hl7.delimiters import STANDARD
from engine.hl7.err import safe_text
from engine.hl7.errors import UnreadableMessage
from engine.hl7.message import Message

AnswerWith = Literal["all", "errors", "report"]
"""Every answer; those that say no, which may be none; none at all, with counts in the trailers."""

Answers = Sequence[Sequence[bytes]]
"""What each message was answered, by its number and in order, without MLLP frames; () for one that is owed nothing."""


def says_no(answer: bytes) -> bool:
    """Whether an acknowledgement is a negative one."""
    ack = read_ack(answer)
    return ack is not None and ack.code not in ("AA", "CA")


def answer_batch(
    files: Sequence[BatchFile],
    answers: Answers,
    answer_with: AnswerWith = "all",
    *,
    now: datetime,
    next_id: Callable[[], str],
    fallback: str = "cp1252",
) -> bytes:
    """The whole answer to a payload: headers, answers and trailers, each segment ended by CR.

    `now` is aware; `next_id` gives FHS-11 and BHS-11, one a call; `fallback` reads a header that is neither ASCII
    nor UTF-8, as headers do not declare a character set.
    """
    out: list[bytes] = []
    for file in files:
        around = _Edges(file.header, now, next_id, fallback) if file.header else None
        if around is not None:
            out.append(around.start())
        for group in file.groups:
            out += _group(group, answers, answer_with, now, next_id, fallback)
        if around is not None:
            out.append(around.end(len(file.groups), _comment(file.miscount, file.members, answers, answer_with)))
    return b"".join(out)


def _group(
    group: Group,
    answers: Answers,
    answer_with: AnswerWith,
    now: datetime,
    next_id: Callable[[], str],
    fallback: str,
) -> list[bytes]:
    bodies = [
        answer if answer.endswith(b"\r") else answer + b"\r"
        for number in group.members
        for answer in answers[number]
        if answer_with == "all" or (answer_with == "errors" and says_no(answer))
    ]
    if not group.header:
        return bodies
    around = _Edges(group.header, now, next_id, fallback)
    comment = _comment(group.miscount, group.members, answers, answer_with)
    return [around.start(), *bodies, around.end(len(bodies), comment)]


def _comment(wrong: Miscount | None, members: Sequence[int], answers: Answers, answer_with: AnswerWith) -> str:
    """BTS-2 or FTS-2: the report, and that a count was not true."""
    told = []
    if answer_with == "report":
        refused = sum(any(map(says_no, answers[number])) for number in members)
        told.append(f"{len(members)} messages: {len(members) - refused} accepted, {refused} refused")
    if wrong is not None:
        told.append(wrong.text)
    return "; ".join(told)


class _Edges:
    """Writes the header and the trailer that answer one header of the sender's."""

    def __init__(self, header: bytes, now: datetime, next_id: Callable[[], str], fallback: str) -> None:
        self._name = header[:3].decode("ascii")
        self._now = now
        self._next_id = next_id
        try:
            theirs = Message.parse(header, fallback=fallback)
        except UnreadableMessage:
            # Its fourth character cannot separate fields, so there is nothing to take from it.
            self._fields, self._delimiters, self._codec = [""] * 13, STANDARD, "ascii"
        else:
            self._fields = [*theirs.fields(0), *[""] * 12]
            self._delimiters, self._codec = theirs.delimiters, theirs.codec

    def start(self) -> bytes:
        """FHS or BHS: the two sides swapped, the time, our id, and theirs as the reference."""
        d, theirs = self._delimiters, self._fields
        time = self._now.strftime("%Y%m%d%H%M%S%z")
        fields = [self._name, d.written, theirs[5], theirs[6], theirs[3], theirs[4], time, "", "", "", self._next_id()]
        return self._line(d.field.join([*fields, theirs[11]]).rstrip(d.field))

    def end(self, count: int, comment: str) -> bytes:
        """FTS or BTS: how much there is, and a comment."""
        d = self._delimiters
        told = f"{d.field}{safe_text(comment, d)}" if comment else ""
        return self._line(f"{self._name[0]}TS{d.field}{count}{told}")

    def _line(self, text: str) -> bytes:
        return bytes_of(f"{text}\r", self._codec)
