"""Where a finding is: its path as people write it, and its bytes.

The bytes are those of `message.raw`, or of `to_bytes()` when the message was edited since it came.
"""

import re
from bisect import bisect_left
from collections import Counter
from typing import Final, NamedTuple

from engine.hl7.charset import KEEP_BYTES, encoded, text_of
from engine.hl7.delimiters import HEADERS
from engine.hl7.errors import UnencodableText
from engine.hl7.message import Message
from engine.hl7.validate.run import Found

_LONGEST_CHARACTER: Final = 12
"""Bytes, with a shift before it and one behind."""
_NAME: Final = re.compile(r"[A-Z][A-Z0-9]{2}")


class Span(NamedTuple):
    """From byte `start` up to, not including, `end`; both the same where something is missing."""

    start: int
    end: int


class Places:
    """Finds the paths and spans of one message's findings; what it needs for that is made when first asked for."""

    def __init__(self, message: Message) -> None:
        self._message = message
        self._names = message.names()
        self._counts: Counter[str] = Counter()
        self._occurrences: list[int] = []
        for name in self._names:
            self._counts[name] += 1
            self._occurrences.append(self._counts[name])
        self._source, self._segments = _segment_spans(message)

    def path(self, found: Found) -> str:
        """`PID-3[2].1`, `OBX[3]-5`: an index only where there are several."""
        if found.missing:
            return found.missing
        name = self._names[found.segment]
        if found.breach.rule == "segment.unknown" and not self._is_like_a_name(found.segment):
            return f"segment {found.segment + 1}"
        text = name
        if self._counts[name] > 1:
            text += f"[{self._occurrences[found.segment]}]"
        if not found.field:
            return text
        text += f"-{found.field}"
        if found.repetition and self._repeats(found):
            text += f"[{found.repetition}]"
        if found.component:
            text += f".{found.component}"
        if found.subcomponent:
            text += f".{found.subcomponent}"
        return text

    def span(self, found: Found) -> Span:
        """The bytes of the place; where they would be, if there are none."""
        if found.segment >= len(self._segments):
            return Span(len(self._source), len(self._source))
        start, end = self._segments[found.segment]
        if found.missing:
            return Span(start, start)
        if not found.field:
            return Span(start, end)
        text = self._message.segment(found.segment)
        begin, stop = self._characters(text, found)
        if end - start == len(text):
            return Span(start + begin, start + stop)
        codec = self._message.codec
        piece = self._source[start:end]
        first = _bytes_of(piece, text[:begin], codec)
        # Of text with broken shifts, parts are read in another way than the whole: then it is about here.
        return Span(start + first, start + max(first, _bytes_of(piece, text[:stop], codec)))

    def _is_like_a_name(self, segment: int) -> bool:
        """Not a line of text that strayed into the place of a segment: no finding may show that."""
        return _NAME.fullmatch(self._names[segment]) is not None and len(self._message.fields(segment)) > 1

    def _repeats(self, found: Found) -> bool:
        fields = self._message.fields(found.segment)
        mark = self._message.delimiters.cut_repetition
        return found.repetition > 1 or (found.field < len(fields) and mark in fields[found.field])

    def _characters(self, text: str, found: Found) -> tuple[int, int]:
        """The place in the segment's text."""
        delimiters = self._message.delimiters
        number = found.field - 1 if text[:3] in HEADERS else found.field
        begin, end = _part(text, 0, len(text), delimiters.field, number + 1)
        for mark, part in (
            (delimiters.cut_repetition, found.repetition),
            (delimiters.cut_component, found.component),
            (delimiters.cut_subcomponent, found.subcomponent),
        ):
            if part:
                begin, end = _part(text, begin, end, mark, part)
        return begin, end


def _part(text: str, begin: int, end: int, mark: str, number: int) -> tuple[int, int]:
    """The part of `text[begin:end]` with that number, counted from 1; its end for one that is not there."""
    for _ in range(number - 1):
        at = text.find(mark, begin, end)
        if at < 0:
            return end, end
        begin = at + len(mark)
    at = text.find(mark, begin, end)
    return begin, end if at < 0 else at


def _bytes_of(piece: bytes, text: str, codec: str) -> int:
    """How many bytes at the start of a segment's bytes say `text`, its beginning; never more than there are.

    In a set with shifts the same characters can be written in several ways, so there the bytes themselves are read.
    """
    written = _encoded(text, codec)
    if written is not None and piece.startswith(written):
        return len(written)
    count = len(text)
    at = bisect_left(range(len(piece) + 1), count, key=lambda size: len(text_of(piece[:size], codec)))
    at = min(at, len(piece))
    for size in range(at, min(at + _LONGEST_CHARACTER, len(piece)) + 1):
        if text_of(piece[:size], codec) == text:
            return size
    return at


def _segment_spans(message: Message) -> tuple[bytes, list[Span]]:
    """The bytes, and where each segment stands in them.

    Segments stand in the bytes in order and as they are; between them there are only line ends, so that the next
    occurrence is the right one.
    """
    source = message.raw
    if message.is_changed:
        try:
            source = message.to_bytes()
        except UnencodableText:
            return b"", []
    spans: list[Span] = []
    at = 0
    for index in range(len(message)):
        text = message.segment(index)
        piece = _encoded(text, message.codec)
        start = source.find(piece, at) if piece is not None else -1
        if start >= 0 and piece is not None:
            end = start + len(piece)
        else:
            start, end = _next_line(source, at)
        spans.append(Span(start, end))
        at = end
    return source, spans


def _encoded(text: str, codec: str) -> bytes | None:
    try:
        return encoded(text, codec, KEEP_BYTES)
    except UnicodeEncodeError:
        return None


def _next_line(source: bytes, at: int) -> tuple[int, int]:
    """The next piece that ends in CR: for text that has more than one way to be written."""
    while source[at : at + 1] in (b"\r", b"\n") and at < len(source):
        at += 1
    end = source.find(b"\r", at)
    return at, len(source) if end < 0 else end
