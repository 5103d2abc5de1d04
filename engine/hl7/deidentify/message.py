"""A message without what says who its patient is: each leaf of each field by a rule, and what has no rule is masked.

The rule is that of the field's data type in the message's version, or in the newest for a segment that came later. What
the dictionary does not know (Z-segments, fields behind the last known one, types that vary) is masked leaf by leaf, and
lines that are no segment known or Z go, as they are most often prose with line ends in it: nothing gets through for
being unheard of.
What stays as it came is listed in `_KEPT_TYPES`, `_KEPT_FIELDS` and in what the caller says.
"""

import re
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final

from engine.hl7 import NULL
from engine.hl7.deidentify.pseudonym import Pseudonyms, shifted
from engine.hl7.delimiters import HEADERS
from engine.hl7.dictionary import Dictionary, load
from engine.hl7.dictionary.definitions import SegmentDef
from engine.hl7.escape import escape, unescape
from engine.hl7.message import Message
from engine.hl7.path import Path

Leaf = Callable[[str], str]
"""What becomes of a text, unescaped; never called for '' or for the delete marker."""

_CODE: Final = re.compile(r"[A-Za-z0-9._/+*^-]{1,16}")
_OWN: Final = re.compile(r"Z[A-Z0-9]{2}")
_SHORT: Final = re.compile(r"[A-Z0-9]{1,2}")
_NUMBER: Final = re.compile(r"[<>=~]{0,2}[+-]?\d{1,9}(\.\d{1,9})?")
_CLOCK: Final = re.compile(r"\d{2}(\d{2}){0,2}(\.\d{1,4})?([+-]\d{4})?", re.ASCII)
_TIME: Final = re.compile(r"(\d{4})(\d\d)?(\d\d)?(\d{0,6}(?:\.\d{1,4})?)([+-]\d{4})?")

_KEPT_FIELDS: Final = frozenset({("MSH", 9), ("MSH", 11), ("MSH", 12), ("MSH", 17), ("MSH", 18), ("MSH", 21)})
_NAMES: Final = frozenset({"XPN", "PN"})
_PEOPLE: Final = frozenset({"XCN", "CN", "PPN"})
_ADDRESSES: Final = frozenset({"XAD", "AD", "SAD"})
_PHONES: Final = frozenset({"XTN", "TN"})
_DATES: Final = frozenset({"TS", "DTM", "DT", "DR"})
_CODED: Final = frozenset({"CE", "CWE", "CNE", "CF"})
_IDS: Final = frozenset({"CX", "CK"})
_ENTITIES: Final = frozenset({"EI", "EIP"})
_NEWEST: Final = "2.8.2"
_TEXTS: Final = frozenset({"TX", "FT"})
_KEPT_TYPES: Final = frozenset({"HD", "PL", "ID", "IS", "SI"})
"""Systems and places of the hospital, and codes; what does not look like a code is masked all the same."""


class Deidentifier:
    """Makes messages of messages: the same key makes the same pseudonyms, over all of them.

    `keep` and `drop` are fields or segments (`OBX-3`, `ZBE`) that stay as they are, or go; they count before all other
    rules, the longer path before the shorter. `patient` is the place of what a patient is known by: all dates of one
    are off by the same weeks.
    """

    def __init__(self, key: bytes, patient: Path, keep: Sequence[Path] = (), drop: Sequence[Path] = ()) -> None:
        self._pseudonyms = Pseudonyms(key)
        self._patient = patient
        self._said = {(path.segment, path.field): "keep" for path in keep}
        self._said |= {(path.segment, path.field): "drop" for path in drop}

    def message(self, message: Message) -> bytes:
        """The message with pseudonyms, as it is sent; in the character set in which it came."""
        made = message.copy()
        by = self._pseudonyms.shift(self._patient.get(message) or "")
        rules = _Rules(self._pseudonyms, by, load(message.get("MSH-12.1") or ""))
        gone: list[int] = []
        for index, name in enumerate(message.names()):
            said = self._said.get((name, None))
            if index and (said == "drop" or (said is None and not rules.knows(name))):
                gone.append(index)
            else:
                fields = self._fields(message, index, name, rules)
                if fields != message.fields(index):
                    made.replace_fields(index, fields)
        made.delete_segments(gone)
        return made.to_bytes()

    def _fields(self, message: Message, index: int, name: str, rules: "_Rules") -> list[str]:
        fields = message.fields(index).copy()
        for number in range(1, len(fields)):
            said = self._said.get((name, number)) or self._said.get((name, None))
            is_kept = said == "keep" or (name, number) in _KEPT_FIELDS or (name in HEADERS and number <= 2)
            if said == "drop" and not (name in HEADERS and number <= 2):
                fields[number] = ""
            elif fields[number] and not is_kept:
                fields[number] = _field(message, fields[number], rules.of(name, number, fields))
        return fields


