"""Reading values: from a path's parts to the fastest function that finds its first match, or to all matches.

The functions here touch only what they need: one segment's fields, one field's repetitions.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from engine.hl7.delimiters import LARGE_CHARS, Delimiters
from engine.hl7.escape import unescape
from engine.hl7.grammar import Every, Nth, Selector, Spec, Where

if TYPE_CHECKING:
    from engine.hl7.message import Message

Getter = Callable[["Message"], str | None]


def getter_of(spec: Spec, *, focused: bool) -> Getter:
    """The function that reads the first match of `spec`, unescaped."""
    if not spec.field:
        return _segment_getter(spec, focused)
    if spec.is_header_mark:
        return _header_mark_getter(spec)
    if spec.segment_selector is None and isinstance(spec.field_selector, Where) and not focused:
        return _repetition_getter(spec, spec.field_selector)
    if spec.field_selector is not None or spec.segment_selector is not None:
        return _selected_getter(spec, focused)
    if focused:
        return _focused_getter(spec)
    if spec.component > 1 and not spec.subcomponent:
        return _component_getter(spec)
    if spec.component > 1 or spec.subcomponent > 1:
        return _part_getter(spec)
    return _first_leaf_getter(spec)


def raw_getter_of(spec: Spec, *, focused: bool) -> Getter:
    """The function that reads the first match of `spec` as it stands."""
    whole_field = spec.field_selector is None and not spec.component

    def get_anywhere(message: "Message") -> str | None:
        texts = raw_matches(spec, message, focused=focused, whole_field=whole_field, first=True)
        return texts[0] if texts else None

    segment, field = spec.segment, spec.field

    def get_field(message: "Message") -> str | None:
        fields = message.heads.get(segment)
        if fields is None:
            fields = message.first_fields(segment)
        return fields[field] if field < len(fields) else None

    is_plain = whole_field and field and spec.segment_selector is None and not focused
    return get_field if is_plain else get_anywhere


def matching_segments(spec: Spec, message: "Message", *, focused: bool) -> list[int]:
    """The indexes of the segments that the first part of `spec` matches, in order. Not to be changed."""
    if focused and message.focus is not None:
        return [message.focus]
    found = message.indexes(spec.segment)
    match spec.segment_selector:
        case Nth(number):
            return found[number - 1 : number]
        case Where() as where:
            message.allowance -= 16 * len(found)
            return [i for i in found if segment_matches(where, message, i)]
        case _:
            return found


def segment_matches(where: Where, message: "Message", index: int) -> bool:
    """Whether a segment passes a filter such as `3.1 == "718-7"`."""
    fields = message.fields(index)
    if where.field >= len(fields):
        return ("" in where.values) != where.negated
    delimiters = message.delimiters
    text = fields[where.field].partition(delimiters.cut_repetition)[0]
    return repetition_matches(where, text, delimiters, message)


def repetition_matches(where: Where, text: str, delimiters: Delimiters, message: "Message") -> bool:
    """Whether a repetition passes a filter such as `5 == "MR"`."""
    part = part_of(text, where.component, where.subcomponent, delimiters)
    value = "" if part is None else first_leaf(part, delimiters)
    if delimiters.cut_escape in value:
        value = unescape(value, delimiters, message.codec)
    return (value in where.values) != where.negated


def part_of(text: str, component: int, subcomponent: int, delimiters: Delimiters) -> str | None:
    """A component or subcomponent of a repetition's text as it stands, None when absent; 0 means all of it."""
    if component and len(text) >= LARGE_CHARS:
        part = _nth(text, delimiters.cut_component, component)
        return _nth(part, delimiters.cut_subcomponent, subcomponent) if part is not None and subcomponent else part
    if component:
        parts = text.split(delimiters.cut_component, component)
        if len(parts) < component:
            return None
        text = parts[component - 1]
        if subcomponent:
            parts = text.split(delimiters.cut_subcomponent, subcomponent)
            if len(parts) < subcomponent:
                return None
            text = parts[subcomponent - 1]
    return text


