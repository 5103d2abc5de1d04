r"""Escape sequences, read in one pass from left to right (spec items 51 to 55).

HL7 v2.5.1 section 2.7. What stands between two escape characters is a sequence only if it is one of those
below; an escape character that starts none is text (`50\5 mg`), and the next one may start a sequence.

- `\F\ \S\ \T\ \R\ \E\ \P\` and `\Xhh..\` become the characters they mean.
- `\H\ \N\ \.br\ \.sp3\ ... \Cxxyy\ \Mxxyyzz\ \Zhh\` mark up a text and stand for no character. They are part of
  the value as they are, both ways, so a formatted text that is read and set again keeps its form.
  `plain_text` renders them for people, with the characters that `\C..\` and `\M..\` switch to.
"""

import re
from collections.abc import Callable, Iterator
from typing import Literal

from engine.hl7.charset import KEEP_BYTES, decoded, encoded, is_transparent
from engine.hl7.delimiters import Delimiters
from engine.hl7.iso2022 import Shifts

_MARKUP = re.compile(
    r"[HN]|\.(?:br|ce|fi|nf|(?:sp|in|ti|sk) ?[+-]?\d{0,4})"
    r"|C[0-9A-Fa-f]{4}|M[0-9A-Fa-f]{4}(?:[0-9A-Fa-f]{2})?|Z[0-9A-F]+"
)
_HEX = re.compile(r"[Xx]((?:[0-9A-Fa-f]{2})+)")
_SWITCH = re.compile(r"[CM]((?:[0-9A-Fa-f]{2}){2,3})")
_BY_REACH = re.compile("[\x00-\x7f]+|[\udc80-\udcff]+|[^\x00-\x7f\udc80-\udcff]+")
_LAYOUT = re.compile(r"\.(sp|in|ti|sk) ?([+-]?\d*)")
_MOST_BLANKS = 999

_CONTROLS = {"\r": "X0D", "\n": "X0A", "\x0b": "X0B", "\x1c": "X1C"}


def unescape(text: str, delimiters: Delimiters, codec: str = "utf_8") -> str:
    r"""The value that a leaf's text stands for; markup stays as it is.

    `codec` gives `\Xhh..\` its meaning: adjacent runs are joined, then decoded by it, else as UTF-8, else as
    8859/1; in a single-byte set valid UTF-8 comes first, as it does for a whole message. A leading 00 before 0D
    or 0A is dropped: HAPI writes CR as `\X000d\`.
    """
    mark = delimiters.cut_escape
    if mark not in text:
        return text
    out: list[str] = []
    run = bytearray()
    for literal, sequence in _tokens(text, mark):
        if sequence is not None and (found := _HEX.fullmatch(sequence)):
            run += bytes.fromhex(found[1])
            continue
        if run:
            out.append(_characters(bytes(run), codec))
            run.clear()
        if sequence is None:
            out.append(literal)
        else:
            meaning = _delimiter(sequence, delimiters)
            out.append(f"{mark}{sequence}{mark}" if meaning is None else meaning)
    if run:
        out.append(_characters(bytes(run), codec))
    return "".join(out)


def escape(value: str, delimiters: Delimiters) -> str:
    r"""`value` as the text of a leaf: delimiters, CR, LF, VT and FS escaped, markup and all else as it is.

    `unescape` gives `value` back. A final truncation character, where MSH-2 has one, is escaped, as it
    would say that the value was cut (v2.7 section 2.5.5.2). Raises ValueError, without the value, when the
    message has no escape character and `value` needs one.
    """
    truncated = delimiters.truncation and value.endswith(delimiters.truncation)
    if not truncated and not delimiters.are_in(value):
        return value
    mark = delimiters.escape
    if not mark:
        raise ValueError("the value holds a delimiter or control character, and the message has no escape character")
    tail = ""
    if truncated:
        value, tail = value[:-1], f"{mark}P{mark}"
    codes = _codes(delimiters)
    out: list[str] = []
    for literal, sequence in _tokens(value, mark, markup_only=True):
        if sequence is not None:
            out.append(f"{mark}{sequence}{mark}")
        elif delimiters.special.search(literal) is None:
            out.append(literal)
        else:
            out.append("".join([f"{mark}{codes[c]}{mark}" if c in codes else c for c in literal]))
    return "".join(out) + tail


def reencode(text: str, source: Delimiters, target: Delimiters, codec: str = "utf_8") -> str:
    """A raw field of a message with `source` delimiters, as a message with `target` ones writes it (spec item 55).

    Raises ValueError, without the text, when the field uses a delimiter that `target` has not.
    """
    if source == target:
        return text
    levels = (
        (source.cut_repetition, target.repetition),
        (source.cut_component, target.component),
        (source.cut_subcomponent, target.subcomponent),
    )
    return _reencode_level(text, levels, source, target, codec)


