"""Writing values: what a path's parts set, make or remove in a message, and nothing beside it.

A segment's fields are replaced as a new list, never changed in place: copies of a message share them.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from engine.hl7.delimiters import HEADERS, LARGE_CHARS, Delimiters
from engine.hl7.errors import EditError, UnencodableText
from engine.hl7.escape import escape
from engine.hl7.grammar import Every, Nth, Spec, Where
from engine.hl7.reading import matching_segments, part_of, place_of_part, repetition_matches, segment_matches

if TYPE_CHECKING:
    from engine.hl7.message import Message

_PART_CHARS = 700_000
"""Less than a megabyte, so that its memory is used again."""


def set_value(spec: Spec, message: "Message", value: str, location: str, *, focused: bool) -> int:
    """What `Path.set` says."""
    if not spec.field:
        raise EditError("a whole segment can only be set as raw text", location)
    try:
        text = escape(value, message.delimiters)
    except ValueError as error:
        reason = str(error)
    else:
        return _write(spec, message, text, location, focused)
    raise UnencodableText(reason, location)


Setter = Callable[["Message", str], int]
Deleter = Callable[["Message"], int]


def setter_of(spec: Spec, location: str, *, focused: bool) -> Setter:
    """The function that `Path.set` is.

    What most channels do, a field or component that is there, in the first segment, by a text that needs no
    escape, goes a short way of its own.
    """

    def set_anywhere(message: "Message", value: str) -> int:
        return set_value(spec, message, value, location, focused=focused)

    has_selector = spec.segment_selector is not None or spec.field_selector is not None
    if focused or has_selector or not spec.field or spec.is_header_mark or spec.subcomponent:
        return set_anywhere
    return _component_setter(spec, set_anywhere) if spec.component else _field_setter(spec, set_anywhere)


def _field_setter(spec: Spec, set_anywhere: Setter) -> Setter:
    segment, field = spec.segment, spec.field

    def set_field(message: "Message", value: str) -> int:
        fields = message.heads.get(segment)
        if fields is None:
            fields = message.first_fields(segment)
        d = message.delimiters
        is_plain = len(value) < LARGE_CHARS and (
            value.isalnum() or (d.special.search(value) is None and not d.truncation)
        )
        if field >= len(fields) or not is_plain:
            return set_anywhere(message, value)
        if fields[field] != value:
            if segment not in message.edited:
                fields = message.edit_first(segment)
            fields[field] = value
        return 1

    return set_field


def _component_setter(spec: Spec, set_anywhere: Setter) -> Setter:
    segment, field, component = spec.segment, spec.field, spec.component

    def set_component(message: "Message", value: str) -> int:
        fields = message.heads.get(segment)
        if fields is None:
            fields = message.first_fields(segment)
        d = message.delimiters
        is_plain = len(value) < LARGE_CHARS and (
            value.isalnum() or (d.special.search(value) is None and not d.truncation)
        )
        if (
            field >= len(fields)
            or not is_plain
            or d.cut_repetition in (old := fields[field])
            or len(old) >= LARGE_CHARS
        ):
            return set_anywhere(message, value)
        parts = old.split(d.cut_component)
        if component > len(parts):
            return set_anywhere(message, value)
        if parts[component - 1] != value:
            parts[component - 1] = value
            if segment not in message.edited:
                fields = message.edit_first(segment)
            fields[field] = d.component.join(parts)
        return 1

    return set_component


def raw_setter_of(spec: Spec, location: str, *, focused: bool) -> Setter:
    """The function that `Path.set_raw` is; a whole field of the first segment goes a short way."""
    segment, field = spec.segment, spec.field

    def set_anywhere(message: "Message", text: str) -> int:
        return set_raw(spec, message, text, location, focused=focused)

    def set_field(message: "Message", text: str) -> int:
        fields = message.heads.get(segment)
        if fields is None:
            fields = message.first_fields(segment)
        if not fields or message.delimiters.field in text or "\r" in text:
            return set_anywhere(message, text)
        missing = field - len(fields)
        if (missing >= 0 and not text) or (missing < 0 and fields[field] == text):
            return 1 if missing < 0 else 0
        if segment not in message.edited:
            fields = message.edit_first(segment)
        if missing >= 0:
            fields += [""] * missing
            fields.append(text)
        else:
            fields[field] = text
        return 1

    return set_field if _is_whole_field(spec) and not focused else set_anywhere


def deleter_of(spec: Spec, location: str, *, focused: bool) -> Deleter:
    """The function that `Path.delete` is; a whole field goes a short way where it stands in one segment only."""
    segment, field = spec.segment, spec.field

    def delete_anywhere(message: "Message") -> int:
        return delete(spec, message, location, focused=focused)

    def delete_field(message: "Message") -> int:
        found = message.indexes(segment) if message.first(segment) >= 0 else []
        if len(found) != 1:
            return delete_anywhere(message) if found else 0
        fields = message.first_fields(segment)
        if field >= len(fields) or not fields[field]:
            return 0
        if segment not in message.edited:
            fields = message.edit_first(segment)
        fields[field] = ""
        if field == len(fields) - 1 and not message.is_continued(found[0]):
            _drop_last(fields, least=3 if segment in HEADERS else 1)
        return 1

    return delete_field if _is_whole_field(spec) and not focused else delete_anywhere


def _is_whole_field(spec: Spec) -> bool:
    """`PID-19`: a field without a selector anywhere, and none of the delimiters' own."""
    has_selector = spec.segment_selector is not None or spec.field_selector is not None
    return spec.field > 0 and not (has_selector or spec.component or spec.is_header_mark)


