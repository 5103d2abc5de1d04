"""Makes a message keep the rules that it breaks: of the standard in its version, and of a profile.

A rule that is broken says where; what stands there is made anew, filled, cut or taken away, and then all is looked at
again, until nothing is left that can be mended. Whoever calls it asks afterwards what is left.
"""

import re
from collections.abc import Callable
from random import Random
from typing import Final

from engine.hl7.dictionary import Dictionary, FieldDef, load, nearest_version
from engine.hl7.errors import EditError, PathError
from engine.hl7.generate.chance import chance_of
from engine.hl7.generate.values import Asked, leaf, whole
from engine.hl7.grammar import Spec
from engine.hl7.message import Message
from engine.hl7.path import Path, compile_path
from engine.hl7.profile import Condition, CrossRule, Element, Part, Profile, Rules
from engine.hl7.validate import Validator, Violation

_SEGMENT: Final = re.compile(r"[A-Z][A-Z0-9]{2}")
_ROUNDS: Final = 12
_MOST_PARTS: Final = 40
"""So many segments of a name are made at most, whatever a profile asks."""

Segments = Callable[[str], list[str]]
"""The segments of that name which a happening fills: none where it knows nothing of it."""
Satisfy = Callable[[str, Message, int], None]
"""Changes a message so that a condition, as it is written, is true of it; with the index of the segment in focus, or
-1."""


