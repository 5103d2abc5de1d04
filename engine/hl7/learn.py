"""What a profile can be made of: counts over messages that were sent, and the rules that follow from them.

`Learner.add` sees every message once; `Learner.learned` says which rules held for all of them. Memory is bounded by
the number of places, not of messages. What is learned of a place, and when:

- usage: R where it always had a value, else RE where it ever had one; X only with `closed`. Of a component: in each
  repetition of its field that had a value.
- cardinality, where the standard lets a field repeat: 0..1 where it never did, else up to twice the most that was seen.
- values: a set, only of codes (below), if each was seen in two messages at least, or is in the standard's own table,
  and all five times on average. In fewer than two hundred messages (`MANY`) the codes of the standard's own table are
  in it too: that one was not seen yet does not make it wrong.
- pattern: of identifiers and times, where all values have one shape (runs of digits, capitals, small letters, and
  marks between them). A shape has no letter or digit of a value in it.
- length: one length, where many different values had it and no pattern says so; else up to three times the longest.
- segments, of all messages and by type and event: R where it was always there; 0..1 where there never was a second.

Nothing is said of a place that was seen in fewer messages than `least`: two hundred OBX of one message are one. Nor is
anything said of values in MSH-9, MSH-12 and EVN-1, which differ
by type and version, and of lengths in OBX-5.

No patient data comes into a profile. Values are kept only of primitive types ID and IS and of the code of CE, CWE,
CNE and CF, only where the standard has a table for the place, only if they look like codes, and never of results,
diagnoses, procedures and allergies (`_PRIVATE`). All else leaves counts, lengths and shapes.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Final, Literal

from engine.hl7 import NULL
from engine.hl7.delimiters import HEADERS
from engine.hl7.dictionary import VARIES, ComponentDef, Dictionary, FieldDef, SegmentRef, load
from engine.hl7.escape import unescape
from engine.hl7.message import Message

Kind = Literal["code", "shape", "free", "none"]
"""What may be learned of values: a set of them, their shape, only their length, or nothing."""

MOST_VALUES: Final = 24
"""A set of more values than this is no set but a catalogue."""
MANY: Final = 200
"""In so many messages every code that is in use was seen."""
MOST_REPEATS_SEEN: Final = 1000
MOST_PLACES: Final = 20_000
MOST_SENDERS: Final = 50
MOST_EVENTS: Final = 500

_CODED: Final = frozenset(("CE", "CWE", "CNE", "CF"))
_NAMES: Final = frozenset(("XPN", "PPN", "XCN", "PN", "CN", "XON", "FN", "XAD", "AD", "SAD", "XTN", "TN", "CNN", "NDL"))
"""Types that hold names, addresses and telephones: nothing of their values is looked at but how long they are."""
_SHAPED: Final = frozenset(("ST", "DT", "TM", "DTM", "TS"))
_PRIVATE: Final = frozenset(("OBX-5", "OBX-3", "DG1-3", "DG1-4", "PR1-3", "AL1-3", "IAM-3", "GT1-3", "PRB-3", "PID-19"))
_BY_TYPE: Final = frozenset(("MSH-9", "MSH-12", "EVN-1", "OBX-5"))
_SEGMENT: Final = re.compile(r"[A-Z][A-Z0-9]{2}")
_EVENT: Final = re.compile(r"[A-Z][A-Z0-9]{2}\^[A-Z0-9]{1,3}")
_CODE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+/*<>-]{0,19}")
_RUNS: Final = re.compile(r"[0-9]+|[A-Z]+|[a-z]+|[-._/:+]")


@dataclass(slots=True, frozen=True)
class LearnedPlace:
    """What held for a field or component in all that was seen. `of`: how often it could have had a value."""

    path: str
    name: str
    of: int
    filled: int
    distinct: int | None
    usage: Literal["R", "RE", "X"] | None
    cardinality: tuple[int, int] | None = None
    length: tuple[int, int] | None = None
    values: tuple[str, ...] = ()
    pattern: str = ""


@dataclass(slots=True, frozen=True)
class LearnedSegment:
    """What held for a segment in the messages of one type and event, or in all."""

    name: str
    of: int
    present: int
    most: int
    usage: Literal["R", "RE"] | None
    only_one: bool
    is_nested: bool
    """Whether it stands in a group of the structure."""

    @property
    def is_asked_of_message(self) -> bool:
        """In every message, and perhaps several times: of each group nothing is known, so the message is asked."""
        return self.usage == "R" and (self.is_nested or not self.only_one)


@dataclass(slots=True, frozen=True)
class Learned:
    """What all messages had in common. Senders as `HIS|NORTH`.

    `everywhere` are segments of all messages together, `segments` those of one type and event, `ADT^A01`.
    """

    messages: int
    senders: tuple[str, ...]
    versions: tuple[str, ...]
    places: tuple[LearnedPlace, ...]
    everywhere: tuple[LearnedSegment, ...]
    segments: Mapping[str, tuple[LearnedSegment, ...]]


@dataclass(slots=True)
class _Seen:
    """Counts of one place."""

    kind: Kind
    name: str
    can_repeat: bool
    of: int = 0
    """How often it could have had a value: of a field, its segments; of a component, repetitions with a value. It is
    known only when all was seen: a version may have the place that another does not know."""
    filled: int = 0
    messages: int = 0
    filled_messages: int = 0
    last_filled: int = 0
    most_repeats: int = 0
    repetitions: int = 0
    leaf_messages: int = 0
    leaves: int = 0
    """Repetitions that had no components, since the version of their message knows none."""
    shortest: int = 1 << 30
    longest: int = 0
    values: dict[str, int] | None = field(default_factory=dict)
    last_message: dict[str, int] = field(default_factory=dict)
    hashes: set[int] | None = field(default_factory=set)
    runs: list[tuple[str, int, int]] | None = None
    has_shape: bool = True
    table: frozenset[str] = frozenset()
    has_table: bool = False
    versions: set[str] = field(default_factory=set)
    """Those in whose messages values were looked at."""

    def has(self, message: int) -> None:
        """In the message of that number it has a value once more."""
        self.filled += 1
        if self.last_filled != message:
            self.last_filled = message
            self.filled_messages += 1


class Learner:
    """Sees messages, of any versions and types, and says what they had in common.

    `least`: in how many messages a place must have been seen before anything is said of it. `closed`: what was never
    filled is said to be unused (X), so that a value that appears there is told.
    """

    def __init__(self, *, least: int = 10, closed: bool = False, load: Callable[[str], Dictionary] = load) -> None:
        self._least = max(1, least)
        self._closed = closed
        self._load = load
        self._messages = 0
        self._senders: dict[str, None] = {}
        self._versions: dict[str, None] = {}
        self._places: dict[tuple[str, int, int], _Seen] = {}
        self._occurrences: dict[str, tuple[int, int]] = {}
        """Of segments by name: how many, and in how many messages."""
        self._events: dict[str, int] = {}
        self._everywhere: dict[str, list[int]] = {}
        self._segments: dict[str, dict[str, list[int]]] = {}
        """By name, and by event and name: in how many messages, and how many at most."""

    def add(self, message: Message) -> None:
        """Count one message."""
        self._messages += 1
        version = (message.get("MSH-12.1") or "").strip()
        dictionary = self._load(version)
        if len(self._versions) < MOST_SENDERS:
            self._versions.setdefault(dictionary.version)
        sender = f"{message.get('MSH-3.1') or ''}|{message.get('MSH-4.1') or ''}"
        if len(self._senders) < MOST_SENDERS:
            self._senders.setdefault(sender)
        counts: dict[str, int] = {}
        for index, name in enumerate(message.names()):
            if not _SEGMENT.fullmatch(name):
                continue  # no segment, perhaps a piece of somebody's text
            counts[name] = counts.get(name, 0) + 1
            self._add_segment(message, index, name, dictionary)
        for name, number in counts.items():
            occurrences, messages = self._occurrences.get(name, (0, 0))
            self._occurrences[name] = occurrences + number, messages + 1
        _count_segments(self._everywhere, counts)
        # Without an event it is not known which rules are meant; `ADT^*` would hold for all events.
        event = f"{message.get('MSH-9.1') or ''}^{message.get('MSH-9.2') or ''}"
        if event in self._events or (_EVENT.fullmatch(event) and len(self._events) < MOST_EVENTS):
            self._events[event] = self._events.get(event, 0) + 1
            _count_segments(self._segments.setdefault(event, {}), counts)

    # -- counting -------------------------------------------------------------------------------

    def _add_segment(self, message: Message, index: int, name: str, dictionary: Dictionary) -> None:
        fields = message.fields(index)
        definition = dictionary.segment(name)
        known = definition.fields if definition is not None else ()
        first = 3 if name in HEADERS else 1
        for number in range(first, len(fields)):
            if fields[number]:
                field_def = known[number - 1] if number <= len(known) else None
                self._add_field(message, name, number, fields[number], field_def, dictionary)

    def _add_field(
        self, message: Message, name: str, number: int, text: str, definition: FieldDef | None, dictionary: Dictionary
    ) -> None:
        delimiters = message.delimiters
        type_def = dictionary.data_type(definition.data_type) if definition is not None else None
        components = type_def.components if type_def is not None else ()
        marks = delimiters.repetition + delimiters.component + delimiters.subcomponent
        parts_of = text.split(delimiters.cut_repetition)[:MOST_REPEATS_SEEN]
        repetitions = [part for part in parts_of if part.strip(marks) not in ("", NULL)]
        seen = self._seen((name, number, 0), definition, components, dictionary) if repetitions else None
        if seen is None:
            return
        seen.has(self._messages)
        seen.most_repeats = max(seen.most_repeats, len(repetitions))
        seen.repetitions += len(repetitions)
        for repetition in repetitions:
            parts = repetition.split(delimiters.cut_component)
            if components or len(parts) > 1:
                for position, part in enumerate(parts, 1):
                    self._add_component(message, (name, number, position), part, definition, components, dictionary)
                continue
            seen.leaves += 1
            seen.leaf_messages += repetition is repetitions[0]
            self._check_kind(seen, (name, number, 0), definition, components, dictionary)
            self._value(seen, repetition, message)

    def _add_component(
        self,
        message: Message,
        key: tuple[str, int, int],
        text: str,
        definition: FieldDef | None,
        components: Sequence[ComponentDef],
        dictionary: Dictionary,
    ) -> None:
        if text.strip(message.delimiters.subcomponent) in ("", NULL):
            return
        seen = self._seen(key, definition, components, dictionary)
        if seen is None:
            return
        seen.has(self._messages)
        self._check_kind(seen, key, definition, components, dictionary)
        if message.delimiters.subcomponent and message.delimiters.subcomponent in text:
            seen.kind = "none" if seen.kind == "none" else "free"
        self._value(seen, text, message)

    def _check_kind(
        self,
        seen: _Seen,
        key: tuple[str, int, int],
        definition: FieldDef | None,
        components: Sequence[ComponentDef],
        dictionary: Dictionary,
    ) -> None:
        """A place that is a code in one version and something else in another is no code here."""
        if dictionary.version in seen.versions:
            return
        seen.versions.add(dictionary.version)
        other = _new(key, definition, components, dictionary)
        seen.table = seen.table | other.table
        seen.has_table |= other.has_table
        if other.kind != seen.kind and seen.kind != "none":
            seen.kind = "free"

    def _value(self, seen: _Seen, text: str, message: Message) -> None:
        value = unescape(text, message.delimiters, message.codec) if message.delimiters.cut_escape in text else text
        seen.shortest = min(seen.shortest, len(value))
        seen.longest = max(seen.longest, len(value))
        if seen.hashes is not None:
            seen.hashes.add(hash(value))
            if len(seen.hashes) > 1000:
                seen.hashes = None
        if seen.kind == "code":
            self._count_value(seen, value)
        elif seen.kind == "shape" and seen.has_shape:
            _count_shape(seen, value)

    def _count_value(self, seen: _Seen, value: str) -> None:
        if seen.values is None:
            return
        if not _CODE.fullmatch(value) or (value not in seen.values and len(seen.values) >= MOST_VALUES):
            seen.values = None
            seen.last_message = {}
            return
        if seen.last_message.get(value) != self._messages:
            seen.last_message[value] = self._messages
            seen.values[value] = seen.values.get(value, 0) + 1

    def _seen(
        self,
        key: tuple[str, int, int],
        definition: FieldDef | None,
        components: Sequence[ComponentDef],
        dictionary: Dictionary,
    ) -> _Seen | None:
        seen = self._places.get(key)
        if seen is None and len(self._places) < MOST_PLACES:
            seen = self._places[key] = _new(key, definition, components, dictionary)
        return seen

    # -- what follows ---------------------------------------------------------------------------

    def learned(self) -> Learned:
        """What held for all messages so far."""
        seen_places = self._completed()
        order = {name: place for place, name in enumerate(dict.fromkeys(key[0] for key in seen_places))}
        keys = sorted(seen_places, key=lambda key: (order[key[0]], key[1], key[2]))
        places = [self._place(key, seen_places[key]) for key in keys if seen_places[key].filled]
        if self._closed:
            places += self._unused(seen_places)
        outer = {event: self._outer(event) for event in self._segments}
        everywhere = [
            self._segment(name, seen, self._messages, all(name in names for names in outer.values()))
            for name, seen in self._everywhere.items()
        ]
        segments = {
            event: tuple(
                self._segment(name, seen, self._events[event], name in outer[event]) for name, seen in of_event.items()
            )
            for event, of_event in sorted(self._segments.items())
        }
        senders = tuple(sorted(self._senders))
        return Learned(self._messages, senders, tuple(self._versions), tuple(places), tuple(everywhere), segments)

    def _completed(self) -> dict[tuple[str, int, int], _Seen]:
        """Work out `of`; what a field held that has components in another version counts as its first component."""
        places = deepcopy(self._places)
        for (segment, number, component), seen in places.items():
            if not component and seen.leaves and (segment, number, 1) in places:
                _join(places[segment, number, 1], seen)
        for (segment, number, component), seen in places.items():
            if component:
                field = places[segment, number, 0]
                seen.of, seen.messages = field.repetitions, field.filled_messages
            else:
                seen.of, seen.messages = self._occurrences[segment]
        return places

    def _outer(self, event: str) -> frozenset[str]:
        """The segments that stand in no group of an event's structure; all that were sent, where it has none."""
        code, _, trigger = event.partition("^")
        found = set(self._segments[event])
        for dictionary in map(self._load, self._versions):
            id = dictionary.structure_of(code, trigger).id
            structure = dictionary.structure(id) if id is not None else None
            if structure is not None:
                found &= {child.name for child in structure.children if isinstance(child, SegmentRef)}
        return frozenset(found)

    def _segment(self, name: str, seen: Sequence[int], of: int, is_outer: bool) -> LearnedSegment:
        present, most = seen
        is_known = of >= self._least
        usage: Literal["R", "RE"] | None = None
        if is_known:
            usage = "R" if present == of else "RE"
        return LearnedSegment(name, of, present, most, usage, is_known and most == 1, not is_outer)

    def _unused(self, places: Mapping[tuple[str, int, int], _Seen]) -> list[LearnedPlace]:
        """What the standard has in the segments and fields that were sent, and nobody ever filled."""
        found: dict[tuple[str, int, int], LearnedPlace] = {}
        for dictionary in map(self._load, self._versions):
            for name, (of, messages) in self._occurrences.items():
                definition = dictionary.segment(name)
                for field_def in definition.fields[2 if name in HEADERS else 0 :] if definition is not None else ():
                    number = field_def.number
                    field_seen = places.get((name, number, 0))
                    if field_seen is None:
                        if messages >= self._least:
                            unused = LearnedPlace(f"{name}-{number}", field_def.name, of, 0, None, "X")
                            found.setdefault((name, number, 0), unused)
                        continue
                    type_def = dictionary.data_type(field_def.data_type)
                    for component in type_def.components if type_def is not None else ():
                        key = (name, number, component.number)
                        if key not in places and field_seen.filled_messages >= self._least and component.number > 1:
                            path = f"{name}-{number}.{component.number}"
                            told = f"{field_def.name}: {component.name}"
                            found.setdefault(key, LearnedPlace(path, told, field_seen.repetitions, 0, None, "X"))
        return [found[key] for key in sorted(found)]

    def _place(self, key: tuple[str, int, int], seen: _Seen) -> LearnedPlace:
        segment, number, component = key
        path = f"{segment}-{number}.{component}" if component else f"{segment}-{number}"
        is_known = seen.messages >= self._least
        distinct = None if seen.hashes is None or not seen.longest else len(seen.hashes)
        usage: Literal["R", "RE"] | None = None
        if is_known:
            usage = "R" if seen.filled == seen.of else "RE"
        cardinality = None
        if not component and is_known and seen.can_repeat and seen.filled_messages >= self._least:
            cardinality = (0, 1 if seen.most_repeats == 1 else 2 * seen.most_repeats)
        values = self._values(seen)
        pattern = "" if values else self._pattern(seen, distinct)
        length = None if values or pattern else self._length(seen, distinct)
        return LearnedPlace(
            path, seen.name, seen.of, seen.filled, distinct, usage, cardinality, length, values, pattern
        )

    def _values(self, seen: _Seen) -> tuple[str, ...]:
        """The set of codes, if it is one."""
        if (
            seen.kind != "code"
            or not seen.has_table
            or not seen.values
            or seen.filled_messages < max(self._least, 5 * len(seen.values))
        ):
            return ()
        once = [value for value, count in seen.values.items() if count == 1]
        is_rare = seen.filled_messages < MANY or len(once) * MANY <= seen.filled_messages
        if once and not (is_rare and all(value in seen.table for value in once)):
            return ()
        standard = seen.table if seen.filled_messages < MANY and len(seen.table) <= MOST_VALUES else ()
        return tuple(sorted({*seen.values, *standard}))

    def _pattern(self, seen: _Seen, distinct: int | None) -> str:
        is_varied = distinct is None or distinct > 1
        if (
            seen.kind != "shape"
            or not seen.has_shape
            or not seen.runs
            or not is_varied
            or seen.filled_messages < self._least
        ):
            return ""
        if not any(kind == "[0-9]" for kind, _, _ in seen.runs):
            return ""
        return "".join(
            kind + ("" if least == most == 1 else f"{{{least}}}" if least == most else "+")
            for kind, least, most in seen.runs
        )

    def _length(self, seen: _Seen, distinct: int | None) -> tuple[int, int] | None:
        if not seen.longest or seen.filled_messages < self._least or seen.kind == "none":
            return None
        if seen.shortest == seen.longest and seen.kind == "shape" and (distinct is None or distinct >= 10):
            return seen.longest, seen.longest
        return 0, max(20, -(-3 * seen.longest // 10) * 10)


def _count_segments(seen: dict[str, list[int]], counts: Mapping[str, int]) -> None:
    for name, number in counts.items():
        known = seen.setdefault(name, [0, 0])
        known[0] += 1
        known[1] = max(known[1], number)


def _join(first: _Seen, whole: _Seen) -> None:
    """Lay what a field held as a whole over what its first component held; the field keeps only its counts."""
    first.filled += whole.leaves
    first.filled_messages += whole.leaf_messages
    first.shortest, first.longest = min(first.shortest, whole.shortest), max(first.longest, whole.longest)
    first.hashes = first.hashes | whole.hashes if first.hashes is not None and whole.hashes is not None else None
    first.table = first.table | whole.table
    first.has_table |= whole.has_table
    if first.kind != whole.kind:
        first.kind = "free"
    if first.values is not None and whole.values is not None:
        for value, count in whole.values.items():
            first.values[value] = first.values.get(value, 0) + count
        if len(first.values) > MOST_VALUES:
            first.values = None
    else:
        first.values = None
    first.has_shape &= whole.has_shape
    if first.has_shape and first.runs and whole.runs:
        kinds = [kind for kind, _, _ in first.runs]
        first.has_shape = kinds == [kind for kind, _, _ in whole.runs]
        if first.has_shape:
            pairs = zip(first.runs, whole.runs, strict=True)
            first.runs = [(a[0], min(a[1], b[1]), max(a[2], b[2])) for a, b in pairs]
    whole.leaves, whole.kind, whole.longest, whole.hashes = 0, "free", 0, None


def _count_shape(seen: _Seen, value: str) -> None:
    """Lay the value's runs over those before; another order of runs, or a mark that is none of ours, ends the shape."""
    runs = [(_class_of(run), len(run)) for run in _RUNS.findall(value)]
    if sum(length for _, length in runs) != len(value) or len(runs) > 12:
        seen.has_shape = False
        return
    if seen.runs is None:
        seen.runs = [(kind, length, length) for kind, length in runs]
        return
    if [kind for kind, _ in runs] != [kind for kind, _, _ in seen.runs]:
        seen.has_shape = False
        return
    seen.runs = [
        (kind, min(least, length), max(most, length))
        for (kind, least, most), (_, length) in zip(seen.runs, runs, strict=True)
    ]


def _class_of(run: str) -> str:
    if run[0].isdigit():
        return "[0-9]"
    if run.isalpha():
        return "[A-Z]" if run.isupper() else "[a-z]"
    return "\\" + run if run in ".+" else run


def _new(
    key: tuple[str, int, int], definition: FieldDef | None, components: Sequence[ComponentDef], dictionary: Dictionary
) -> _Seen:
    """A place not seen before: what may be learned of its values goes by the standard's data types alone."""
    segment, number, position = key
    if f"{segment}-{number}" in _BY_TYPE:
        return _Seen("none", definition.name if definition is not None else "", definition is None)
    if definition is None:
        return _Seen("free", "", True)
    is_private = f"{segment}-{number}" in _PRIVATE or definition.data_type == VARIES
    if not position:
        kind: Kind = "free" if is_private else _kind(definition.data_type, "")
        codes, can_repeat = _codes(definition.table, dictionary), definition.maximum != 1
        return _Seen(kind, definition.name, can_repeat, table=codes, has_table=bool(definition.table))
    component = components[position - 1] if position <= len(components) else None
    if component is None:
        return _Seen("free", definition.name, False)
    name = f"{definition.name}: {component.name}"
    table = component.table
    if definition.data_type in _CODED and position == 1:
        table = definition.table or component.table
        kind = "code"
    else:
        kind = _kind(component.data_type, definition.data_type)
    codes = _codes(table, dictionary)
    return _Seen("free" if is_private else kind, name, False, table=codes, has_table=bool(table))


def _kind(data_type: str, parent: str) -> Kind:
    if data_type in ("ID", "IS"):
        return "code"
    if parent in _NAMES or data_type in _NAMES:
        return "free"
    return "shape" if data_type in _SHAPED else "free"


def _codes(table: str, dictionary: Dictionary) -> frozenset[str]:
    found = dictionary.table(table) if table else None
    return frozenset(found.codes) if found is not None else frozenset()


def rules_of(learned: Learned) -> Iterator[str]:
    """The ids of all rules that were learned, as `profile` names them; of a segment once for each type and event."""
    for place in learned.places:
        for aspect in ("usage", "cardinality", "length", "values", "pattern"):
            if getattr(place, aspect):
                yield f"{place.path}.{aspect}"
    for segment in (*learned.everywhere, *(each for of_event in learned.segments.values() for each in of_event)):
        if segment.is_asked_of_message:
            yield f"rule.{segment.name.lower()}-is-there"
        elif segment.usage:
            yield f"{segment.name}.usage"
        if segment.only_one:
            yield f"{segment.name}.cardinality"
