r"""Documents inside a message: encapsulated data (ED) in OBX-5, taken out and decoded.

HL7 v2.5.1 section 2.A.24: source application, type of data (table 0191), subtype (table 0291), encoding (table 0299)
and the data. Encodings are Base64 (RFC 4648), Hex and A, which is text as it stands. Type and subtype are written in
each other's place by many senders (`^^PDF^Base64^`, `^application^pdf^Base64^`), so both are looked at. A reference
pointer (RP, section 2.A.65) says where a document is and holds none; where a sender writes encapsulated data under that
type, it is read as what it is.

A document comes out whole or not at all: what is cut short, or holds a character that its encoding has not, raises.
"""

import binascii
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from engine.hl7 import NULL
from engine.hl7.charset import bytes_of
from engine.hl7.errors import Hl7Error
from engine.hl7.escape import plain_text
from engine.hl7.fragments import without_additions
from engine.hl7.message import Message

UNKNOWN_EXTENSION: Final = "bin"
_EXTENSIONS: Final = {
    "pdf": "pdf",
    "x-pdf": "pdf",
    "jpeg": "jpg",
    "jpg": "jpg",
    "png": "png",
    "gif": "gif",
    "tiff": "tif",
    "tif": "tif",
    "bmp": "bmp",
    "dicom": "dcm",
    "rtf": "rtf",
    "html": "html",
    "xml": "xml",
    "x-hl7-cda-level-one": "xml",
    "json": "json",
    "sgml": "sgml",
    "postscript": "ps",
    "msword": "doc",
    "zip": "zip",
    "plain": "txt",
    "text": "txt",
    "txt": "txt",
    "ft": "txt",
    "basic": "wav",
    "wav": "wav",
}
"""By table 0291 and by what senders write there, in small letters."""

_DATA_TYPES: Final = ("ED", "RP")
_SLICE: Final = 1 << 18
"""So many characters are decoded at once: a whole document in one call would keep the interpreter from everybody."""
_BLANKS: Final = b" \t\r\n"
_PDF_MARK: Final = b"%PDF-"
_PDF_BEGINS_WITHIN: Final = 1024
"""What readers of PDF tolerate before the mark (ISO 32000-1, annex H, implementation note 13)."""


class BrokenDocument(Hl7Error):
    """A document that cannot be taken out of its message. `location` is a path; the text holds no value."""

    def __init__(self, location: str, reason: str) -> None:
        super().__init__(f"{location}: {reason}")
        self.location = location
        self.reason = reason


@dataclass(slots=True, frozen=True)
class Document:
    """One document. `number` counts those of a message from 1; `segment` is the index of its OBX in `message`.

    `message` is the one it was found in, with continued segments whole. `extension` is one of a closed set, by what
    the message says of the type, and "bin" where that is nothing known. `nearest`: the indexes of the segments of
    `context`.
    """

    number: int
    message: Message
    segment: int
    extension: str
    content: bytes
    nearest: tuple[int, ...]

    def context(self) -> Message:
        """The message as it is about this document: of each segment the one nearest above it, its own OBX included.

        Of segments that stand only below it, the first. The document itself is not in it.
        """
        separator = self.message.delimiters.field
        lines: list[str] = []
        for index in self.nearest:
            line = self.message.segment(index)
            if index == self.segment:
                fields = line.split(separator, 6)
                line = separator.join([*fields[:5], "", *fields[6:]])
            lines.append(line)
        codec = self.message.codec
        return Message.parse(bytes_of("".join(f"{line}\r" for line in lines), codec), fallback=codec)


