"""The forms that a body can have, told apart by how it begins, and the way from each to each."""

import json
import re
from collections.abc import Iterator
from typing import Final, Literal, get_args

from engine.hl7.batch import split_batch
from engine.hl7.convert.json_form import from_json, to_json
from engine.hl7.convert.xml_form import from_xml, to_xml
from engine.hl7.message import Message

Form = Literal["hl7", "json", "xml"]

FORMS: Final[tuple[Form, ...]] = get_args(Form)
"""Also what their files are called: `.hl7`, `.json`, `.xml`."""

_BLANKS: Final = b" \t\r\n"
_BETWEEN = re.compile(r"[ \t\r\n,]*")
_BOM: Final = b"\xef\xbb\xbf"
_DECLARATION = re.compile(rb"<\?xml[ \t\r\n]")


def form_of(body: bytes) -> Form:
    """The form of a body, by its first character; HL7 where it is no other: a message begins with a segment's name."""
    first = body.removeprefix(_BOM).lstrip(_BLANKS)[:1]
    if first == b"<":
        return "xml"
    return "json" if first in (b"{", b"[") else "hl7"


def convert(message: Message, form: Form) -> bytes:
    """The message in a form. Raises UnencodableText as `Message.to_bytes` does, and ConversionError."""
    if form == "json":
        return to_json(message)
    return to_xml(message) if form == "xml" else message.to_bytes()


def hl7_of(body: bytes) -> bytes:
    """The HL7 bytes of one body in any form; those of HL7 are given back as they are. Raises ConversionError."""
    match form_of(body):
        case "json":
            return from_json(body)
        case "xml":
            return from_xml(body)
        case _:
            return body


def split_bodies(content: bytes) -> list[bytes]:
    """One item for each message of a content: HL7 as `split_batch` cuts it, JSON and XML documents behind one another.

    Messages of one JSON list are items too. What cannot be cut comes whole, for `hl7_of` to refuse.
    """
    match form_of(content):
        case "json":
            return list(_documents(content))
        case "xml":
            starts = [found.start() for found in _DECLARATION.finditer(content)]
            starts = [0, *starts[1:]] if starts and not content[: starts[0]].strip() else [0]
            return [content[start:end] for start, end in zip(starts, [*starts[1:], None], strict=True)]
        case _:
            return split_batch(content)


def _documents(content: bytes) -> Iterator[bytes]:
    """The objects of a content, with blanks between them or as one list."""
    decoder = json.JSONDecoder()
    try:
        text = content.decode("utf-8-sig").strip(" \t\r\n")
        end = len(text)
        at = 0
        if text.startswith("[") and text.endswith("]"):
            at, end = 1, end - 1
        while (at := _after_blanks(text, at)) < end:
            start = at
            _, at = decoder.raw_decode(text, at)
            yield text[start:at].encode()
    except (ValueError, RecursionError):
        yield content


def _after_blanks(text: str, at: int) -> int:
    found = _BETWEEN.match(text, at)
    assert found is not None, "it matches nothing too"
    return found.end()