class Fitter:
    """Mends messages by one profile. `words` of `fit` make what is chosen the same every time."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._validator = Validator(profile)

    def fit(self, message: Message, codec: str, segments: Segments, satisfy: Satisfy, *words: object) -> Message:
        """A message that breaks as few rules as could be, read from its bytes in `codec`.

        Raises UnencodableText where a rule asks for a character that it does not have.
        """
        message = again(message, codec)
        before: frozenset[tuple[str, str]] = frozenset()
        for _ in range(_ROUNDS):
            validation = self._validator.validate(message)
            broken = frozenset((one.rule, one.location) for one in validation.violations)
            if not broken or broken == before:
                break
            before = broken
            code, event = message.get("MSH-9.1") or "", message.get("MSH-9.2") or ""
            mending = _Mending(
                message,
                self._profile,
                self._profile.rules_for(code, event),
                load(nearest_version(validation.version)),
                segments,
                satisfy,
                words,
            )
            # From behind, so that what is put in or taken away moves nothing that is still to be mended.
            for violation in sorted(validation.violations, key=lambda one: -one.start):
                mending.mend(violation, validation.structure)
            message = again(message, codec)
        return message


class _Mending:
    """One look at one message."""

    def __init__(
        self,
        message: Message,
        profile: Profile,
        rules: Rules,
        dictionary: Dictionary,
        segments: Segments,
        satisfy: Satisfy,
        words: tuple[object, ...],
    ) -> None:
        self._message = message
        self._starts = _starts(message)
        self._profile = profile
        self._rules = rules
        self._dictionary = dictionary
        self._segments = segments
        self._satisfy = satisfy
        self._words = words
        self._at = (message.get("MSH-7") or "")[:14]

    def mend(self, violation: Violation, structure: str | None) -> None:
        rule = violation.rule
        if rule.startswith("table") and violation.mode != "reject":
            return  # a site's own codes, as its tables have them, are worth more than those of the standard
        if rule.startswith("rule."):
            self._mend_rule(rule, violation)
            return
        if rule == "structure.declared" and structure:
            self._message.set("MSH-9.3", structure)
        if rule.startswith("structure.d") or rule == "structure.unknown" or not violation.location:
            return
        name, _, aspect = rule.partition(".")
        if aspect in ("usage", "cardinality") and _SEGMENT.fullmatch(name):
            self._mend_number_of(name, violation)
            return
        try:
            path = compile_path(violation.location)
        except PathError:
            return
        if path.field is None:
            self._mend_segment(path, violation)
        elif path.segment != "MSH" or path.field > 2:
            self._mend_place(path, violation)

    # -- segments -------------------------------------------------------------------------------

    def _mend_segment(self, path: Path, violation: Violation) -> None:
        name = path.segment
        if name == "MSH":
            return
        there = path.segments(self._message)
        is_missing = violation.rule == "structure.missing" or (violation.start == violation.end)
        if is_missing:
            self._insert(name, self._index_at(violation.start))
        elif there:
            self._message.delete_segments(there[-1:])

    def _mend_number_of(self, name: str, violation: Violation) -> None:
        """A profile's rule about how many segments of a name there are."""
        there = self._message.indexes(name)
        asked = [part for part in self._rules.parts if part.name == name]
        least = max((part.cardinality.least for part in asked if part.cardinality is not None), default=0)
        is_forbidden = violation.rule.endswith("usage") and there and violation.location != "MSH"
        if is_forbidden:
            self._message.delete_segments(there)
        elif len(there) < max(least, 1):
            index = there[-1] + 1 if there else self._index_at(violation.start)
            # Of a Z-segment nobody knows the place: behind all others.
            self._insert(name, len(self._message) if name[0] == "Z" and not there else index)
        else:
            self._message.delete_segments(there[-1:])

    def _insert(self, name: str, index: int) -> None:
        least = max((part.cardinality.least for part in self._parts(name) if part.cardinality is not None), default=1)
        made = self._segments(name) or [name]
        missing = max(1, min(least, _MOST_PARTS) - len(self._message.indexes(name)))
        at = min(max(index, 1), len(self._message))
        for number in reversed(range(max(missing, len(made)) if not self._message.indexes(name) else missing)):
            self._message.insert_segment(at, made[number % len(made)])
            self._fill_required(name, at)

    def _parts(self, name: str) -> list[Part]:
        return [part for part in self._rules.parts if part.name == name]

    def _fill_required(self, name: str, index: int) -> None:
        definition = self._dictionary.segment(name)
        number = self._message.indexes(name).index(index) + 1
        for field in definition.fields if definition is not None else ():
            path = compile_path(f"{name}[{number}]-{field.number}")
            if field.usage == "R" and not path.raw(self._message):
                self._fill(path)

    def _index_at(self, start: int) -> int:
        """The segment before which something is missing."""
        return sum(1 for one in self._starts if one < start)

    # -- fields and what is below ---------------------------------------------------------------

    def _mend_place(self, path: Path, violation: Violation) -> None:
        kind = violation.rule.rpartition(".")[2]
        text = path.raw(self._message) or ""
        has_value = bool(text)
        if (path.segment, path.field) == ("MSH", 18):
            return  # it says how the bytes are written, which was decided before
        if violation.rule.startswith(("field.", "component.")) or (kind == "usage" and has_value):
            path.delete(self._message)
        elif kind == "cardinality":
            self._mend_number(path)
        elif violation.rule == "datatype.OBX-5":
            self._message.set(f"OBX[{_number_of(path)}]-2", "ST")
        elif kind == "length" and path.component is None and self._message.delimiters.cut_component in text:
            # The whole of it is too long: what says least goes, from behind.
            self._set_raw(path, text.rpartition(self._message.delimiters.cut_component)[0])
        elif has_value:
            self._replace(path)
        else:
            self._fill(path)

    def _mend_number(self, path: Path) -> None:
        """Too few or too many repetitions of a field."""
        element = self._element(path)
        field = self._definition(path.spec)
        most = field.maximum if field is not None else None
        least = 0
        if element is not None and element.cardinality is not None:
            least, most = element.cardinality.least, element.cardinality.most
        mark = self._message.delimiters.repetition
        whole_field = compile_path(f"{path.segment}[{_number_of(path)}]-{path.field}")
        text = whole_field.raw(self._message) or ""
        kept = [one for one in text.split(mark) if one]
        if most is not None and len(kept) > most:
            whole_field.set_raw(self._message, mark.join(kept[:most]))
            return
        for number in range(len(kept) + 1, min(least, _MOST_PARTS) + 1):
            self._fill(compile_path(f"{path.segment}[{_number_of(path)}]-{path.field}[{number}]"))

    def _replace(self, path: Path) -> None:
        """Another value in the place of one that may not stand there."""
        asked = self._asked(path.spec)
        if asked.constant is not None:
            self._set_raw(path, asked.constant.value)
            return
        target = self._first_leaf(path, asked)
        value = leaf(asked, self._dictionary, self._chance(path), target.get(self._message) or "")
        if value:
            self._set(target, value)
        else:
            path.delete(self._message)

    def _fill(self, path: Path) -> None:
        asked = self._asked(path.spec)
        if asked.constant is not None:
            self._set_raw(path, asked.constant.value)
            return
        spec = path.spec
        level = 3 if spec.subcomponent else 2 if spec.component else 1
        for below, text in whole(asked, self._dictionary, self._chance(path), level):
            target = compile_path(path.text + "".join(f".{number}" for number in below))
            if text:
                self._set(target, text)

    def _set(self, path: Path, value: str) -> None:
        try:
            path.set(self._message, value)
        except EditError:
            return  # a place that cannot be written stays as it is, and what is broken there is told

    def _set_raw(self, path: Path, text: str) -> None:
        try:
            path.set_raw(self._message, text)
        except EditError:
            return

    def _first_leaf(self, path: Path, asked: Asked) -> Path:
        definition = self._dictionary.data_type(asked.data_type)
        if path.component is None and definition is not None and not definition.is_primitive:
            return compile_path(f"{path.text}.1")
        return path

    def _asked(self, spec: Spec) -> Asked:
        element = self._element_of(spec)
        own = element.data_type.name if element is not None and element.data_type is not None else ""
        field = self._definition(spec)
        if field is None:
            return Asked(own or self._own_type(spec), "", None, element, self._at)
        if (spec.segment, spec.field) == ("OBX", 5) and not spec.component:
            return Asked(own or self._message.get("OBX-2") or "ST", "", None, element, self._at)
        data_type, table, length = field.data_type, field.table, field.length
        for number in (spec.component, spec.subcomponent):
            definition = self._dictionary.data_type(data_type)
            component = definition.component(number) if number and definition is not None else None
            if component is not None:
                table = component.table or (table if number == 1 else "")
                data_type, length = component.data_type, component.length
        return Asked(own or data_type, table, length if spec.component or not field.table else None, element, self._at)

    def _own_type(self, spec: Spec) -> str:
        """The data type of a Z-segment's field, or of a component of it."""
        segment = self._profile.segments.get(spec.segment)
        data_type = next((one.data_type for one in segment.fields if one.number == spec.field), "") if segment else ""
        for number in (spec.component, spec.subcomponent):
            definition = self._dictionary.data_type(data_type) if data_type else None
            component = definition.component(number) if number and definition is not None else None
            data_type = component.data_type if component is not None else "" if number else data_type
        return data_type

    def _definition(self, spec: Spec) -> FieldDef | None:
        segment = self._dictionary.segment(spec.segment)
        return segment.field(spec.field) if segment is not None else None

    def _element(self, path: Path) -> Element | None:
        return self._element_of(path.spec)

    def _element_of(self, spec: Spec) -> Element | None:
        for element in self._rules.elements:
            if (element.segment, element.field) != (spec.segment, spec.field):
                continue
            if (element.component, element.subcomponent) == (spec.component, spec.subcomponent):
                return element
        return None

    def _chance(self, path: Path) -> Random:
        """The same value for the same one before, and for the same patient where there was none."""
        before = path.get(self._message) or ""
        about = (before,) if before else self._words
        return chance_of("fit", path.segment, path.field, path.component, path.subcomponent, *about)

    # -- rules between places -------------------------------------------------------------------

    def _mend_rule(self, id: str, violation: Violation) -> None:
        for rule in self._rules.cross:
            if rule.rule.id != id:
                continue
            for index in self._message.indexes(rule.each) if rule.each else [-1]:
                if _is_broken(rule, self._message, index):
                    self._satisfy(rule.require.text, self._message, index)


def again(message: Message, codec: str) -> Message:
    """The message as it is read from its bytes. A text without letters beyond ASCII does not say that it may have any.

    Raises UnencodableText.
    """
    if not message.is_changed:
        return message
    return Message.parse(message.to_bytes_as(codec), fallback=codec)


def _is_broken(rule: CrossRule, message: Message, index: int) -> bool:
    return (rule.when is None or _holds(rule.when, message, index)) and not _holds(rule.require, message, index)


def _holds(condition: Condition, message: Message, index: int) -> bool:
    if condition.test is None:
        return True
    message.focus = index if index >= 0 else None
    try:
        return condition.test(message)
    finally:
        message.focus = None


def _number_of(path: Path) -> int:
    return getattr(path.spec.segment_selector, "number", 1)


def _starts(message: Message) -> list[int]:
    """Where each segment starts, in the message's bytes."""
    found, at = [], 0
    for line in message.raw.removesuffix(b"\r").split(b"\r"):
        found.append(at)
        at += len(line) + 1
    return found