def documents(message: Message) -> Iterator[Document]:
    """Every document of a message in its order, decoded when it is asked for. Raises BrokenDocument."""
    whole = without_additions(message)
    names = whole.names()
    nearest = {name: index for index, name in reversed([*enumerate(names)])}
    number = seen = 0
    for occurrence, index in enumerate(whole.indexes("OBX"), 1):
        nearest.update(zip(names[seen : index + 1], range(seen, index + 1), strict=True))
        seen = index + 1
        # Cut here, not by the message, which would keep its pieces: a document may be most of what the memory holds.
        fields = whole.segment(index).split(whole.delimiters.field, 6)[:6]
        if len(fields) < 6 or fields[2].strip() not in _DATA_TYPES or fields[5] in ("", NULL):
            continue
        repetitions = fields.pop().split(whole.delimiters.cut_repetition)
        for repetition in range(len(repetitions)):
            components = repetitions[repetition].split(whole.delimiters.cut_component)
            repetitions[repetition] = ""
            if components == [""] or (fields[2].strip() == "RP" and not _is_encapsulated(components)):
                continue
            place = f"OBX[{occurrence}]-5" + (f"[{repetition + 1}]" if len(repetitions) > 1 else "")
            number += 1
            extension = _extension(components)
            content = _content(components, extension, whole, place)
            yield Document(number, whole, index, extension, content, tuple(sorted(nearest.values())))


def _is_encapsulated(components: list[str]) -> bool:
    return len(components) > 4 and bool(components[4]) and components[3].strip().lower() in ("base64", "hex")


def _extension(components: list[str]) -> str:
    """By the subtype, or by the type where that says more."""
    for written in (*components[2:3], *components[1:2]):
        if found := _EXTENSIONS.get(written.strip().lower().rpartition("/")[2]):
            return found
    return UNKNOWN_EXTENSION


def _content(components: list[str], extension: str, message: Message, place: str) -> bytes:
    """The bytes. `components` lets go of them on the way: they may be some megabytes."""
    if len(components) < 5 or not components[4]:
        raise BrokenDocument(f"{place}.5", "there is no document in it")
    encoding = components[3].strip().lower()
    if encoding not in ("base64", "hex", "a"):
        raise BrokenDocument(f"{place}.4", "is none of Base64, Hex and A, which is how the document is written")
    if any(components[5:]):
        raise BrokenDocument(f"{place}.6", "encapsulated data has five components; this one was cut in two")
    text, components[4] = components[4], ""
    if message.delimiters.cut_escape in text:
        text = plain_text(text, message.delimiters, message.codec)
    if encoding == "a":
        return bytes_of(text, message.codec)
    content = _decoded(text, encoding, f"{place}.5")
    if extension == "pdf" and content.find(_PDF_MARK, 0, _PDF_BEGINS_WITHIN + len(_PDF_MARK)) < 0:
        raise BrokenDocument(f"{place}.5", "is called a PDF and is none: it does not begin with %PDF-")
    return content


def _decoded(text: str, encoding: str, place: str) -> bytes:
    """Base64 or Hex, in slices. Blanks and line ends between the characters are no part of either."""
    out = io.BytesIO()
    name, group = ("Base64", 4) if encoding == "base64" else ("Hex", 2)
    rest, is_padded = b"", False
    for start in range(0, len(text), _SLICE):
        try:
            part = rest + text[start : start + _SLICE].encode("ascii").translate(None, _BLANKS)
            cut = len(part) - len(part) % group
            part, rest = part[:cut], part[cut:]
            if is_padded and part:
                raise BrokenDocument(place, "something follows the end of the Base64")
            if encoding == "base64":
                out.write(binascii.a2b_base64(part, strict_mode=True))
                is_padded = is_padded or part.endswith(b"=")
            else:
                out.write(binascii.a2b_hex(part))
        except ValueError:  # binascii.Error and UnicodeEncodeError are such
            raise BrokenDocument(place, f"holds something that is no {name}") from None
    if rest:
        raise BrokenDocument(place, f"is cut short: its length is no multiple of {group}, as that of all {name} is")
    if not out.tell():
        raise BrokenDocument(place, "there is no document in it")
    return out.getvalue()
