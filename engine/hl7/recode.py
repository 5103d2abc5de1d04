r"""A message in another character set, with MSH-18 and MSH-20 to say so (spec items 59, 60 and 62).

Every value means afterwards what it meant before: `\C..\`, `\M..\` and ISO 2022 sequences become the characters that
they switch to, `\Xhh..\` becomes the characters that it means, where its bytes would mean others. What the target
does not have is an error with a place, or is written in another way and counted; never a '?' that nobody asked for.
HL7 v2.5.1 sections 2.7, 2.15.9.18 and 2.15.9.20; tables 0211 and 0356.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from engine.hl7.charset import declared_codecs, is_transparent, switching_codec
from engine.hl7.delimiters import HEADERS, STANDARD, Delimiters
from engine.hl7.errors import UnencodableText
from engine.hl7.escape import escape, hexadecimal, retold, with_others
from engine.hl7.message import Message
from engine.hl7.output import encode_exactly, place_of
from engine.hl7.path import compile_path

Policy = Literal["hold", "escape", "replace"]

NAMES: Final = (
    "ASCII",
    *(f"8859/{part}" for part in (1, 2, 3, 4, 5, 6, 7, 8, 9, 15)),
    "UNICODE UTF-8",
    "UNICODE",
    "ISO IR6",
    "ISO IR14",
    "ISO IR87",
    "ISO IR159",
    "JAS2020",
    "JIS X 0202",
    "GB 18030-2000",
    "BIG-5",
    "KS X 1001",
)
"""The names of table 0211 that can be written: not UTF-16 and UTF-32, and CNS 11643, of which there is no codec."""

SWITCHED: Final = "ISO 2022-1994"
_KNOWN: Final = {name.replace(" ", "").replace("-", ""): name for name in NAMES} | {
    "UTF8": "UNICODE UTF-8",
    "ISOIR13": "ISO IR13",
}
_BY_PYTHON: Final = {"", "ASCII", "ISO IR6", "ISO IR87", "ISO IR159", "JAS2020", "JIS X 0202"}
_LONGEST_REPLACEMENT: Final = 10
_MSH_18, _MSH_20 = compile_path("MSH-18"), compile_path("MSH-20")


class UnknownTarget(ValueError):
    """A character set that cannot be written; `wanted` is the name that is at fault."""

    def __init__(self, reason: str, wanted: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wanted = wanted


@dataclass(slots=True, frozen=True)
class Target:
    """What a receiver reads. `declared`: MSH-18, one text a repetition; `switching`: MSH-20.

    `policy`: what becomes of characters that it does not have. `replacement` stands for each, with 'replace'.
    """

    declared: tuple[str, ...]
    codec: str
    switching: str
    policy: Policy = "hold"
    replacement: str = ""

    @property
    def name(self) -> str:
        """As the channel's file writes it."""
        return "~".join(self.declared)


class Recoded(NamedTuple):
    """The message's bytes; how many characters were written in another way, and the path of the first, or ''."""

    body: bytes
    foreign: int
    location: str


def target_of(text: str, policy: Policy = "hold", replacement: str = "") -> Target:
    """The target by its name in table 0211, or several as MSH-18 repeats them (`~ISO IR87~ISO IR159`).

    Raises UnknownTarget, also for a policy that does not go with it.
    """
    names = tuple(_known(name) for name in text.split("~"))
    if not any(names):
        raise UnknownTarget("names no character set", text)
    declared = "~".join(names)
    switching = switching_codec(declared, "~")
    candidates = declared_codecs(declared, "~")
    if candidates and candidates[0].startswith("iso2022") and set(names) <= _BY_PYTHON:
        codec, switched = candidates[0], SWITCHED
    elif len(names) > 1:
        if switching is None:
            raise UnknownTarget("these sets cannot stand in one message", text)
        codec, switched = switching, SWITCHED
    else:
        codec, switched = (candidates[0] if candidates else "ascii"), ""
    if policy == "escape" and not is_transparent(codec):
        raise UnknownTarget(f"'escape' does not go with {text}: the bytes of UTF-8 mean other characters there", text)
    if policy == "replace":
        _check_replacement(replacement, codec, text)
    return Target(names, codec, switched, policy, replacement)


def _known(name: str) -> str:
    squeezed = name.upper().replace(" ", "").replace("_", "").replace("-", "")
    known = _KNOWN.get(squeezed)
    if not squeezed or known is not None:
        return known or ""
    if squeezed in ("UNICODEUTF16", "UNICODEUTF32"):
        raise UnknownTarget(f"{name.strip()} cannot go over MLLP: its bytes hold those that frame a message", name)
    if squeezed.startswith("CNS11643"):
        raise UnknownTarget("CNS 11643-1992 is not known here", name)
    raise UnknownTarget(f"'{name.strip()}' is no character set of HL7 table 0211", name)


