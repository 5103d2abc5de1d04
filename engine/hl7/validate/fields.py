"""From definitions and a profile's elements to checks of fields."""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from engine.hl7.dictionary import VARIES, ComponentDef, DataTypeDef, Dictionary, FieldDef
from engine.hl7.profile import Element, Usage
from engine.hl7.validate.checks import (
    Demand,
    Depth,
    FieldCheck,
    Parts,
    Quick,
    TextCheck,
    Times,
    Verdict,
    field_check,
    forbidden_part,
    length_test,
    text_check,
)
from engine.hl7.validate.rules import Breach, Judge, profile_breach
from engine.hl7.validate.run import Run
from engine.hl7.validate.values import Test, codes_of, is_coded, quick_test, table_test, type_test
from engine.hl7.version import parse_version

_FREE_TEXT: Final = frozenset({"TX", "FT", "CM"})
"""Data types in which a component separator is a slip of the pen, or (CM) in which nobody knows the components."""
_LENGTHS_END_AT: Final = parse_version("2.7")

Definition = FieldDef | ComponentDef


class Elements:
    """A profile's elements for one segment, by place."""

    def __init__(self, elements: Iterable[Element] = ()) -> None:
        self._by_place = {(e.field, e.component, e.subcomponent): e for e in elements}

    def at(self, *place: int) -> Element | None:
        """The element of exactly that field, component and subcomponent."""
        field, component, subcomponent = (*place, 0, 0)[:3]
        return self._by_place.get((field, component, subcomponent))

    def fields(self) -> frozenset[int]:
        """The numbers of all fields that something is said about, or about their parts."""
        return frozenset(field for field, _, _ in self._by_place)

    def parts(self, field: int, component: int = 0) -> frozenset[int]:
        """The numbers of the parts of a field, or of a component, that something is said about."""
        if component:
            return frozenset(s for f, c, s in self._by_place if (f, c) == (field, component) and s)
        return frozenset(c for f, c, _ in self._by_place if f == field and c)


