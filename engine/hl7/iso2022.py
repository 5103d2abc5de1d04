r"""ISO 2022: text that changes its character set on the way, by escape sequences (spec item 58).

HL7 v2.5.1 sections 2.7.3 (`\Cxxyy\`, `\Mxxyyzz\`: the same sequences in hexadecimal, without ESC), 2.15.9.18
(MSH-18: the sets) and 2.15.9.20 (MSH-20: `ISO 2022-1994`); ECMA-35.

Python has the Japanese combinations (`iso2022_jp...`), and those are tried first. Here is the rest: any of the
sets below beside each other, the single-byte ones in the upper half (G1), the Japanese ones in the lower (G0).
Segment ends bring the first set back. Bytes that mean nothing raise UnicodeDecodeError, or stay as lone surrogates.
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

PREFIX = "iso_2022:"
"""Begins the name of a codec of this module; after it, the sets of MSH-18 by the names of `SETS`, the first may be ''.

`iso_2022:,8859/7` is ASCII with Greek beside it."""


class CharacterSet(NamedTuple):
    """One set. `designations`: what makes it active, without ESC, the one to write first. `size`: bytes a character.

    `codec` decodes its bytes in the upper half, each character behind `lead`; `in_upper` says where we write it.
    """

    designations: tuple[bytes, ...]
    codec: str
    size: int = 1
    lead: bytes = b""
    in_upper: bool = True


def _latin(final: str, part: int) -> CharacterSet:
    return CharacterSet((b"-" + final.encode(),), f"iso8859_{part}")


SETS: Mapping[str, CharacterSet] = MappingProxyType(
    {
        "8859/1": _latin("A", 1),
        "8859/2": _latin("B", 2),
        "8859/3": _latin("C", 3),
        "8859/4": _latin("D", 4),
        "8859/5": _latin("L", 5),
        "8859/6": _latin("G", 6),
        "8859/7": _latin("F", 7),
        "8859/8": _latin("H", 8),
        "8859/9": _latin("M", 9),
        "8859/15": _latin("b", 15),
        "ISOIR13": CharacterSet((b")I", b"(I"), "shift_jis"),
        "ISOIR87": CharacterSet((b"$B", b"$@", b"$(B", b"$(@", b"$)B"), "euc_jp", 2, in_upper=False),
        "ISOIR159": CharacterSet((b"$(D", b"$)D"), "euc_jp", 2, b"\x8f", in_upper=False),
        "KSX1001": CharacterSet((b"$)C", b"$(C"), "euc_kr", 2),
        "GB2312": CharacterSet((b"$)A", b"$A", b"$(A"), "gb2312", 2),
    }
)
"""By their name in MSH-18, in capitals, without blanks. ASCII is no entry: it is what a text begins and ends in."""

_ASCII = (b"(B", b"(J", b")J")  # JIS Roman too: read otherwise, its '\' would be a yen sign and escape nothing
_BY_DESIGNATION: Mapping[bytes, CharacterSet] = MappingProxyType(
    {designation: found for found in SETS.values() for designation in found.designations}
)
_SEQUENCE = re.compile(rb"\x1b([\x20-\x2f]+[\x30-\x7e])")
_HALVES = re.compile(rb"[\x00-\x20\x7f]+|[\x21-\x7e]+|[\x80-\xff]+")
_LAST_CONTROL = 0x20


class Shifts:
    """Which sets are active now: none stands for ASCII below and for nothing above."""

    __slots__ = ("_first", "lower", "upper")

    def __init__(self, first: CharacterSet | None = None) -> None:
        self._first = first
        self.lower: CharacterSet | None = None
        self.upper = first

    @property
    def is_at_start(self) -> bool:
        """Whether nothing but the first set is active."""
        return self.lower is None and self.upper is self._first

    def reset(self) -> None:
        """As at the start."""
        self.lower, self.upper = None, self._first

    def designate(self, sequence: bytes) -> bool:
        """Make a set active by its escape sequence (without ESC); False for one that is not known here."""
        if sequence in _ASCII:
            if not sequence.startswith(b")"):
                self.lower = None
            return True
        found = _BY_DESIGNATION.get(sequence)
        if found is None:
            return False
        if sequence.lstrip(b"$")[:1] in (b")", b"-"):
            self.upper = found
        else:
            self.lower = found
        return True

    def decode(self, data: bytes) -> str:
        """Bytes without an escape sequence. Raises ValueError for one that means nothing; it holds no text."""
        out: list[str] = []
        for found in _HALVES.finditer(data):
            part = found[0]
            if part[0] <= _LAST_CONTROL or part[0] == 0x7F:
                out.append(part.decode("ascii"))
            elif part[0] < 0x80:
                out.append(part.decode("ascii") if self.lower is None else _meaning(part, self.lower))
            elif self.upper is None:
                raise ValueError("no set is active in the upper half")
            else:
                out.append(_meaning(part, self.upper))
        return "".join(out)


def _meaning(data: bytes, among: CharacterSet) -> str:
    upper = bytes([byte | 0x80 for byte in data])
    if len(upper) % among.size:
        raise ValueError("half a character")
    if among.lead:
        upper = b"".join([among.lead + upper[i : i + among.size] for i in range(0, len(upper), among.size)])
    try:
        return upper.decode(among.codec)
    except UnicodeDecodeError:
        raise ValueError("no character of the set") from None


@lru_cache(64)
def _sets(codec: str) -> tuple[CharacterSet | None, tuple[CharacterSet, ...]]:
    """The first set, and all that may be used, of a codec's name."""
    first, *others = codec.removeprefix(PREFIX).split(",")
    return SETS.get(first), tuple(SETS[name] for name in (first, *others) if name)