def set_raw(spec: Spec, message: "Message", text: str, location: str, *, focused: bool) -> int:
    """What `Path.set_raw` says."""
    _check_raw(spec, message.delimiters, text, location)
    if spec.field:
        return _write(spec, message, text, location, focused)
    name, after = text[:3], text[3:4]
    if name != spec.segment or after not in ("", message.delimiters.field):
        raise EditError("the text is no segment of that name", location)
    if name in HEADERS:
        raise EditError("a header can only be set field by field", location)
    return _each_target(spec, message, focused, text, lambda index: _replace(message, index, text))


def delete(spec: Spec, message: "Message", location: str, *, focused: bool) -> int:
    """What `Path.delete` says."""
    _refuse_header_mark(spec, location)
    found = matching_segments(spec, message, focused=focused)
    if not spec.field:
        if 0 in found:
            raise EditError("a message cannot be without its header", location)
        message.delete_segments(found)
        return len(found)
    message.allowance -= 16 * len(found)
    return sum(_delete_in_segment(spec, message, index) for index in found)


def _check_raw(spec: Spec, delimiters: Delimiters, text: str, location: str) -> None:
    higher = ["\r"]
    if spec.field:
        higher.append(delimiters.field)
    if spec.field_selector is not None or spec.component:
        higher.append(delimiters.cut_repetition)
    if spec.component:
        higher.append(delimiters.cut_component)
    if spec.subcomponent:
        higher.append(delimiters.cut_subcomponent)
    if any(mark in text for mark in higher):
        raise EditError("the raw text holds a CR or a delimiter of a higher level", location)


def _refuse_header_mark(spec: Spec, location: str) -> None:
    if spec.is_header_mark:
        raise EditError("the delimiters of a message cannot be edited", location)


def _write(spec: Spec, message: "Message", text: str, location: str, focused: bool) -> int:
    if spec.segment in HEADERS:
        _refuse_header_mark(spec, location)
    _check_delimiters(spec, message.delimiters, location)
    if spec.segment_selector is None and not focused:
        index = message.first(spec.segment)
        if index >= 0:
            return _write_in_segment(spec, message, text, index)
    return _each_target(spec, message, focused, text, lambda index: _write_in_segment(spec, message, text, index))


def _check_delimiters(spec: Spec, delimiters: Delimiters, location: str) -> None:
    needed = (
        (isinstance(spec.field_selector, Nth) and spec.field_selector.number > 1, delimiters.repetition),
        (spec.component > 1, delimiters.component),
        (spec.subcomponent > 1, delimiters.subcomponent),
    )
    for is_needed, mark in needed:
        if is_needed and not mark:
            raise UnencodableText("the message has no delimiter for this place", location)


def _each_target(spec: Spec, message: "Message", focused: bool, text: str, write: Callable[[int], int]) -> int:
    """Apply `write` to the segments that an edit concerns, made first if they are missing."""
    match spec.segment_selector:
        case Every():
            found = message.indexes(spec.segment)
            message.allowance -= 16 * len(found)
            return sum(write(index) for index in found)
        case Where() as where:
            message.allowance -= 16 * len(message.indexes(spec.segment))
            for index in message.indexes(spec.segment):
                if segment_matches(where, message, index):
                    return write(index)
            return 0
        case Nth(number):
            pass
        case None:
            if focused and message.focus is not None:
                return write(message.focus)
            number = 1
    found = message.indexes(spec.segment)
    if number > len(found):
        if not text or spec.segment in HEADERS:
            return 0
        for _ in range(number - len(found)):
            message.insert_segment(len(message), spec.segment)
        message.spend(0)
        return write(len(message) - 1)
    return write(found[number - 1])


def _replace(message: "Message", index: int, text: str) -> int:
    if message.segment(index) != text:
        message.replace_fields(index, text.split(message.delimiters.field))
    return 1


def _write_in_segment(spec: Spec, message: "Message", text: str, index: int) -> int:
    fields = message.fields(index)
    number = spec.field
    is_there = number < len(fields)
    old = fields[number] if is_there else ""
    if spec.component or spec.field_selector is not None:
        new, count = _write_in_field(spec, message, old, text)
    else:
        new, count = text, 1
    if new == old:
        return count if is_there else 0
    fields = fields.copy()
    if is_there:
        fields[number] = new
    else:
        fields += [""] * (number - len(fields))
        fields.append(new)
    message.replace_fields(index, fields)
    return count


