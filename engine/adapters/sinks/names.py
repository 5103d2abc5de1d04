"""File names made out of messages, which can never lead out of their folder (reliability.md 4.3, path traversal).

A template is text with places in braces; `/` in the text makes subfolders::

    {date(MSH-7)}/{MSH-10}.{ext}      2026-01-02/A1B2C3.hl7
    {channel}/{seq}_{PID-3.1}.hl7     orders/0000184467_MRN77.hl7

    {PID-3.1}                         a value of the message, by any HL7 path
    {date(MSH-7)}                     the date in such a value, 2026-01-02
    {date(MSH-7, "%Y/%m")}            the same in another form, of %Y %m %d %H %M %S
    {seq}                             the number of the message in order of receipt, ten digits
    {channel} {destination}           as they are called
    {ext}                             hl7, json or xml, as the body is

Of a document that is taken out of a message (`documents:`), {ext} is its own, such as pdf, {n} its number in the
message, and a path is read in the segments nearest above it.

What a message brings can never be more than a part of one name: only letters and digits of ASCII, `.`, `_`
and `-` pass, no first dot or dash, at most 64 characters. Any other value is cut down to these and gets a
hash of the whole, so that two values never become one name.
"""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass

from engine.config.finding import BadValue
from engine.hl7.convert import form_of
from engine.hl7.errors import PathError
from engine.hl7.message import Message
from engine.hl7.path import Path, compile_path
from engine.model.envelope import Delivery

MAX_VALUE = 64
MAX_NAME = 180  # of 255 that file systems allow: `-999` and room for what a receiver appends
DEFAULT_DATE_FORMAT = "%Y-%m-%d"
NO_DATE = "undated"

_SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}", re.ASCII)
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+", re.ASCII)
_DATE = re.compile(r"date\(\s*(?P<path>[^,]+?)\s*(?:,\s*\"(?P<format>[^\"]*)\"\s*)?\)")
_DATE_FORMAT = re.compile(r"(?:%[YmdHMS]|[A-Za-z0-9._/-])+", re.ASCII)
# Where each part of an HL7 date stands: YYYYMMDDHHMMSS (HL7 v2.5.1 section 2.A.22).
_DATE_PARTS = {"Y": (0, 4), "m": (4, 6), "d": (6, 8), "H": (8, 10), "M": (10, 12), "S": (12, 14)}
# Names that Windows takes for devices, with any extension; the folder may be a share.
_RESERVED = re.compile(r"(?:CON|PRN|AUX|NUL|COM[0-9]|LPT[0-9])(?:\..*)?", re.IGNORECASE)


@dataclass(slots=True, frozen=True)
class Inside:
    """What a name says of a document inside a message: its number there, from 1, and its extension."""

    number: int
    extension: str


Part = Callable[[Message | None, Delivery, Inside | None], str]


@dataclass(slots=True, frozen=True)
class NameTemplate:
    """A compiled template. `needs_message`: parts are read out of the message; `needs_header`: out of its MSH alone."""

    parts: tuple[Part | str, ...]
    needs_message: bool
    needs_header: bool

    def name(self, message: Message | None, delivery: Delivery, inside: Inside | None = None) -> tuple[str, ...]:
        """The subfolders, if any, and the file's name, all safe. `message` may be None unless it is needed."""
        text = "".join(part if isinstance(part, str) else part(message, delivery, inside) for part in self.parts)
        return tuple(safe_name(piece) for piece in text.split("/"))


def safe_value(value: str) -> str:
    """A value as a part of a name. Two different values do not give the same text (48 bits of hash)."""
    # A text that looks like a shortened one could be mistaken for it, so it is shortened as well.
    if _SAFE.fullmatch(value) and not _looks_shortened(value):
        return value
    digest = hashlib.blake2b(value.encode("utf-8", "surrogateescape"), digest_size=6).hexdigest()
    kept = _UNSAFE.sub("_", value).lstrip(".-")[: MAX_VALUE - 14]
    return f"{kept}_{digest}" if kept.strip("_") else f"_{digest}"


def safe_name(name: str) -> str:
    """One whole name of a file or folder: no `.` or `..`, not hidden, no option, no device, not too long."""
    name = name.rstrip(". ")  # Windows drops them
    if not name or name[0] in ".- ":
        name = "_" + name.lstrip(".- ")
    if _RESERVED.fullmatch(name):
        name = "_" + name
    if len(name) > MAX_NAME:
        digest = hashlib.blake2b(name.encode(), digest_size=6).hexdigest()
        stem, dot, extension = name.rpartition(".")
        tail = f"_{digest}{dot}{extension}" if dot and len(extension) <= 16 else f"_{digest}"
        name = (stem if dot and len(extension) <= 16 else name)[: MAX_NAME - len(tail)] + tail
    return name


