"""Cutting a payload that holds several messages, with or without batch headers (spec item 67).

HL7 v2.5.1 section 2.10.3: `[FHS] { [BHS] { [MSH ...] } [BTS] } [FTS]`, every header optional.
"""

import re

_LINE = (
    rb"((?:\xef\xbb\xbf)?[ \t]*"
    rb"((?:MSH|FHS|BHS)(?=[^0-9A-Za-z\x00-\x20\x7f])|(?:BTS|FTS)(?=[^0-9A-Za-z\x00-\x20\x7f]|[\r\n]|\Z)))"
)
_FIRST_LINE = re.compile(_LINE)
_LATER_LINE = re.compile(rb"[\r\n]" + _LINE)
_MAY_BE_LATER_LINE = re.compile(rb"\r(?:MSH|[FB][HT]S|[ \t\xef])")  # several times faster, for the usual case
_SEGMENT_END = re.compile(rb"\r\n|\r|\n")
_BTS_COUNT = re.compile(rb"BTS[^0-9A-Za-z\x00-\x20\x7f][ \t]*([0-9]{1,9})(?![0-9.])")
_BLANKS = b" \t\r\n"
_BOM = b"\xef\xbb\xbf"


def split_batch(raw: bytes) -> list[bytes]:
    """The messages of a payload in order, one item each; a payload that is one message comes back as it is.

    A message begins where a line begins with MSH and a separator, never at those letters inside a text, and ends
    before the next one or before a batch header or trailer. Blank lines between messages are dropped, and so are
    the headers and trailers themselves; other text before the first message stays with it. A batch may be
    empty: []. What holds neither a message nor a header comes back whole, for `Message.parse` to refuse.
    """
    if raw.startswith(b"MSH") and b"\n" not in raw and not _MAY_BE_LATER_LINE.search(raw):
        return [raw]
    first = _FIRST_LINE.match(raw)
    lines = [first] if first else []
    lines += _LATER_LINE.finditer(raw)
    if not lines or (len(lines) == 1 and lines[0][2] == b"MSH"):
        return [raw]
    marks = [(found.start(1), found[2]) for found in lines]
    ends = [start for start, _ in marks[1:]] + [len(raw)]
    messages = [_one(raw[start:end]) for (start, name), end in zip(marks, ends, strict=True) if name == b"MSH"]
    before = raw[: marks[0][0]]
    if messages and before.removeprefix(_BOM).strip(_BLANKS):
        messages[0] = before + messages[0]
    return messages


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