def _field(message: Message, text: str, rule: "Rule") -> str:
    d, codec = message.delimiters, message.codec

    def leaf(raw: str, change: Leaf | None) -> str:
        if not raw or raw == NULL:
            return raw
        return escape(change(unescape(raw, d, codec)), d) if change is not None else ""

    def component(raw: str, number: int) -> str:
        parts = raw.split(d.cut_subcomponent)
        return d.subcomponent.join(leaf(part, rule(number, at)) for at, part in enumerate(parts, 1))

    repetitions = [
        d.component.join(component(part, number) for number, part in enumerate(repetition.split(d.cut_component), 1))
        for repetition in text.split(d.cut_repetition)
    ]
    return d.repetition.join(repetitions)


Rule = Callable[[int, int], Leaf | None]
"""By component and subcomponent; None: the leaf goes."""


class _Rules:
    """What becomes of the fields of one message, whose dates are off `by` so much."""

    def __init__(self, pseudonyms: Pseudonyms, by: timedelta, dictionary: Dictionary) -> None:
        self._to = pseudonyms
        self._by = by
        self._dictionary = dictionary
        self._newest = load(_NEWEST)

    def _segment(self, name: str) -> SegmentDef | None:
        """By the version of the message; senders that say 2.3 write segments of later ones all the same."""
        return self._dictionary.segment(name) or self._newest.segment(name)

    def knows(self, segment: str) -> bool:
        """Whether it is a segment of the standard, or may be one of the site's own."""
        if segment in HEADERS:
            return False  # a header within a message is none; its first fields would not even be looked at
        return _OWN.fullmatch(segment) is not None or self._segment(segment) is not None

    def of(self, segment: str, number: int, fields: Sequence[str]) -> Rule:
        definition = self._segment(segment)
        field = definition.field(number) if definition is not None else None
        kind = field.data_type if field is not None else ""
        if (segment, number) == ("OBX", 5):
            kind = fields[2]
            if kind in ("NM", "SN"):
                return lambda component, part: self._number
        return self._of_type(kind)

    def _of_type(self, kind: str) -> Rule:
        to = self._to
        masked: Rule = lambda component, part: to.shaped  # noqa: E731
        if kind in _NAMES:
            return self._components({1: to.family, 2: to.given, 3: to.given, 7: self._short})
        if kind in _PEOPLE:
            places: dict[int, Leaf] = {1: to.shaped, 2: to.family, 3: to.given, 4: to.given}
            return self._components({**places, 9: self._code, 10: self._short, 13: self._code})
        if kind in _IDS:
            return self._components({1: to.shaped, 4: self._code, 5: self._code, 6: self._code}, parts=(4, 6))
        if kind in _ENTITIES:
            return self._entity(kind)
        if kind in ("ED", "RP"):
            about: dict[int, Leaf] = {1: self._code if kind == "ED" else to.shaped, 2: self._code, 3: self._code}
            return self._components({**about, 4: self._code, 5: to.document})
        if kind == "TQ":
            when: dict[int, Leaf] = {4: self._date, 5: self._date, 7: to.token, 8: to.token}
            return self._components({**dict.fromkeys((1, 2, 3, 6, 9), self._code), **when})
        if kind == "TM":
            return lambda component, part: self._clock
        if kind in _ADDRESSES:
            return self._components({1: to.street, 3: to.place, 5: to.shaped, 6: self._code, 7: self._code})
        if kind in _PHONES:
            return self._components({1: to.phone, 2: self._code, 3: self._code})
        if kind in _DATES:
            return lambda component, part: self._date
        if kind in _CODED:
            return lambda component, part: to.token if component in (2, 5, 9) else self._code
        if kind in _TEXTS:
            return lambda component, part: to.token
        if kind in _KEPT_TYPES:
            return lambda component, part: self._code
        return masked

    def _entity(self, kind: str) -> Rule:
        """Number, namespace, universal id and its type; of a pair, in the subcomponents."""
        of: dict[int, Leaf] = {1: self._to.shaped, 2: self._code, 3: self._to.shaped, 4: self._code}
        return (lambda component, part: of.get(part)) if kind == "EIP" else self._components(of)

    def _components(self, of: dict[int, Leaf], parts: Sequence[int] = ()) -> Rule:
        """What is not named goes; and so do subcomponents behind the first, but for those of `parts`."""
        return lambda component, part: of.get(component) if part == 1 or component in parts else None

    def _code(self, text: str) -> str:
        return text if _CODE.fullmatch(text) else self._to.shaped(text)

    def _short(self, text: str) -> str:
        return text if _SHORT.fullmatch(text) else self._to.shaped(text)

    def _number(self, text: str) -> str:
        return text if _NUMBER.fullmatch(text) or not any(map(str.isalnum, text)) else self._to.shaped(text)

    def _clock(self, text: str) -> str:
        return text if _CLOCK.fullmatch(text) else self._to.shaped(text)

    def _date(self, text: str) -> str:
        found = _TIME.fullmatch(text)
        if found is None:
            return self._to.shaped(text)
        year, month, day, rest, zone = found.groups()
        moved = shifted(int(year), int(month or 7), int(day or 1), self._by)
        if moved is None:
            return self._to.shaped(text)
        return moved.strftime("%Y%m%d").zfill(8)[: 4 + 2 * bool(month) + 2 * bool(day)] + rest + (zone or "")
