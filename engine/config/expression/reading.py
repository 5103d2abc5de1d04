"""How expressions read a message: '' for what is not there, and every occurrence of a path.

A path's first match is what `engine.hl7.path` says it is. Beyond that, an expression reads several fields of one
segment from its field list, fetched once, and goes over occurrences, absent ones included.
"""

from collections.abc import Callable

from engine.hl7.escape import unescape
from engine.hl7.grammar import Every, Nth, Spec, Where
from engine.hl7.message import Message
from engine.hl7.path import Path
from engine.hl7.reading import first_leaf, part_of, repetition_matches

Fields = list[str]
"""One segment's fields, `fields[n]` being field n; empty for a segment that is not there."""

FieldReader = Callable[[Fields, Message], str]


def several(path: Path) -> bool:
    """Whether the path says itself that it stands for several values."""
    return isinstance(path.spec.segment_selector, Every) or isinstance(path.spec.field_selector, Every)


def shares_fields(path: Path) -> bool:
    """Whether the path reads the first repetition in the first such segment, whose field list others can share."""
    spec = path.spec
    return spec.field > 0 and spec.segment_selector is None and spec.field_selector is None


def fetcher(path: Path) -> Callable[[Message], Fields]:
    """The function that finds the field list of the segment that `path` reads; for paths that `shares_fields`."""
    name = path.segment
    if path.focus:

        def fetch_focused(message: Message) -> Fields:
            focus = message.focus
            index = message.first(name) if focus is None else focus
            return message.fields(index) if index >= 0 else []

        return fetch_focused

    def fetch_first(message: Message) -> Fields:
        index = message.first(name)
        return message.fields(index) if index >= 0 else []

    return fetch_first


def text_getter(path: Path) -> Callable[[Message], str]:
    """`path.get`, with '' for what is absent."""
    get = path.get

    def read(message: Message) -> str:
        return get(message) or ""

    return read


def field_reader(spec: Spec) -> FieldReader:
    """The function that reads a path's value from its segment's fields: the first match in that one segment."""
    if spec.is_header_mark:
        return _header_mark_reader(spec)
    if spec.field_selector is not None:
        return _selected_reader(spec)
    return _deep_reader(spec) if spec.component > 1 or spec.subcomponent > 1 else _leaf_reader(spec.field)


def _leaf_reader(field: int) -> FieldReader:
    def read(fields: Fields, message: Message) -> str:
        if field >= len(fields):
            return ""
        text = fields[field]
        if not text or text.isalnum():
            return text  # no delimiter is a letter or digit
        d = message.delimiters
        if d.cut_repetition in text:
            text = text.partition(d.cut_repetition)[0]
        if d.cut_component in text:
            text = text.partition(d.cut_component)[0]
        if d.cut_subcomponent in text:
            text = text.partition(d.cut_subcomponent)[0]
        return unescape(text, d, message.codec) if d.cut_escape in text else text

    return read


def _deep_reader(spec: Spec) -> FieldReader:
    field, component, subcomponent = spec.field, spec.component, spec.subcomponent

    def read(fields: Fields, message: Message) -> str:
        if field >= len(fields):
            return ""
        text = fields[field]
        d = message.delimiters
        if d.cut_repetition in text:
            text = text.partition(d.cut_repetition)[0]
        parts = text.split(d.cut_component, component)
        if len(parts) < component:
            return ""
        text = parts[component - 1]
        if subcomponent > 1:
            parts = text.split(d.cut_subcomponent, subcomponent)
            if len(parts) < subcomponent:
                return ""
            text = parts[subcomponent - 1]
        elif d.cut_subcomponent in text:
            text = text.partition(d.cut_subcomponent)[0]
        return unescape(text, d, message.codec) if d.cut_escape in text else text

    return read


def _selected_reader(spec: Spec) -> FieldReader:
    def read(fields: Fields, message: Message) -> str:
        d = message.delimiters
        for repetition in _repetitions(spec, fields, message):
            part = part_of(repetition, spec.component, spec.subcomponent, d)
            if part is not None:
                return unescape(first_leaf(part, d), d, message.codec)
        return ""

    return read


def _header_mark_reader(spec: Spec) -> FieldReader:
    deeper = spec.component > 1 or spec.subcomponent > 1

    def read(fields: Fields, message: Message) -> str:
        return "" if deeper or spec.field >= len(fields) else fields[spec.field]

    return read


def occurrences_in(spec: Spec) -> Callable[[Fields, Message], list[str]]:
    """The function that gives every occurrence of a path in one segment, '' for those that are empty or absent."""
    if spec.is_header_mark:
        mark = _header_mark_reader(spec)
        return lambda fields, message: [mark(fields, message)]

    def read(fields: Fields, message: Message) -> list[str]:
        d = message.delimiters
        parts = [part_of(r, spec.component, spec.subcomponent, d) for r in _repetitions(spec, fields, message)]
        return [unescape(first_leaf(part, d), d, message.codec) if part else "" for part in parts]

    return read


def _repetitions(spec: Spec, fields: Fields, message: Message) -> list[str]:
    """The repetitions that the path selects; a field that is not there has one, an empty one."""
    d = message.delimiters
    repetitions = (fields[spec.field] if spec.field < len(fields) else "").split(d.cut_repetition)
    match spec.field_selector:
        case Nth(number):
            return repetitions[number - 1 : number]
        case Where() as where:
            return [text for text in repetitions if repetition_matches(where, text, d, message)]
        case _:
            return repetitions


def occurrences(path: Path) -> Callable[[Message], list[str]]:
    """The function that gives every occurrence of a path in a message, in order."""
    read = occurrences_in(path.spec)

    def read_all(message: Message) -> list[str]:
        found: list[str] = []
        for index in path.segments(message):
            found += read(message.fields(index), message)
        return found

    return read_all


def segments(path: Path) -> Callable[[Message], list[Fields]]:
    """The function that gives the field lists of every segment of a path, in order."""

    def read_all(message: Message) -> list[Fields]:
        return [message.fields(index) for index in path.segments(message)]

    return read_all


def segment_exists(path: Path) -> Callable[[Message], bool]:
    """The function that tells whether a message has a segment that a path names."""

    def exists(message: Message) -> bool:
        return bool(path.segments(message))

    return exists
