"""From a message's segments back to bytes; what cannot be encoded is an error with a place, never a '?'.

Spec items 45, 60 and 62. In UTF-8 and the single-byte sets, decoding and encoding are exact inverses, and the
whole message is encoded at once. The others can write one character in several ways, so there an untouched
segment keeps the bytes that it came with, and an edited one is decoded again to prove that it says the same.
"""

import re
from collections.abc import Mapping, Sequence
from io import BytesIO

from engine.hl7.charset import KEEP_BYTES, encoded, is_transparent, text_of
from engine.hl7.delimiters import HEADERS
from engine.hl7.errors import UnencodableText

_PART_CHARS = 700_000
"""Less than a megabyte, so that its memory is used again: fresh pages for each cost three times the encoding."""
_SURROGATE = re.compile("[\udc80-\udcff]")


def segment_name(segment: str | list[str], field: str) -> str:
    """The name of a segment's text, or of its fields."""
    return segment.partition(field)[0] if isinstance(segment, str) else segment[0]


def segment_text(segment: str | list[str], field: str) -> str:
    """The text of a segment's fields, numbered as `Message.fields` gives them; a text as it is."""
    if isinstance(segment, str):
        return segment
    if segment[0] in HEADERS:
        segment = [segment[0], *segment[2:]]
    return field.join(segment)


def place_of(name: str, occurrence: int, of: int, number: int, index: int) -> tuple[str, str]:
    """A field's path, such as `OBX[3]-5` (`number` 0: the segment's), and ''.

    What stands at a segment's start and is no segment's name may be anything, also a patient's name (a text that was
    broken into lines): then ('', ' (segment 7)').
    """
    if not (len(name) == 3 and name.isascii() and name.isalnum()):
        return "", f" (segment {index + 1})"
    place = name if of == 1 else f"{name}[{occurrence}]"
    return (f"{place}-{number}" if number else place), ""


def encode_whole(text: str, codec: str) -> bytes | None:
    """The whole message at once, or None when a character is not in the set or the set is not transparent."""
    if text.isascii() and codec in ("ascii", "utf_8"):
        return text.encode()
    return _encode(text, codec, KEEP_BYTES) if is_transparent(codec) else None


def encode_in_parts(
    segments: Sequence[str | list[str]],
    codec: str,
    field: str,
    out: BytesIO,
    received: Mapping[int, tuple[object, memoryview]],
) -> bytes | None:
    """The bytes of a large message, written piece by piece: neither its text nor a segment's is there once more.

    `out` is written over from its start, and is of no further use. `received`: texts, and lists of fields, by identity,
    with the bytes that they were read from in this codec. None when a character is not in the set or the set is not
    transparent.
    """
    if not is_transparent(codec):
        return None
    out.seek(0)
    between = encoded(field, codec, "strict")
    for segment in segments:
        if (as_it_came := received.get(id(segment))) is not None:
            out.write(as_it_came[1])
            out.write(b"\r")
            continue
        parts = [segment] if isinstance(segment, str) else segment
        if parts[0] in HEADERS and parts is segment:
            parts = [parts[0], *parts[2:]]
        for number, part in enumerate(parts):
            if number:
                out.write(between)
            if (as_it_came := received.get(id(part))) is not None:
                out.write(as_it_came[1])
                continue
            is_plain = part.isascii()  # then it is the same bytes in each of these sets
            for at in range(0, len(part), _PART_CHARS):
                if is_plain:
                    out.write(part[at : at + _PART_CHARS].encode())
                    continue
                written = _encode(part[at : at + _PART_CHARS], codec, KEEP_BYTES)
                if written is None:
                    return None
                out.write(written)
        out.write(b"\r")
    out.truncate()
    return out.getvalue()


def encode_segments(
    texts: Sequence[str], originals: Sequence[bytes | None] | None, codec: str, field: str, *, transcoded: bool
) -> bytes:
    """The message's bytes, every segment ended by CR.

    `originals`: the received bytes of segments that are untouched, in a set where they may differ from the
    encoded text. `transcoded`: the texts were read with another codec, so bytes that were kept through
    decoding have no meaning here. Raises UnencodableText with the place of the first text that cannot be written.
    """
    errors = "strict" if transcoded else KEEP_BYTES
    pieces: list[bytes] = []
    for index, text in enumerate(texts):
        original = None if originals is None or transcoded else originals[index]
        piece = original if original is not None else encode_exactly(text, codec, errors)
        if piece is None:
            raise _located(texts, codec, errors, field, first=index)
        pieces.append(piece)
    pieces.append(b"")
    return b"\r".join(pieces)


def encode_strictly(texts: Sequence[str], originals: Sequence[bytes | None] | None, codec: str, field: str) -> bytes:
    """The message's bytes in `codec`, of which every one is valid there; else as `encode_segments`.

    `originals`: received bytes in this very codec, for segments that are untouched and hold nothing invalid.
    """
    if is_transparent(codec):
        whole = _encode("\r".join([*texts, ""]), codec, "strict")
        if whole is not None:
            return whole
    pieces: list[bytes] = []
    for index, text in enumerate(texts):
        piece = originals[index] if originals is not None and not _SURROGATE.search(text) else None
        if piece is None:
            piece = encode_exactly(text, codec, "strict")
        if piece is None:
            raise _located(texts, codec, "strict", field, first=index)
        pieces.append(piece)
    pieces.append(b"")
    return b"\r".join(pieces)


def encode_exactly(text: str, codec: str, errors: str = KEEP_BYTES) -> bytes | None:
    """The bytes that decode to `text` again, None when there are none.

    Python's shift_jis writes '¥' as the byte of the escape character: encoding alone proves nothing.
    """
    written = _encode(text, codec, errors)
    if written is None or (not is_transparent(codec) and text_of(written, codec) != text):
        return None
    return written


def _encode(text: str, codec: str, errors: str) -> bytes | None:
    try:
        return encoded(text, codec, errors)
    except UnicodeEncodeError:
        return None  # the exception itself holds the text, so it must not travel on


def _located(texts: Sequence[str], codec: str, errors: str, field: str, first: int = 0) -> UnencodableText:
    """The error for the first field that cannot be encoded, named as a path such as `OBX[3]-5`."""
    for index in range(first, len(texts)):
        if encode_exactly(texts[index], codec, errors) is not None:
            continue
        fields = texts[index].split(field)
        name = fields[0]
        if name in HEADERS:
            fields.insert(1, "")
        number = next((n for n, text in enumerate(fields) if encode_exactly(text, codec, errors) is None), 0)
        same = [i for i, text in enumerate(texts) if text.partition(field)[0] == name]
        location, where = place_of(name, same.index(index) + 1, len(same), number, index)
        return UnencodableText(f"the text holds a character that {codec} does not have{where}", location)
    raise AssertionError("only called for texts that cannot be encoded")
