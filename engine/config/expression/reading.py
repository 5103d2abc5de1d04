"""How expressions read a message beyond a path's first match: a bound segment's fields, and every occurrence.

What a path's first match is, and how it is found fast, is up to `engine.hl7.path`.
"""

from collections.abc import Callable

from engine.hl7.escape import unescape
from engine.hl7.grammar import Every, Nth, Spec, Where
from engine.hl7.message import Message
from engine.hl7.path import Path
from engine.hl7.reading import first_leaf, part_of, repetition_matches

Fields = list[str]
"""One segment's fields, `fields[n]` being field n; empty for a segment that is not there."""

ROUND = 20
"""What looking at one more segment takes from the message's allowance."""

FieldReader = Callable[[Fields, Message], str]


def several(path: Path) -> bool:
    """Whether the path says itself that it stands for several values."""
    return isinstance(path.spec.segment_selector, Every) or isinstance(path.spec.field_selector, Every)


def field_reader(spec: Spec) -> FieldReader:
    """The function that reads a path's first occurrence from the fields of one segment."""
    if spec.is_header_mark or spec.field_selector is not None:
        return _selected_reader(spec)
    field, component, subcomponent = spec.field, spec.component, spec.subcomponent

    def read(fields: Fields, message: Message) -> str:
        text = fields[field] if field < len(fields) else ""
        if text.isalnum() and component < 2 and subcomponent < 2:
            return text  # no delimiter is a letter or digit
        d = message.delimiters
        part = part_of(text.partition(d.cut_repetition)[0], component, subcomponent, d)
        return unescape(first_leaf(part, d), d, message.codec) if part else ""

    return read


def _selected_reader(spec: Spec) -> FieldReader:
    read_all = occurrences_in(spec)

    def read(fields: Fields, message: Message) -> str:
        found = read_all(fields, message)
        return found[0] if found else ""

    return read


def occurrences_in(spec: Spec) -> Callable[[Fields, Message], list[str]]:
    """The function that gives every occurrence of a path in one segment, '' for those that are empty or absent."""
    if spec.is_header_mark:
        deeper = spec.component > 1 or spec.subcomponent > 1
        return lambda fields, message: ["" if deeper or spec.field >= len(fields) else fields[spec.field]]

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
        indexes = path.segments(message)
        message.allowance -= ROUND * len(indexes)
        for index in indexes:
            found += read(message.fields(index), message)
        return found

    return read_all


def segments(path: Path) -> Callable[[Message], list[Fields]]:
    """The function that gives the field lists of every segment of a path, in order."""

    def read_all(message: Message) -> list[Fields]:
        indexes = path.segments(message)
        message.allowance -= ROUND * len(indexes)
        return [message.fields(index) for index in indexes]

    return read_all


def segment_exists(path: Path) -> Callable[[Message], bool]:
    """The function that tells whether a message has a segment that a path names."""

    def exists(message: Message) -> bool:
        return bool(path.segments(message))

    return exists
