r"""Escape sequences, read in one pass from left to right (spec items 51 to 55).

HL7 v2.5.1 section 2.7. What stands between two escape characters is a sequence only if it is one of those
below; an escape character that starts none is text (`50\5 mg`), and the next one may start a sequence.

- `\F\ \S\ \T\ \R\ \E\ \P\` and `\Xhh..\` become the characters they mean.
- `\H\ \N\ \.br\ \.sp3\ ... \Cxxyy\ \Mxxyyzz\ \Zhh\` mark up a text and stand for no character. They are part of
  the value as they are, both ways, so a formatted text that is read and set again keeps its form.
  `plain_text` renders them for people.
"""

import re
from collections.abc import Iterator

from engine.hl7.delimiters import Delimiters

_MARKUP = re.compile(
    r"[HN]|\.(?:br|ce|fi|nf|(?:sp|in|ti|sk) ?[+-]?\d{0,4})"
    r"|C[0-9A-Fa-f]{4}|M[0-9A-Fa-f]{4}(?:[0-9A-Fa-f]{2})?|Z[0-9A-F]+"
)
_HEX = re.compile(r"[Xx]((?:[0-9A-Fa-f]{2})+)")
_LAYOUT = re.compile(r"\.(sp|in|ti|sk) ?([+-]?\d*)")
_MOST_BLANKS = 999

_CONTROLS = {"\r": "X0D", "\n": "X0A", "\x0b": "X0B", "\x1c": "X1C"}


def unescape(text: str, delimiters: Delimiters, codec: str = "utf_8") -> str:
    r"""The value that a leaf's text stands for; markup stays as it is.

    `codec` gives `\Xhh..\` its meaning: adjacent runs are joined, then decoded by it, else as UTF-8, else as
    8859/1. A leading 00 before 0D or 0A is dropped: HAPI writes CR as `\X000d\`.
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
    if not truncated and delimiters.special.search(value) is None:
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
    `\.tiN\` are N blanks on a new line, `\.skN\` is N blanks; charset switches and local sequences are dropped.
    """
    mark = delimiters.cut_escape
    if mark not in text:
        return text
    return "".join(
        [
            literal
            if sequence is None
            else _layout(sequence)
            if _MARKUP.fullmatch(sequence)
            else unescape(f"{mark}{sequence}{mark}", delimiters, codec)
            for literal, sequence in _joined_hex(text, mark)
        ]
    )


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
    for name in (codec, "utf_8"):
        try:
            return data.decode(name)
        except UnicodeDecodeError:
            continue
    return data.decode("iso8859_1")


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
