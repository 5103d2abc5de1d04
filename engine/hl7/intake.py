"""From raw bytes to the bytes of one clean message: where it starts, how its segments end, what MSH-18 says.

All of this happens before the character set is known, so it works on bytes, and on text only where the
header cannot be read otherwise (spec items 10, 11, 63).
"""

import re
from typing import NamedTuple

from engine.hl7 import iso2022
from engine.hl7.charset import codec_named, declared_codecs, is_transparent, switching_codec, text_of
from engine.hl7.errors import Notice, UnreadableMessage

_BOM = b"\xef\xbb\xbf"
_START_BLOCK, _END_BLOCK = b"\x0b", b"\x1c"
_BLANKS = bytes(range(0x21))
_HEADER_NAMES = (b"MSH", b"FHS", b"BHS")
_HEADER_LINE = re.compile(rb"[\r\n](?=(?:MSH|FHS|BHS)[^0-9A-Za-z\x00-\x20\x7f])")
_WIDE = (b"\xff\xfe", b"\xfe\xff", b"M\x00S\x00", b"\x00M\x00S", b"M\x00\x00\x00", b"\x00\x00\x00M")
_SEGMENT_NAME = rb"[A-Z][A-Z0-9]{2}"

#: Sets in which a trail byte can look like a delimiter, so that MSH itself must be decoded to find MSH-18.
_COLLIDING = ("gb18030", "big5", "shift_jis", "iso2022_jp", "cp949")


class Declared(NamedTuple):
    """MSH-18 as it stands, and the repetition separator that it is written with ('' for none)."""

    text: str
    repetition: str


def clean(raw: bytes) -> tuple[bytes, list[Notice]]:
    """The message without BOM, leading blanks, frame and whatever stands before its header; with CR segment ends.

    The final CR is left as it is. Raises UnreadableMessage when there is no header.
    """
    notices: list[Notice] = []
    body = raw.removeprefix(_BOM).lstrip(_BLANKS).removeprefix(_BOM)
    if raw[:1] == _START_BLOCK and body.rstrip(b"\r\n").endswith(_END_BLOCK):
        body = body[: body.rindex(_END_BLOCK)]  # a file that holds the MLLP frame too
    if not _starts_with_header(body):
        body = _from_later_header(raw, body)
        notices.append(Notice("W320", "what stood before the first MSH segment was ignored"))
    ended = _with_cr(body)
    if ended is not body:
        notices.append(Notice("W322", "segments end in LF or CRLF instead of CR"))
    return ended, notices


def declared_charset(header: bytes, fallback: str) -> Declared:
    """MSH-18 of the first segment's bytes; `fallback` reads a header that is neither ASCII nor as it declares."""
    if header[:3] != b"MSH":
        return Declared("", "")
    if header.isascii() and b"\x1b" not in header:
        return _declared_in(header.decode("ascii"))
    if b"\x1b" in header:
        # ISO 2022: 万 is `K|` between its shifts.
        found = _declared_in(iso2022.structure(header))
        if found.text.isascii() and (_candidates(found) or switching_codec(*found)):
            return found
    by_bytes = _declared_in(header.decode("iso8859_1"))
    is_ascii_mark = header[3] < 0x80
    if is_ascii_mark and by_bytes.text and _names_transparent(by_bytes):
        return by_bytes
    # A Chinese or Japanese name in MSH-3 to MSH-17 may hold the byte of '|': believe the set under which
    # MSH-18 names that same set.
    for codec in _COLLIDING:
        found = _declared_in(text_of(header, codec))
        if codec in (_candidates(found) or ()):
            return found
    if is_ascii_mark:
        return by_bytes
    try:
        return _declared_in(header.decode("utf_8"))
    except UnicodeDecodeError:
        return _declared_in(text_of(header, codec_named(fallback) or "cp1252"))


def _starts_with_header(body: bytes) -> bool:
    return body.startswith(_HEADER_NAMES) and body[3:4].strip(_BLANKS + b"\x7f") != b"" and not body[3:4].isalnum()


def _from_later_header(raw: bytes, body: bytes) -> bytes:
    if found := _HEADER_LINE.search(body):
        return body[found.end() :]
    if raw.startswith(_WIDE):
        raise UnreadableMessage("the text is UTF-16 or UTF-32, which cannot come over MLLP; UTF-8 can")
    if body.startswith(_HEADER_NAMES):
        raise UnreadableMessage("the fourth character of the message cannot be a field separator", "102")
    raise UnreadableMessage("there is no MSH segment")


def _with_cr(body: bytes) -> bytes:
    """Segment ends as CR (v2.5.1 section 2.5.4), the same object when they are already.

    Without any CR every LF is one. With CRs, a CRLF before a segment's name is one, and a lone LF is data:
    a line end in a text.
    """
    if b"\n" not in body:
        return body
    if b"\r" not in body:
        return body.replace(b"\n", b"\r")
    separator = re.escape(body[3:4])
    follows = rb"(?=" + _SEGMENT_NAME + rb"(?:" + separator + rb"|[\r\n]|\Z)|\r|\Z)"
    ends = body.rstrip(b"\r\n")
    if b"\r" not in ends:
        # Lines in LF and one CR at the very end: the CR came from the sender's framing.
        ended = re.sub(rb"\n(?=" + _SEGMENT_NAME + separator + rb")", b"\r", ends) + body[len(ends) :]
        body = body if ended == body else ended
    ended = re.sub(rb"\r\n+" + follows, b"\r", body)
    return body if ended == body else ended


def _declared_in(header: str) -> Declared:
    field = header[3]
    fields = header.split(field, 18)
    text = fields[17] if len(fields) > 17 else ""
    return Declared(text, fields[1][1:2])


def _candidates(declared: Declared) -> tuple[str, ...] | None:
    return declared_codecs(declared.text, declared.repetition) if declared.text.isascii() else None


def _names_transparent(declared: Declared) -> bool:
    """Whether MSH-18 names a set in which cutting bytes is as good as cutting text."""
    candidates = _candidates(declared)
    return candidates is not None and all(is_transparent(c) for c in candidates)