def _check_replacement(replacement: str, codec: str, name: str) -> None:
    if len(replacement) > _LONGEST_REPLACEMENT:
        raise UnknownTarget(f"a replacement has at most {_LONGEST_REPLACEMENT} characters", name)
    if not replacement.isprintable() or STANDARD.special.search(replacement):
        raise UnknownTarget("a replacement holds no delimiter and no control character", name)
    if encode_exactly(replacement, codec, "strict") is None:
        raise UnknownTarget(f"{name} does not have the replacement itself", name)


def recode(message: Message, target: Target) -> Recoded:
    """The message as `target` says. The message itself stays as it is. Raises UnencodableText, with the place."""
    work = message.copy()
    _tell_anew(work, target)
    _declare(work, target)
    try:
        return Recoded(work.to_bytes_as(target.codec), 0, "")
    except UnencodableText:
        if target.policy == "hold":
            raise
    foreign, location = _write_others(work, target)
    return Recoded(work.to_bytes_as(target.codec), foreign, location)


def _tell_anew(message: Message, target: Target) -> None:
    """Escape sequences whose meaning hangs on the character set."""
    mark = message.delimiters.cut_escape
    source = message.codec

    def tell(leaf: str, place: str) -> str:
        told = retold(leaf, message.delimiters, source, target.codec)
        if told is None:
            raise UnencodableText("it switches to a character set that cannot be read here", place)
        return told

    for index in range(len(message)):
        if mark in message.segment(index):
            _change_leaves(message, index, mark, tell)


def _declare(message: Message, target: Target) -> None:
    """MSH-18 and MSH-20; in a lone batch segment there is no place for them."""
    if message.names()[0] != "MSH":
        return
    d = message.delimiters
    if len(target.declared) > 1 and not d.repetition:
        raise UnencodableText("MSH-2 has no repetition separator, and MSH-18 must repeat", "MSH-18")
    _MSH_18.set_raw(message, d.repetition.join(target.declared))
    _MSH_20.set_raw(message, target.switching)


def _write_others(message: Message, target: Target) -> tuple[int, str]:
    """Characters that the target does not have, as its policy says: how many, and where the first one is."""
    d = message.delimiters
    if not d.escape and target.policy == "escape":
        return 0, ""  # and the encoding will say where
    known: dict[str, bool] = {}
    seen: list[str] = []

    def is_foreign(character: str) -> bool:
        found = known.get(character)
        if found is None:
            found = known[character] = encode_exactly(character, target.codec, "strict") is None
        return found

    def change(leaf: str, place: str) -> str:
        foreign = 0 if leaf.isascii() else sum(map(is_foreign, leaf))
        if not foreign:
            return leaf
        seen.extend([place] * foreign)
        return with_others(leaf, d, is_foreign, write)

    def write(run: str) -> str:
        return hexadecimal(run, d) if target.policy == "escape" else escape(target.replacement, d) * len(run)

    for index in range(len(message)):
        if encode_exactly(message.segment(index), target.codec, "strict") is None:
            _change_leaves(message, index, "", change)
    return len(seen), seen[0] if seen else ""


def _change_leaves(message: Message, index: int, mark: str, change: Callable[[str, str], str]) -> None:
    """Every leaf of a segment that holds `mark`, as `change(leaf, path of its field)` gives it."""
    d = message.delimiters
    fields = message.fields(index)
    name = fields[0]
    cut = _cutter(d)
    new = fields.copy()
    for number in range(3 if name in HEADERS else 1, len(fields)):
        field = fields[number]
        if not field or mark not in field:
            continue
        place = _place(message, index, number)
        parts = cut.split(field)
        parts[::2] = [change(leaf, place) for leaf in parts[::2]]
        new[number] = "".join(parts)
    if new != fields:
        message.replace_fields(index, new)


def _cutter(d: Delimiters) -> re.Pattern[str]:
    marks = d.repetition + d.component + d.subcomponent
    return re.compile(f"([{re.escape(marks)}])" if marks else "(\r)")


def _place(message: Message, index: int, number: int) -> str:
    """`OBX[3]-5`, or `PID-5` where there is one only; '' in what is no segment."""
    name = message.fields(index)[0]
    same = message.indexes(name)
    return place_of(name, same.index(index) + 1, len(same), number, index)[0]