def compile_name(text: str, *, of_document: bool = False) -> NameTemplate:
    """Read a template, of a message's file or a document's. Raises BadValue with the place of the mistake."""
    parts: list[Part | str] = []
    segments: set[str] = set()
    at = 0
    for found in re.finditer(r"\{([^{}]*)\}", text):
        _add_literal(parts, text[at : found.start()], at)
        part, path = _placeholder(found.group(1), found.start(1), of_document=of_document)
        parts.append(part)
        if path is not None:
            segments.add(path.segment if path.spec.segment_selector is None else "")
        at = found.end()
    _add_literal(parts, text[at:], at)
    _check_shape(text)
    return NameTemplate(tuple(parts), bool(segments), segments == {"MSH"})


def _looks_shortened(value: str) -> bool:
    return re.search(r"_[0-9a-f]{12}\Z", value) is not None


def _add_literal(parts: list[Part | str], literal: str, at: int) -> None:
    bad = re.search(r"[^A-Za-z0-9._ /=+,@()-]", literal)
    if bad:
        raise BadValue(
            f"'{bad.group()}' cannot stand in a file name",
            "values of the message stand in braces, such as {MSH-10}",
            offset=at + bad.start(),
            length=1,
        )
    if literal:
        parts.append(literal)


def _check_shape(text: str) -> None:
    """Folders and the name itself, as far as the template says them: relative, none empty, none `..`."""
    plain = re.sub(r"\{[^{}]*\}", "x", text)
    pieces = plain.split("/")
    if plain.startswith("/"):
        raise BadValue("must be relative to the folder", "leave out the first /", length=1)
    if not pieces[-1].strip(". "):
        raise BadValue("names no file", "such as {date(MSH-7)}/{MSH-10}.hl7")
    if any(not piece.strip(". ") for piece in pieces):
        raise BadValue("has a folder without a name", "no //, ./ or ../")
    if any(piece[0] in ".-" for piece in pieces):
        raise BadValue("has a name that begins with a dot or a dash", "such files are hidden, or taken for options")


def _placeholder(text: str, at: int, *, of_document: bool) -> tuple[Part, Path | None]:
    words: dict[str, Part] = {
        "seq": lambda _, delivery, __: f"{delivery.seq:010d}",
        "channel": lambda _, delivery, __: safe_value(delivery.channel),
        "destination": lambda _, delivery, __: safe_value(delivery.destination),
        "ext": lambda _, delivery, inside: inside.extension if inside is not None else form_of(delivery.body),
    }
    if of_document:
        words["n"] = lambda _, __, inside: str(inside.number) if inside is not None else ""
    if text in words:
        return words[text], None
    if text.startswith("date("):
        found = _DATE.fullmatch(text)
        if found is None:
            raise BadValue("is not understood", 'such as {date(MSH-7)} or {date(MSH-7, "%Y/%m")}', offset=at)
        date_format = found["format"] if found["format"] is not None else DEFAULT_DATE_FORMAT
        if not _DATE_FORMAT.fullmatch(date_format):
            raise BadValue("is not a form of date", "of %Y %m %d %H %M %S, digits, letters and . _ - /", offset=at)
        _check_shape(date_format.replace("%", ""))
        path = _path(found["path"], at + found.start("path"), of_document=of_document)
        return _date_part(path.getter(), date_format), path
    path = _path(text, at, of_document=of_document)
    return _value_part(path.getter()), path


def _path(text: str, at: int, *, of_document: bool) -> Path:
    try:
        path = compile_path(text)
        if path.field is None:
            raise PathError("a whole segment cannot stand in a file name", 0)
        if of_document and path.spec.segment_selector is not None:
            raise PathError(f"a document's name reads the {path.segment} nearest above it, and no other", 0)
        return path
    except PathError as error:
        words = "seq, n, channel" if of_document else "seq, channel"
        raise BadValue(
            error.message,
            f"in braces: an HL7 path, date(path), {words}, destination or ext",
            offset=at + error.column,
        ) from error


def _value_part(get: Callable[[Message], str | None]) -> Part:
    def part(message: Message | None, delivery: Delivery, inside: Inside | None) -> str:
        assert message is not None, "needs_message says so"
        return safe_value(get(message) or "")

    return part


def _date_part(get: Callable[[Message], str | None], date_format: str) -> Part:
    directives = re.findall(r"%(.)|([^%])", date_format)

    def part(message: Message | None, delivery: Delivery, inside: Inside | None) -> str:
        assert message is not None, "needs_message says so"
        text = re.match(r"[0-9]*", get(message) or "", re.ASCII)
        digits = text.group() if text else ""
        made: list[str] = []
        for directive, literal in directives:
            if not directive:
                made.append(literal)
                continue
            start, end = _DATE_PARTS[directive]
            if len(digits) < end:
                return NO_DATE  # the value does not say so exactly, and a made-up date would be a lie
            made.append(digits[start:end])
        return "".join(made)

    return part