def structure(header: bytes) -> str:
    """A segment of unknown sets, its delimiters in their places; what lies in the upper half may be any character."""
    return decode(header, f"{PREFIX}8859/1", "surrogateescape")


def codec_of(names: Sequence[str]) -> str | None:
    """The codec for sets named as in `SETS`, the first '' for ASCII; None for one alone, or one that cannot."""
    if len(names) < 2 or any(name and name not in SETS for name in names) or not any(names):
        return None
    first = names[0] if names[0] and SETS[names[0]].in_upper else ""
    others = [name for name in dict.fromkeys(names) if name and name != first]
    return f"{PREFIX}{','.join((first, *others))}"


def decode(data: bytes, codec: str, errors: str = "strict") -> str:
    """`data` as text; `errors` is 'strict' or 'surrogateescape'."""
    first, _ = _sets(codec)
    shifts = Shifts(first)
    out: list[str] = []
    for number, segment in enumerate(data.split(b"\r")):
        if number:
            out.append("\r")
            shifts.reset()
        pieces = _SEQUENCE.split(segment)
        for at, piece in enumerate(pieces):
            if at % 2 and shifts.designate(piece):
                continue
            run = b"\x1b" + piece if at % 2 else piece
            try:
                if at % 2:
                    raise ValueError("an escape sequence that is not known")
                out.append(shifts.decode(run))
            except ValueError as error:
                if errors == "strict":
                    raise UnicodeDecodeError(codec, b"?", 0, 1, str(error)) from None
                out.append(run.decode("ascii", errors))
    return "".join(out)


def encode(text: str, codec: str, errors: str = "strict") -> bytes:
    """The bytes of `text`; escape sequences only where a set must change. `errors` as for `decode`.

    After a character that can be a delimiter every set is named anew: some readers go back to the first one there.
    """
    first, usable = _sets(codec)
    return b"\r".join([_encode_segment(segment, codec, first, usable, errors) for segment in text.split("\r")])


def _encode_segment(
    text: str, codec: str, first: CharacterSet | None, usable: tuple[CharacterSet, ...], errors: str
) -> bytes:
    out = bytearray()
    lower: CharacterSet | None = None
    upper: CharacterSet | None = first
    has_left_first = is_after_mark = False
    for character in text:
        if character.isascii():
            if lower is not None:
                out += b"\x1b(B"
                lower = None
            out += character.encode("ascii")
            is_after_mark = is_after_mark or not (character.isalnum() or character == " ")
            continue
        if errors == "surrogateescape" and "\udc80" <= character <= "\udcff":
            out.append(ord(character) - 0xDC00)
            continue
        among, data = _found(character, codec, usable)
        if among.in_upper:
            if among is not upper or (is_after_mark and has_left_first):
                out += b"\x1b" + among.designations[0]
                has_left_first = True
            upper, is_after_mark = among, False
            out += data
        else:
            if among is not lower:
                out += b"\x1b" + among.designations[0]
            lower = among
            out += bytes([byte & 0x7F for byte in data])
    if lower is not None:
        out += b"\x1b(B"
    return bytes(out)


def _found(character: str, codec: str, usable: tuple[CharacterSet, ...]) -> tuple[CharacterSet, bytes]:
    """The first set that has the character, and its bytes in the upper half."""
    for among in usable:
        try:
            data = character.encode(among.codec)
        except UnicodeEncodeError:
            continue
        data = data.removeprefix(among.lead)
        if len(data) == among.size and min(data) >= 0xA0:
            return among, data
    raise UnicodeEncodeError(codec, "?", 0, 1, "no set has the character")