def _write_in_field(spec: Spec, message: "Message", field: str, text: str) -> tuple[str, int]:
    d = message.delimiters
    repetitions = field.split(d.cut_repetition)
    count = 1
    match spec.field_selector:
        case None:
            repetitions[0] = _write_in_repetition(spec, d, repetitions[0], text)
        case Nth(number):
            if number > len(repetitions):
                if not text:
                    return field, 0
                repetitions += [""] * (number - len(repetitions))
            repetitions[number - 1] = _write_in_repetition(spec, d, repetitions[number - 1], text)
        case Every():
            count = len(repetitions)
            repetitions = [_write_in_repetition(spec, d, old, text) for old in repetitions]
        case Where() as where:
            for at, old in enumerate(repetitions):
                if repetition_matches(where, old, d, message):
                    repetitions[at] = _write_in_repetition(spec, d, old, text)
                    break
            else:
                return field, 0
    return d.repetition.join(repetitions), count


def _write_in_repetition(spec: Spec, d: Delimiters, repetition: str, text: str) -> str:
    if not spec.component:
        return text
    if len(repetition) >= LARGE_CHARS and not spec.subcomponent:
        place = place_of_part(repetition, d.cut_component, spec.component)
        if place is not None:
            return _spliced(repetition, *place, text)
    components = repetition.split(d.cut_component)
    if spec.component > len(components):
        if not text:
            return repetition
        components += [""] * (spec.component - len(components))
    if spec.subcomponent:
        parts = components[spec.component - 1].split(d.cut_subcomponent)
        if spec.subcomponent > len(parts):
            if not text:
                return repetition
            parts += [""] * (spec.subcomponent - len(parts))
        parts[spec.subcomponent - 1] = text
        text = d.subcomponent.join(parts)
    components[spec.component - 1] = text
    return d.component.join(components)


def _spliced(text: str, start: int, end: int, new: str) -> str:
    """`new` in the place of what stands there. A local text grows where it is: one copy is made, and not two."""
    whole = text[:start] + new
    for at in range(end, len(text), _PART_CHARS):
        whole += text[at : at + _PART_CHARS]
    return whole


def _delete_in_segment(spec: Spec, message: "Message", index: int) -> int:
    fields = message.fields(index)
    number = spec.field
    if number >= len(fields) or not fields[number]:
        return 0
    goes_on = number == len(fields) - 1 and message.is_continued(index)
    if spec.component or spec.field_selector is not None:
        new, count = _delete_in_field(spec, message, fields[number], goes_on)
    else:
        new, count = "", 1
    if new == fields[number]:
        return 0
    fields = fields.copy()
    fields[number] = new
    if not new and number == len(fields) - 1 and not goes_on:
        _drop_last(fields, least=3 if fields[0] in HEADERS else 1)
    message.replace_fields(index, fields)
    return count


def _delete_in_field(spec: Spec, message: "Message", field: str, goes_on: bool) -> tuple[str, int]:
    """`goes_on`: what stands at its end is continued in an ADD segment, so nothing may be dropped there."""
    d = message.delimiters
    kept: list[str] = []
    count = 0
    repetitions = field.split(d.cut_repetition)
    for at, repetition in enumerate(repetitions):
        match spec.field_selector:
            case Nth(number):
                concerned = at == number - 1
            case Where() as where:
                concerned = repetition_matches(where, repetition, d, message)
            case _:
                concerned = True
        is_open = goes_on and at == len(repetitions) - 1
        if not concerned:
            kept.append(repetition)
        elif not spec.component:
            count += 1
            if is_open:
                kept.append("")
        elif part_of(repetition, spec.component, spec.subcomponent, d):
            kept.append(_delete_in_repetition(spec, d, repetition, is_open))
            count += 1
        else:
            kept.append(repetition)
    return d.repetition.join(kept), count


def _delete_in_repetition(spec: Spec, d: Delimiters, repetition: str, is_open: bool) -> str:
    components = repetition.split(d.cut_component)
    part = ""
    if spec.subcomponent:
        parts = components[spec.component - 1].split(d.cut_subcomponent)
        parts[spec.subcomponent - 1] = ""
        if spec.subcomponent == len(parts) and not is_open:
            _drop_last(parts, least=1)
        part = d.subcomponent.join(parts)
    components[spec.component - 1] = part
    if not part and spec.component == len(components) and not is_open:
        _drop_last(components, least=1)
    return d.component.join(components)


def _drop_last(parts: list[str], *, least: int) -> None:
    """Drop the empty texts at the end (v2.5.1 section 2.7: trailing delimiters say nothing)."""
    while len(parts) > least and not parts[-1]:
        parts.pop()