class FieldCompiler:
    """Makes the checks of one segment's fields in one version and profile."""

    def __init__(self, dictionary: Dictionary, judge: Judge, segment: str, elements: Elements) -> None:
        self._dictionary = dictionary
        self._judge = judge
        self._segment = segment
        self._elements = elements
        self._has_lengths = parse_version(dictionary.version) < _LENGTHS_END_AT

    def demand(self, number: int, definition: FieldDef | None) -> Demand | None:
        """What is said when the field has no value; None when it needs none."""
        element = self._elements.at(number)
        place, name = f"{self._segment}-{number}", _name(element, definition)
        demand = self._demand(number, place, name, definition, element)
        if demand is None and element is not None and element.cardinality is not None and element.cardinality.least:
            text = f"is there fewer than {element.cardinality.least} times"
            return Demand(number, _always(profile_breach(element.cardinality.rule, "198", place, name, text)))
        return demand

    def field(self, number: int, definition: FieldDef | None) -> FieldCheck | None:
        """The check of a field that is there; None when there is nothing to check."""
        element = self._elements.at(number)
        place, name = f"{self._segment}-{number}", _name(element, definition)
        if _is_withdrawn(definition, element):
            breach = self._judge.breach("field.withdrawn", place, name)
            return field_check(None, Times(), _always(breach)) if breach else None
        data_type = _data_type(definition, element)
        if (self._segment, number) == ("OBX", 5) and data_type == VARIES:
            check: TextCheck | None = self._by_obx_2(place, name)
        else:
            check = self._text(place, name, data_type, 0, definition, (number,))
        times = self._times(element, definition, place, name)
        return field_check(check, times, self._forbidden(element, place, name))

    def quick(self, number: int, definition: FieldDef | None) -> Quick | None:
        """The short cut for a field whose text has no delimiters; None where there is none."""
        if definition is None or definition.usage == "X":
            return None
        return self._quick(definition.data_type, definition, (number,))

    def _quick(self, data_type: str, definition: Definition, at: tuple[int, ...]) -> Quick | None:
        known = self._dictionary.data_type(data_type)
        if known is None or self._elements.at(*at) is not None or (len(at) < 3 and self._elements.parts(*at)):
            return None
        if any(component.usage == "R" for component in known.components[1:]):
            return None
        if not known.is_primitive and data_type != "TS":
            return self._quick_first(known, definition) if len(at) == 2 else None
        codes = None
        if definition.table and known.is_primitive and (table := self._dictionary.table(definition.table)) is not None:
            codes = codes_of(table)
        return quick_test(data_type, codes, definition.length if self._has_lengths else None)

    def _quick_first(self, known: DataTypeDef, definition: Definition) -> Quick | None:
        """Of a component that has subcomponents: a text without delimiters is the first of them (hl7.md item 43)."""
        first = known.components[0]
        inner = self._dictionary.data_type(first.data_type)
        is_simple = inner is not None and inner.is_primitive and not first.table and not is_coded(known.name)
        if not is_simple or first.usage == "X":
            return None
        lengths = [part.length for part in (first, definition) if part.length is not None and self._has_lengths]
        return quick_test(first.data_type, None, min(lengths, default=None))

    def _text(
        self, place: str, name: str, data_type: str, depth: Depth, definition: Definition | None, at: tuple[int, ...]
    ) -> TextCheck | None:
        """The check of a text of that data type at a place, `at` in numbers."""
        element = self._elements.at(*at)
        whole = list(self._whole_tests(place, name, definition, element))
        leaf = list(self._leaf_tests(place, name, data_type, definition, element))
        coded = self._coded(place, name, data_type, definition, element)
        fits = -1
        if len(whole) == 1 and element is None and definition is not None and definition.length is not None:
            fits = definition.length  # an escape sequence is never shorter than what it means
        return text_check(depth, whole, leaf, coded, self._parts(place, data_type, depth, at), fits)

    def _whole_tests(
        self, place: str, name: str, definition: Definition | None, element: Element | None
    ) -> Iterator[Test]:
        if element is not None and (length := element.length) is not None:
            breach = profile_breach(length.rule, "104", place, name, f"has not {length} characters")
            yield length_test(length.least, length.most, breach)
        elif definition is not None and definition.length is not None and self._has_lengths:
            over = self._judge.breach("length", place, name)
            if over is not None:
                yield length_test(0, definition.length, over)
        if element is not None and element.constant is not None:
            breach = profile_breach(element.constant.rule, "103", place, name, "is not the one value that it may be")
            yield _constant_test(element.constant.value, breach)

    def _leaf_tests(
        self, place: str, name: str, data_type: str, definition: Definition | None, element: Element | None
    ) -> Iterator[Test]:
        tests = [self._type_test(place, name, data_type, element)]
        if element is not None and element.values is not None:
            tests.append(self._value_set_test(element, place, name))
        elif definition is not None and definition.table and self._is_primitive(data_type):
            tests.append(table_test(self._judge, self._dictionary, definition.table, data_type, place, name))
        if element is not None and (pattern := element.pattern) is not None:
            breach = profile_breach(pattern.rule, "102", place, name, "has not the form that it must have")
            tests.append(_pattern_test(pattern.matches, breach))
        for test in tests:
            if test is not None:
                yield test

    def _type_test(self, place: str, name: str, data_type: str, element: Element | None) -> Test | None:
        if element is not None and element.data_type is not None:
            text = f"is not of the data type {data_type}"
            own = profile_breach(element.data_type.rule, "102", place, name, text)
            return type_test(data_type, own, own)
        rule = f"datatype.{data_type}"
        wrong = self._judge.breach(rule, place, name) if data_type in ("NM", "SI", "DT", "TM", "TS", "DTM") else None
        return type_test(data_type, wrong, self._judge.breach("datatype.blank", place, name))

    def _value_set_test(self, element: Element, place: str, name: str) -> Test | None:
        assert element.values is not None
        table = self._dictionary.table(element.values.table) if element.values.table else None
        values = element.values.values | ((codes_of(table) if table else None) or frozenset())
        if not values:
            return None
        breach = profile_breach(element.values.rule, "103", place, name, "is not one of the values that it may have")
        return lambda value: None if value in values else breach

    def _coded(
        self, place: str, name: str, data_type: str, definition: Definition | None, element: Element | None
    ) -> tuple[str, Test] | None:
        """The test of a coded text's first component, and the coding system that it is for."""
        if definition is None or not definition.table or not is_coded(data_type):
            return None
        if element is not None and element.values is not None:
            return None
        test = table_test(self._judge, self._dictionary, definition.table, data_type, place, name)
        return (f"HL7{definition.table}", test) if test else None

    def _parts(self, place: str, data_type: str, depth: Depth, at: tuple[int, ...]) -> Parts | None:
        """What is asked one level below; None where nothing is known and nothing is asked."""
        known = self._dictionary.data_type(data_type)
        said = self._elements.parts(*at) if depth < 2 else frozenset()
        if depth == 2 or (known is None and not said):
            return None
        components = known.components if known else ()
        demands: list[Demand] = []
        checks: list[TextCheck | None] = [None]
        quicks: list[Quick | None] = [None]
        for number in range(1, max(len(components), *said, 0) + 1 if said else len(components) + 1):
            component = components[number - 1] if number <= len(components) else None
            element = self._elements.at(*at, number)
            below, name = f"{place}.{number}", _name(element, component)
            if demand := self._demand(number, below, name, component, element):
                demands.append(demand)
            where = (*at, number)
            checks.append(self._part(below, name, data_type, 1 if depth == 0 else 2, component, where))
            is_in_use = component is not None and component.usage != "X" and data_type != "TS"
            quicks.append(self._quick(component.data_type, component, where) if component and is_in_use else None)
        limit = max(len(components), len(checks) - 1, 1)
        return Parts(tuple(demands), tuple(checks), tuple(quicks), limit, self._unknown(known, data_type, place))

    def _unknown(self, known: DataTypeDef | None, data_type: str, place: str) -> Breach | None:
        if known is None or data_type in _FREE_TEXT:
            return None
        return self._judge.breach("component.unknown", place, "")

    def _part(
        self,
        place: str,
        name: str,
        parent_type: str,
        depth: Depth,
        component: ComponentDef | None,
        at: tuple[int, ...],
    ) -> TextCheck | None:
        element = self._elements.at(*at)
        if _is_withdrawn(component, element):
            breach = self._judge.breach("component.withdrawn", place, name)
            return forbidden_part(_always(breach), None) if breach else None
        data_type = _data_type(component, element)
        if parent_type == "TS" and at[-1] == 1 and (element is None or element.data_type is None):
            data_type = ""  # a TS is tested as such, one level up
        check = self._text(place, name, data_type, depth, component, at)
        forbidden = self._forbidden(element, place, name)
        return check if forbidden is None else forbidden_part(forbidden, check)

    def _by_obx_2(self, place: str, name: str) -> TextCheck:
        """OBX-5, each by the OBX-2 of its own segment; no type, or one that is unknown: text (hl7.md item 49)."""
        untyped = self._judge.breach("datatype.OBX-5", place, name)
        by_type: dict[str, tuple[TextCheck | None, Quick | None]] = {}
        plain = FieldDef(5, name, VARIES, "O", None, None, "")

        def check(run: Run, field: int, repetition: int, component: int, subcomponent: int, text: str) -> None:
            declared = run.fields[2] if len(run.fields) > 2 else ""
            if not declared:
                run.add(untyped, field, repetition)
            if declared not in by_type:
                declared = declared if self._dictionary.data_type(declared) else "TX"  # so that by_type stays small
                if declared not in by_type:
                    quick = self._quick(declared, plain, (5,))
                    by_type[declared] = self._text(place, name, declared, 0, None, (5,)), quick
            found, quick = by_type[declared]
            if found is not None and not (quick is not None and run.is_plain(text) and quick(text)):
                found(run, field, repetition, component, subcomponent, text)

        return check

    def _is_primitive(self, data_type: str) -> bool:
        known = self._dictionary.data_type(data_type)
        return known is not None and known.is_primitive

    def _demand(
        self, number: int, place: str, name: str, definition: Definition | None, element: Element | None
    ) -> Demand | None:
        usage = element.usage if element is not None else None
        if usage is None:
            is_required = definition is not None and definition.usage == "R"
            breach = self._judge.breach("required", place, name) if is_required else None
            return Demand(number, _always(breach)) if breach else None
        verdict = _verdict(usage, "R", profile_breach(usage.rule, "101", place, name, "is required and empty"))
        return Demand(number, verdict) if verdict else None

    def _forbidden(self, element: Element | None, place: str, name: str) -> Verdict | None:
        usage = element.usage if element is not None else None
        if usage is None:
            return None
        return _verdict(usage, "X", profile_breach(usage.rule, "198", place, name, "has a value and may have none"))

    def _times(self, element: Element | None, definition: FieldDef | None, place: str, name: str) -> Times:
        if element is not None and (times := element.cardinality) is not None:
            breach = profile_breach(times.rule, "198", place, name, f"is not there {times} times")
            return Times(times.least, times.most, breach)
        if definition is None or definition.maximum is None:
            return Times()
        return Times(0, definition.maximum, self._judge.breach("cardinality", place, name))


def _verdict(usage: Usage, code: str, breach: Breach) -> Verdict | None:
    """What is said when a place breaks that usage code; None where it can never have it."""
    if not usage.is_conditional:
        return _always(breach) if usage.code == code else None
    if code not in (usage.code, usage.otherwise):
        return None

    def verdict(run: Run) -> Breach | None:
        return breach if run.usage_of(usage) == code else None

    return verdict


def _always(breach: Breach | None) -> Verdict:
    return lambda run: breach


def _constant_test(constant: str, breach: Breach) -> Test:
    return lambda value: None if value == constant else breach


def _pattern_test(matches: Callable[[str], bool], breach: Breach) -> Test:
    return lambda value: None if matches(value) else breach


def _is_withdrawn(definition: Definition | None, element: Element | None) -> bool:
    return definition is not None and definition.usage == "X" and (element is None or element.usage is None)


def _data_type(definition: Definition | None, element: Element | None) -> str:
    if element is not None and element.data_type is not None:
        return element.data_type.name
    return definition.data_type if definition is not None else ""


def _name(element: Element | None, definition: Definition | None) -> str:
    if element is not None and element.name:
        return element.name
    return definition.name if definition is not None else ""
