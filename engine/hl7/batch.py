"""Cutting a payload that holds several messages, with or without batch headers (spec items 10, 40, 41, 67).

HL7 v2.5.1 section 2.10.3: `[FHS] { [BHS] { [MSH ...] } [BTS] } [FTS]`, every header optional. The delimiters of a
header are its own: those of the messages are not read here at all.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from engine.hl7.lines import has_line

_LINE = (
    rb"((?:\xef\xbb\xbf)?[ \t]*"
    rb"((?:MSH|FHS|BHS)(?=[^0-9A-Za-z\x00-\x20\x7f])|(?:BTS|FTS)(?=[^0-9A-Za-z\x00-\x20\x7f]|[\r\n]|\Z)))"
)
_FIRST_LINE = re.compile(_LINE)
_LATER_LINE = re.compile(rb"[\r\n]" + _LINE)
_MAY_BE_LATER_LINE = re.compile(rb"\r(?:MSH|[FB][HT]S|[ \t\xef])")  # several times faster, for the usual case
_LARGE_BYTES = 1 << 20
_MARKS = (b"\rMSH", b"\n", b"\r ", b"\r\t", b"\r\xef", b"\rBTS", b"\rFTS")
"""What a block of several messages has somewhere: a later MSH, perhaps behind blanks or a byte order mark, or the
trailer of a batch, whose header may be missing (hl7.md item 67)."""
_SEGMENT_END = re.compile(rb"\r\n|\r|\n")
_BTS_COUNT = re.compile(rb"BTS[^0-9A-Za-z\x00-\x20\x7f][ \t]*([0-9]{1,9})(?![0-9.])")
_BLANKS = b" \t\r\n"
_BOM = b"\xef\xbb\xbf"


def may_be_several(payload: bytes) -> bool:
    """Whether `read_batch` has to look at this block; False for nearly all of those that are one message."""
    if not payload.startswith(b"MSH") or 10 in payload:  # LF as a number: `check` of `mllp.framing` says why
        return True
    if len(payload) >= _LARGE_BYTES:
        return has_line(payload, *(mark[1:] for mark in _MARKS if mark[:1] == b"\r"))
    if not (payload.find(b"MSH", 3) >= 0 or b"\rBTS" in payload or b"\rFTS" in payload):
        return False
    return any(mark in payload for mark in _MARKS)


@dataclass(slots=True)
class Group:
    """One batch: BHS and BTS as they stand, b'' for one that is missing, and the numbers of its messages."""

    header: bytes = b""
    trailer: bytes = b""
    members: list[int] = field(default_factory=list)

    @property
    def miscount(self) -> "Miscount | None":
        """What is wrong with BTS-1; None where it is true, empty or missing."""
        return _miscount("BTS-1", self.trailer, len(self.members))


@dataclass(slots=True)
class BatchFile:
    """One file: FHS and FTS as they stand, b'' for one that is missing, and its batches."""

    header: bytes = b""
    trailer: bytes = b""
    groups: list[Group] = field(default_factory=list)

    @property
    def members(self) -> list[int]:
        """The numbers of the messages of all its batches."""
        return [number for group in self.groups for number in group.members]

    @property
    def miscount(self) -> "Miscount | None":
        """What is wrong with FTS-1; None where it is true, empty or missing."""
        return _miscount("FTS-1", self.trailer, len(self.groups))


@dataclass(slots=True, frozen=True)
class Miscount:
    """A trailer that does not say how much there is. `place` is BTS-1 or FTS-1; `said` None: it is no number."""

    place: str
    said: int | None
    found: int

    @property
    def text(self) -> str:
        """A sentence about it."""
        what = "messages" if self.place == "BTS-1" else "batches"
        if self.said is None:
            return f"{self.place} is no number, and there are {self.found} {what}"
        return f"{self.place} says {self.said} {what}, and there are {self.found}"


class Batch:
    """A payload that is more than one message as it stands: its messages by number from 0, and what is around them.

    A message is cut out when it is asked for, so that ten thousand of them are not in memory twice.
    """

    __slots__ = ("_before", "_raw", "_spans", "files")

    def __init__(self, raw: bytes, before: bytes, spans: list[tuple[int, int]], files: list[BatchFile]) -> None:
        self._raw = raw
        self._before = before
        self._spans = spans
        self.files: Sequence[BatchFile] = files

    def __len__(self) -> int:
        """How many messages there are."""
        return len(self._spans)

    def message(self, number: int) -> bytes:
        """The bytes of one message. What stood before all headers and messages stays with the first."""
        start, end = self._spans[number]
        message = _one(self._raw[start:end])
        return self._before + message if number == 0 else message

    def __iter__(self) -> Iterator[bytes]:
        return (self.message(number) for number in range(len(self)))

    @property
    def has_header(self) -> bool:
        """Whether an FHS or a BHS says that it is a batch."""
        return any(file.header or any(group.header for group in file.groups) for file in self.files)

    def miscounts(self) -> list[tuple[Miscount, list[int]]]:
        """Trailers whose count is not true, each with the numbers of the messages that it is about."""
        parts: list[Group | BatchFile] = []
        for file in self.files:
            parts += [*file.groups, file]
        return [(wrong, part.members) for part in parts if (wrong := part.miscount) is not None]


def read_batch(raw: bytes) -> Batch | None:
    """The batch in a payload; None for a payload that is one message as it stands, or nothing that can be read.

    A message begins where a line begins with MSH and a separator, never at those letters inside a text, and ends
    before the next one or before a batch header or trailer. Blank lines between messages belong to none.
    """
    if raw.startswith(b"MSH") and b"\n" not in raw and not _MAY_BE_LATER_LINE.search(raw):
        return None
    first = _FIRST_LINE.match(raw)
    lines = [first] if first else []
    lines += _LATER_LINE.finditer(raw)
    if not lines or (len(lines) == 1 and lines[0][2] == b"MSH"):
        return None
    marks = [(found.start(1), found[2]) for found in lines]
    ends = [start for start, _ in marks[1:]] + [len(raw)]
    spans: list[tuple[int, int]] = []
    builder = _Builder()
    for (start, name), end in zip(marks, ends, strict=True):
        if name == b"MSH":
            builder.message(len(spans))
            spans.append((start, end))
        else:
            builder.line(name, _first_line(raw[start:end]))
    before = raw[: marks[0][0]]
    if not before.removeprefix(_BOM).strip(_BLANKS):
        before = b""
    return Batch(raw, before, spans, builder.files)


def split_batch(raw: bytes) -> list[bytes]:
    """The messages of a payload in order, one item each; a payload that is one message comes back as it is.

    As `read_batch` finds them; headers and trailers are dropped. A batch may be empty: []. What holds neither a
    message nor a header comes back whole, for `Message.parse` to refuse.
    """
    batch = read_batch(raw)
    return [raw] if batch is None else list(batch)


class _Builder:
    """Puts headers, messages and trailers, as they come, into files and batches."""

    def __init__(self) -> None:
        self.files: list[BatchFile] = []
        self._file: BatchFile | None = None
        self._group: Group | None = None

    def message(self, number: int) -> None:
        self._open_group().members.append(number)

    def line(self, name: bytes, text: bytes) -> None:
        if name == b"FHS":
            self._file = self._group = None
            self._open_file().header = text
        elif name == b"BHS":
            self._group = None
            self._open_group().header = text
        elif name == b"BTS":
            self._open_group().trailer = text
            self._group = None
        else:
            self._open_file().trailer = text
            self._file = self._group = None

    def _open_file(self) -> BatchFile:
        if self._file is None:
            self._file = BatchFile()
            self.files.append(self._file)
        return self._file

    def _open_group(self) -> Group:
        if self._group is None:
            self._group = Group()
            self._open_file().groups.append(self._group)
        return self._group


def _miscount(place: str, trailer: bytes, found: int) -> Miscount | None:
    """What is wrong with a trailer's first field; nothing where it is empty or there is no trailer."""
    try:
        text = trailer.decode()
    except UnicodeDecodeError:
        text = trailer.decode("iso8859_1")  # the count is in ASCII, whatever the comment behind it is
    said = text[4:].partition(text[3:4])[0].strip(" ") if len(text) > 4 else ""
    if not said:
        return None
    number = int(said) if said.isascii() and said.isdigit() and len(said) < 10 else None
    return None if number == found else Miscount(place, number, found)