def place_of_part(text: str, mark: str, number: int) -> tuple[int, int] | None:
    """Where the part of that number stands, of those that `split` would give; None where there are fewer."""
    start = 0
    for _ in range(number - 1):
        start = text.find(mark, start) + 1
        if not start:
            return None
    end = text.find(mark, start)
    return start, len(text) if end < 0 else end


def _nth(text: str, mark: str, number: int) -> str | None:
    """That part. Of the others no copy is made: they may have megabytes."""
    place = place_of_part(text, mark, number)
    return None if place is None else text[place[0] : place[1]]


def first_leaf(text: str, delimiters: Delimiters) -> str:
    """The first subcomponent of the first component of a repetition's text."""
    return text.partition(delimiters.cut_component)[0].partition(delimiters.cut_subcomponent)[0]


def raw_matches(
    spec: Spec, message: "Message", *, focused: bool, whole_field: bool = False, first: bool = False
) -> list[str]:
    """The texts of all matches as they stand; with `whole_field` repetitions are not split.

    With `first`, only the first matching segment and the first matching repetition are looked at, except that `*`
    stands for each of them in turn; no more than one text is found.
    """
    found: list[str] = []
    indexes = matching_segments(spec, message, focused=focused)
    if first and not isinstance(spec.segment_selector, Every):
        indexes = indexes[:1]
    message.allowance -= 16 * len(indexes)
    for index in indexes:
        if not spec.field:
            found.append(message.segment(index))
        elif spec.field < len(fields := message.fields(index)):
            text = fields[spec.field]
            if whole_field or spec.is_header_mark:
                found.append(text)
            else:
                found.extend(_parts(spec, message, text, first))
        if first and found:
            return found[:1]
    return found


def _parts(spec: Spec, message: "Message", field: str, first: bool) -> Iterator[str]:
    delimiters = message.delimiters
    component, subcomponent = spec.component, spec.subcomponent
    for repetition in _repetitions(spec.field_selector, message, field, first):
        part = part_of(repetition, component, subcomponent, delimiters) if component else repetition
        if part is not None:
            yield part


def _repetitions(selector: Selector | None, message: "Message", field: str, first: bool) -> Iterator[str]:
    delimiters = message.delimiters
    match selector:
        case Nth(number):
            yield from field.split(delimiters.cut_repetition)[number - 1 : number]
        case Where() as where:
            for text in field.split(delimiters.cut_repetition):
                if repetition_matches(where, text, delimiters, message):
                    yield text
                    if first:
                        return
        case None if first:
            yield field.partition(delimiters.cut_repetition)[0]
        case _:
            yield from field.split(delimiters.cut_repetition)


def _segment_getter(spec: Spec, focused: bool) -> Getter:
    def get(message: "Message") -> str | None:
        found = matching_segments(spec, message, focused=focused)
        return message.segment(found[0]) if found else None

    return get


def _header_mark_getter(spec: Spec) -> Getter:
    deeper = spec.component > 1 or spec.subcomponent > 1

    def get(message: "Message") -> str | None:
        found = [] if deeper else raw_matches(spec, message, focused=False, first=True)
        return found[0] if found else None

    return get


def _selected_getter(spec: Spec, focused: bool) -> Getter:
    def get(message: "Message") -> str | None:
        found = raw_matches(spec, message, focused=focused, first=True)
        if not found:
            return None
        delimiters = message.delimiters
        leaf = first_leaf(found[0], delimiters)
        return unescape(leaf, delimiters, message.codec) if delimiters.cut_escape in leaf else leaf

    return get