def plain_text(text: str, delimiters: Delimiters, codec: str = "utf_8") -> str:
    r"""A leaf's text for people: as `unescape`, with layout rendered and highlighting dropped (spec item 53, FT).

    Lossy, so never for forwarding. `\.br\` and `\.ce\` are one line end, `\.spN\` is N of them, `\.inN\` and
    `\.tiN\` are N blanks on a new line, `\.skN\` is N blanks; local sequences are dropped. What stands behind a
    `\C..\` or `\M..\` is read in the set that it switches to (v2.5.1 section 2.7.3, data types FT, ST and TX,
    spec item 58), to the end of the text at most; where that cannot be done, the text behind it stays as it is.
    """
    mark = delimiters.cut_escape
    if mark not in text:
        return text
    out: list[str] = []
    for kind, piece in _switched(text, delimiters, codec):
        match kind:
            case "sequence" if _MARKUP.fullmatch(piece):
                out.append(_layout(piece))
            case "sequence":
                out.append(unescape(f"{mark}{piece}{mark}", delimiters, codec))
            case "unknown":
                pass
            case _:
                out.append(piece)
    return "".join(out)


def retold(text: str, delimiters: Delimiters, codec: str, target: str) -> str | None:
    r"""A leaf's text so that it means under the codec `target` what it means under `codec`.

    Characters behind `\C..\` and `\M..\` stand for themselves afterwards, and so do those of `\Xhh..\` where the
    bytes would mean something else. None for a switch, or text behind one, that cannot be read here.
    """
    mark = delimiters.cut_escape
    if mark not in text:
        return text
    pieces = list(_switched(text, delimiters, codec))
    out: list[str] = []
    is_same = True
    for kind, piece in pieces:
        match kind:
            case "unread" | "unknown":
                return None
            case "characters":
                is_same = False
                out.append(escape(piece, delimiters))
            case "sequence" if (found := _HEX.fullmatch(piece)) and not _means_the_same(found[1], codec, target):
                is_same = False
                out.append(escape(_characters(bytes.fromhex(found[1]), codec), delimiters))
            case "sequence" if _SWITCH.fullmatch(piece):
                is_same = False
            case "sequence":
                out.append(f"{mark}{piece}{mark}")
            case _:
                # Next to what has changed, a lone escape character could begin a sequence that was none.
                out.append(piece.replace(mark, f"{mark}E{mark}"))
    return text if is_same else "".join(out)


def with_others(
    text: str, delimiters: Delimiters, is_foreign: Callable[[str], bool], write: Callable[[str], str]
) -> str:
    r"""A leaf's text with each run of foreign characters as `write` gives it: escaped text, no delimiter as it is."""
    mark = delimiters.cut_escape
    out: list[str] = []
    for literal, sequence in _tokens(text, mark):
        if sequence is not None:
            out.append(f"{mark}{sequence}{mark}")
            continue
        run = ""
        for character in literal:
            if is_foreign(character):
                run += character
                continue
            if run:
                out.append(write(run))
                run = ""
            out.append(f"{mark}E{mark}" if character == mark else character)
        if run:
            out.append(write(run))
    return "".join(out)


def hexadecimal(text: str, delimiters: Delimiters) -> str:
    r"""`\Xhh..\` of the text's bytes in UTF-8; those of lone surrogates are the bytes that they stand for."""
    return f"{delimiters.escape}X{text.encode('utf_8', KEEP_BYTES).hex().upper()}{delimiters.escape}"


_Kind = Literal["literal", "sequence", "characters", "unread", "unknown"]
"""Text as it stands; a sequence; what is read behind a switch; text behind one that cannot be read; such a switch."""


def _switched(text: str, delimiters: Delimiters, codec: str) -> Iterator[tuple[_Kind, str]]:
    """The text in pieces, with what stands behind a switch of the character set read as characters."""
    mark = delimiters.cut_escape
    shifts = Shifts()
    run: list[str] = []
    for literal, sequence in _joined_hex(text, mark):
        switch = _SWITCH.fullmatch(sequence) if sequence is not None else None
        is_markup = sequence is not None and _MARKUP.fullmatch(sequence) is not None
        if not is_markup and not shifts.is_at_start:
            run.append(literal if sequence is None else unescape(f"{mark}{sequence}{mark}", delimiters, codec))
            continue
        if run:
            yield _read_run("".join(run), shifts, codec)
            run.clear()
        if sequence is None:
            yield "literal", literal
        elif switch is not None and not shifts.designate(bytes.fromhex(switch[1])):
            yield "unknown", sequence
        else:
            yield "sequence", sequence
    if run:
        yield _read_run("".join(run), shifts, codec)