def _first_line(piece: bytes) -> bytes:
    """A header or trailer without its BOM, its line end and what else stands before the next mark."""
    return _SEGMENT_END.split(piece.removeprefix(_BOM).lstrip(b" \t"), 1)[0]


def _one(piece: bytes) -> bytes:
    """Without the blank lines that follow: one segment end, as the message writes it, stays."""
    end = len(piece.rstrip(_BLANKS))
    found = _SEGMENT_END.search(piece, end)
    return piece[: found.end()] if found else piece


def batch_fault(raw: bytes, *, trailer_expected: bool) -> str:
    """What shows that a batch in a file was cut short, as a sentence; '' where nothing does.

    A batch that begins with FHS or BHS ends with FTS or BTS (unless not `trailer_expected`), and a BTS-1 that is a
    number counts the messages of its batch (HL7 v2.5.1 sections 2.10.3, 2.14.3). Over MLLP a block has an end of
    its own; a file has only this.
    """
    first = _FIRST_LINE.match(raw)
    lines = ([first] if first else []) + list(_LATER_LINE.finditer(raw))
    names = [found[2] for found in lines]
    if names[:1] == [b"FHS"] and names[-1] != b"FTS" and trailer_expected:
        return "the file begins with FHS and does not end with FTS: it was cut short"
    if names[:1] == [b"BHS"] and names[-1] != b"BTS" and trailer_expected:
        return "the file begins with BHS and does not end with BTS: it was cut short"
    count = 0
    for found in lines:
        if found[2] == b"MSH":
            count += 1
        elif found[2] == b"BHS":
            count = 0
        elif found[2] == b"BTS":
            said = _BTS_COUNT.match(raw, found.start(2))
            if said is not None and int(said[1]) != count:
                return f"a batch holds {count} message(s) and its BTS-1 says {int(said[1])}"
            count = 0
    return ""
