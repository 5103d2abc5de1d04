"""The texts of a large message of plain ASCII, read a step at a time, so that others are served in between.

A large segment is read as its fields, where it has no more than MOST_FIELDS: whoever edits one of them, or reads one,
has them then, and what is large is there as text once. To cut a text of 20 MB into its fields takes 10 to 20 ms.
"""

from collections.abc import Generator, Iterator

from engine.hl7.delimiters import HEADERS

STEP_BYTES = 1 << 20
"""What one step reads of a large message: fresh memory for it takes about 0.5 ms."""
MOST_FIELDS = 1000
"""So many places are found in a step; a segment of more is a text, and cut when somebody asks for its fields."""

Received = dict[int, tuple[object, memoryview]]
"""Large texts, and lists of fields, by identity, with the bytes that they were read from."""
_NAMES = tuple(name.encode() for name in HEADERS)


def texts_in_steps(raw: bytes) -> Generator[None, None, tuple[list[str | list[str]], Received]]:
    """The segments of `raw`, which begins with `MSH|`: texts, or the fields of large ones."""
    view = memoryview(raw)
    segments: list[str | list[str]] = []
    received: Received = {}
    for start, end in _segments(raw):
        if end - start < STEP_BYTES:
            segments.append(str(view[start:end], "ascii"))
            continue
        places = None if raw.startswith(_NAMES, start) else _fields(raw, start, end)
        yield
        if places is None:
            text = yield from _text(view[start:end])
            received[id(text)] = text, view[start:end]
            segments.append(text)
            continue
        fields: list[str] = []
        for at, until in places:
            field = yield from _text(view[at:until])
            if until - at >= STEP_BYTES:
                received[id(field)] = field, view[at:until]
            fields.append(field)
        received[id(fields)] = fields, view[start:end]
        segments.append(fields)
    return segments, received


def _segments(raw: bytes) -> Iterator[tuple[int, int]]:
    at = 0
    while (end := raw.find(b"\r", at)) >= 0:
        yield at, end
        at = end + 1
    yield at, len(raw)


def _fields(raw: bytes, start: int, end: int) -> list[tuple[int, int]] | None:
    """Where they stand; None where there are too many."""
    found: list[tuple[int, int]] = []
    while len(found) < MOST_FIELDS:
        until = raw.find(b"|", start, end)
        found.append((start, end if until < 0 else until))
        if until < 0:
            return found
        start = until + 1
    return None


def _text(piece: memoryview) -> Generator[None, None, str]:
    if len(piece) < STEP_BYTES:
        return str(piece, "ascii")
    # Joined at the end, all of it would be copied in one go. Added to a local variable, it grows where it is.
    text = ""
    for at in range(0, len(piece), STEP_BYTES):
        text += str(piece[at : at + STEP_BYTES], "ascii")
        yield
    return text