def _read_run(run: str, shifts: Shifts, codec: str) -> tuple[_Kind, str]:
    """What stands behind a switch: ('characters', its meaning), or ('unread', as it is)."""
    has_bytes = is_transparent(codec) and codec not in ("utf_8", "utf-8")
    out: list[str] = []
    try:
        for found in _BY_REACH.finditer(run):
            part = found[0]
            is_ascii = part.isascii()
            if is_ascii or (shifts.upper is not None and (has_bytes or "\udc80" <= part[0] <= "\udcff")):
                part = shifts.decode(encoded(part, codec if not is_ascii else "ascii", KEEP_BYTES))
            out.append(part)
    except (ValueError, UnicodeEncodeError):
        return "unread", run
    return "characters", "".join(out)


def _means_the_same(digits: str, codec: str, target: str) -> bool:
    """Whether these bytes are, for a reader of `target`, what they are for one of `codec`; also if they are no text."""
    data = bytes.fromhex(digits)
    if data.isascii() or codec == target:
        return True
    meant = _text(data, codec)
    return meant is None or meant == _text(data, target)


def sequences(text: str, delimiters: Delimiters) -> Iterator[tuple[str, str | None]]:
    """A leaf's text in pieces: (literal, None), or ('', an escape sequence without its escape characters)."""
    return _tokens(text, delimiters.cut_escape)


def _tokens(text: str, mark: str, *, markup_only: bool = False) -> Iterator[tuple[str, str | None]]:
    """The text in pieces: (literal, None), or ('', sequence without its escape characters)."""
    parts = text.split(mark)
    if parts[0]:
        yield parts[0], None
    at, last = 1, len(parts) - 1
    while at <= last:
        part = parts[at]
        if at < last and _is_sequence(part, markup_only):
            yield "", part
            if parts[at + 1]:
                yield parts[at + 1], None
            at += 2
        else:
            yield mark + part, None
            at += 1


def _joined_hex(text: str, mark: str) -> Iterator[tuple[str, str | None]]:
    run = ""
    for literal, sequence in _tokens(text, mark):
        if sequence is not None and _HEX.fullmatch(sequence):
            run += sequence[1:]
            continue
        if run:
            yield "", f"X{run}"
            run = ""
        yield literal, sequence
    if run:
        yield "", f"X{run}"


def _is_sequence(part: str, markup_only: bool) -> bool:
    if not markup_only and (part in ("F", "S", "T", "R", "E", "P") or _HEX.fullmatch(part)):
        return True
    return _MARKUP.fullmatch(part) is not None


def _delimiter(sequence: str, d: Delimiters) -> str | None:
    match sequence:
        case "F":
            return d.field
        case "S":
            return d.component or "^"
        case "T":
            return d.subcomponent or "&"
        case "R":
            return d.repetition or "~"
        case "E":
            return d.escape
        case "P":
            return d.truncation or "#"
        case _:
            return None


def _codes(d: Delimiters) -> dict[str, str]:
    marks = ((d.field, "F"), (d.component, "S"), (d.subcomponent, "T"), (d.repetition, "R"), (d.escape, "E"))
    return _CONTROLS | {mark: code for mark, code in marks if mark}


def _characters(data: bytes, codec: str) -> str:
    data = data.replace(b"\x00\r", b"\r").replace(b"\x00\n", b"\n")
    text = _text(data, codec)
    return data.decode("iso8859_1") if text is None else text


def _text(data: bytes, codec: str) -> str | None:
    for name in ("utf_8", codec) if is_transparent(codec) else (codec, "utf_8"):
        try:
            return decoded(data, name)
        except UnicodeDecodeError:
            continue
    return None


def _layout(sequence: str) -> str:
    if sequence in (".br", ".ce"):
        return "\n"
    found = _LAYOUT.fullmatch(sequence)
    if not found:
        return ""
    digits = found[2].lstrip("+-")
    count = 0 if found[2].startswith("-") else min(int(digits), _MOST_BLANKS) if digits else 1
    match found[1]:
        case "sp":
            return "\n" * count
        case "sk":
            return " " * count
        case _:
            return "\n" + " " * count if digits else "\n"


def _reencode_level(
    text: str, levels: tuple[tuple[str, str], ...], source: Delimiters, target: Delimiters, codec: str
) -> str:
    if not levels:
        value = unescape(text, source, codec)
        if source.escape and target.escape and source.escape != target.escape:
            value = "".join(
                [
                    lit if seq is None else f"{target.escape}{seq}{target.escape}"
                    for lit, seq in _tokens(value, source.escape, markup_only=True)
                ]
            )
        return escape(value, target)
    (cut, join), rest = levels[0], levels[1:]
    parts = text.split(cut)
    if len(parts) > 1 and not join:
        raise ValueError("the field uses a delimiter that the other message does not have")
    return join.join([_reencode_level(part, rest, source, target, codec) for part in parts])