def _repetition_getter(spec: Spec, where: Where) -> Getter:
    """`PID-3[5 == "MR"].1`: of the first repetition that passes."""
    if spec.subcomponent or where.subcomponent:
        return _selected_getter(spec, focused=False)
    segment, field, tested, chosen = spec.segment, spec.field, where.component, max(spec.component, 1)
    values, negated = where.values, where.negated
    least = spec.component

    def get(message: "Message") -> str | None:
        fields = message.heads.get(segment)
        if fields is None:
            fields = message.first_fields(segment)
        if field >= len(fields):
            return None
        d = message.delimiters
        for repetition in fields[field].split(d.cut_repetition):
            if len(repetition) >= LARGE_CHARS:
                if repetition_matches(where, repetition, d, message):
                    part = part_of(repetition, chosen, 0, d)
                    return None if part is None else _leaf(part, message, d)
                continue
            parts = repetition.split(d.cut_component)
            value = _leaf(parts[tested - 1], message, d) if tested <= len(parts) else ""
            if (value in values) != negated:
                return _leaf(parts[chosen - 1], message, d) if least <= len(parts) else None
        return None

    return get


def _leaf(text: str, message: "Message", d: Delimiters) -> str:
    """The value of a component's first subcomponent."""
    if len(text) < LARGE_CHARS and text.isalnum():  # else it takes longer than to look for the two
        return text
    if d.cut_subcomponent in text:
        text = text.partition(d.cut_subcomponent)[0]
    return unescape(text, d, message.codec) if d.cut_escape in text else text


def _focused_getter(spec: Spec) -> Getter:
    field, component, subcomponent = spec.field, spec.component, spec.subcomponent
    unfocused = getter_of(spec, focused=False)

    def get(message: "Message") -> str | None:
        if message.focus is None:
            return unfocused(message)
        fields = message.fields(message.focus)
        if field >= len(fields):
            return None
        delimiters = message.delimiters
        part = part_of(fields[field].partition(delimiters.cut_repetition)[0], component, subcomponent, delimiters)
        if part is None:
            return None
        leaf = first_leaf(part, delimiters)
        return unescape(leaf, delimiters, message.codec) if delimiters.cut_escape in leaf else leaf

    return get


def _first_leaf_getter(spec: Spec) -> Getter:
    """`PID-8`, `PID-5.1`, `PID-5.1.1`."""
    segment, field = spec.segment, spec.field

    def get(message: "Message") -> str | None:
        fields = message.heads.get(segment)
        if fields is None:
            fields = message.first_fields(segment)
        if field >= len(fields):
            return None
        text = fields[field]
        if not text or text.isalnum():
            return text  # no delimiter is a letter or digit
        d = message.delimiters
        text = text.partition(d.cut_component)[0]
        if text.isalnum():
            return text
        if d.cut_repetition in text:
            text = text.partition(d.cut_repetition)[0]
        if d.cut_subcomponent in text:
            text = text.partition(d.cut_subcomponent)[0]
        return unescape(text, d, message.codec) if d.cut_escape in text else text

    return get


def _component_getter(spec: Spec) -> Getter:
    """`PID-5.2`: a component after the first."""
    segment, field, component = spec.segment, spec.field, spec.component

    def get(message: "Message") -> str | None:
        fields = message.heads.get(segment)
        if fields is None:
            fields = message.first_fields(segment)
        if field >= len(fields):
            return None
        text = fields[field]
        d = message.delimiters
        if d.cut_repetition in text:
            text = text.partition(d.cut_repetition)[0]
        if len(text) >= LARGE_CHARS:
            part = _nth(text, d.cut_component, component)
            return None if part is None else _leaf(part, message, d)
        parts = text.split(d.cut_component, component)
        if len(parts) < component:
            return None
        return _leaf(parts[component - 1], message, d)

    return get


def _part_getter(spec: Spec) -> Getter:
    """`PID-5.1.2`."""
    segment, field, component, subcomponent = spec.segment, spec.field, spec.component, spec.subcomponent

    def get(message: "Message") -> str | None:
        fields = message.heads.get(segment)
        if fields is None:
            fields = message.first_fields(segment)
        if field >= len(fields):
            return None
        d = message.delimiters
        part = part_of(fields[field].partition(d.cut_repetition)[0], component, subcomponent, d)
        return unescape(part, d, message.codec) if part is not None and d.cut_escape in part else part

    return get
