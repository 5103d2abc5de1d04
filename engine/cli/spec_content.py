"""What stands in the interface specification of a channel: gathered from its files, ready to be written."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from engine.config.base import ConfigModel
from engine.config.graph import address_of, secrets_of, starred
from engine.hl7.charset import decoded
from engine.hl7.dictionary import Group, SegmentRef, load
from engine.hl7.errors import UnreadableMessage
from engine.hl7.message import Message
from engine.hl7.profile import ASPECTS, CrossRule, Element, Part, Profile, Rules, Sender
from engine.pipeline.in_words import (
    Code,
    Sentence,
    Words,
    answers_in_words,
    delivery_in_words,
    shown,
    steps_in_words,
    time_in_words,
)

if TYPE_CHECKING:
    from engine.config.site import LoadedChannel, LoadedSite
    from engine.config.table import Table

MOST_ROWS: Final = 500
"""Of one code table; a longer one is in its file."""
MOST_BYTES: Final = 64 * 1024
"""Of one file of a case."""
USUAL_VERSION: Final = "2.5.1"

_USAGES: Final = {"R": "required", "RE": "required, may be empty", "O": "optional", "X": "must be empty"}
_MODES: Final = {"reject": "refused", "warn": "warning", "observe": "counted"}


@dataclass(slots=True, frozen=True)
class MessageType:
    """What `accept` names. `structure` is the standard's, '' where there is none."""

    type: str
    structure: str
    segments: str


@dataclass(slots=True, frozen=True)
class PlaceRow:
    """What a profile asks of one place. `asks` are its rules, one a line."""

    path: str
    name: str
    asks: tuple[str, ...]
    comes_to: str
    owner: str


@dataclass(slots=True, frozen=True)
class RuleTable:
    """The rules for messages of one type, or for all."""

    title: str
    places: tuple[PlaceRow, ...]
    cross: tuple[PlaceRow, ...]


@dataclass(slots=True, frozen=True)
class ProfilePart:
    """One profile that messages are held against."""

    name: str
    description: str
    whose: str
    standard: str
    tables: tuple[RuleTable, ...]


@dataclass(slots=True, frozen=True)
class TablePart:
    """A code table. `rows` are cells, `left_out` how many rows are not in the page."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left_out: int


@dataclass(slots=True, frozen=True)
class DestinationPart:
    """A destination, the routes to it, and what becomes of what does not arrive."""

    name: str
    sink: str
    address: str
    routes: tuple[Words, ...]
    rules: tuple[tuple[str, Words], ...]


@dataclass(slots=True, frozen=True)
class Example:
    """A case: its files by name, in the order in which things happen."""

    name: str
    files: tuple[tuple[str, str], ...]


@dataclass(slots=True, frozen=True)
class Content:
    """All of it."""

    channel: str
    description: str
    environment: str
    version: str
    source: tuple[tuple[str, Words], ...]
    types: tuple[MessageType, ...]
    profiles: tuple[ProfilePart, ...]
    most: str
    steps: tuple[Sentence, ...]
    answers: tuple[tuple[str, Words], ...]
    destinations: tuple[DestinationPart, ...]
    tables: tuple[TablePart, ...]
    examples: tuple[Example, ...]
    more_examples: int

    def as_json(self) -> dict[str, Any]:
        """What is in it, for programs: sentences as texts."""
        return {
            "channel": self.channel,
            "description": self.description,
            "version": self.version,
            "source": {name: _plain(words) for name, words in self.source},
            "types": [one.type for one in self.types],
            "profiles": [one.name for one in self.profiles],
            "steps": [_sentence(step) for step in self.steps],
            "answers": [{"code": code, "when": _plain(words)} for code, words in self.answers],
            "destinations": [
                {
                    "name": one.name,
                    "sink": one.sink,
                    "address": one.address,
                    "routes": [_plain(words) for words in one.routes],
                    "rules": {case: _plain(words) for case, words in one.rules},
                }
                for one in self.destinations
            ],
            "tables": [one.name for one in self.tables],
            "examples": [one.name for one in self.examples],
        }


def content_of(channel: "LoadedChannel", site: "LoadedSite", most_examples: int) -> Content:
    """Everything that the specification says of a channel; nothing of it is a secret or of stored traffic."""
    file = channel.file
    examples, more = _examples(channel.folder / "cases", most_examples)
    return Content(
        channel=str(channel.name),
        description=starred(file.description, secrets_of(channel)),
        environment=site.site.environment if site.site is not None else "",
        version=_version(channel.files),
        source=tuple(_source(channel)),
        types=tuple(_types(file.accept, _standard_version(channel))),
        profiles=tuple(_profiles(channel)),
        most=_MODES[file.validation.most] if file.validation is not None else "",
        steps=tuple(steps_in_words(file.steps)),
        answers=tuple(answers_in_words(file)),
        destinations=tuple(_destinations(channel)),
        tables=tuple(_table(table) for table in sorted(channel.tables.values(), key=lambda table: table.name)),
        examples=examples,
        more_examples=more,
    )


def _version(files: Mapping[str, bytes]) -> str:
    """What tells this state of the channel's files from any other."""
    whole = sha256()
    for name in sorted(files):
        whole.update(f"{len(name)} {name} {len(files[name])} ".encode())
        whole.update(files[name])
    return whole.hexdigest()[:16]


# -- where messages come from --------------------------------------------------------------------


def _source(channel: "LoadedChannel") -> Iterator[tuple[str, Words]]:
    file = channel.file
    options = file.listen.options
    address = starred(address_of(options), secrets_of(channel))
    yield "Transport", (file.listen.source.upper(), *((" at ", Code(address)) if address else ()))
    allow = getattr(options, "allow", ())
    if allow:
        yield "Senders' addresses", (", ".join(map(str, allow)),)
    tls = getattr(options, "tls", None)
    if tls is not None:
        mutual = "; senders show a certificate of their own" if getattr(tls, "client_ca", None) else ""
        yield "Encryption", (f"TLS{mutual}",)
    elif file.listen.mllp is not None:
        yield "Encryption", ("None: the network has to keep others out.",)
    if file.condition is not None:
        yield "Only messages for which", (Code(shown(file.condition)), " holds.")
    yield "Largest message", (f"{options.max_message:,} bytes",)
    strict = "; text that is not as MSH-18 says is refused" if file.charset.strict else ""
    yield "Character set", ("As MSH-18 says; where it says nothing, ", Code(file.charset.fallback), f"{strict}.")
    if file.duplicates.is_on:
        within = time_in_words(file.duplicates.window)
        yield (
            "Sent again",
            (f"The same message within {within} gets its first answer again, and is not processed twice.",),
        )
    else:
        yield "Sent again", ("Every message is processed, also one that came before.",)
    if file.sequence == "on":
        yield "Sequence numbers", ("MSH-13 is checked.",)


def _standard_version(channel: "LoadedChannel") -> str:
    for loaded in channel.profiles.values():
        for _, profile in loaded.profiles.choices:
            if profile.version:
                return profile.version
    return USUAL_VERSION


def _types(accept: Sequence[str], version: str) -> Iterator[MessageType]:
    dictionary = load(version)
    for pattern in accept:
        code, _, event = pattern.partition("^")
        id = dictionary.structure_of(code, event).id if "*" not in pattern else None
        structure = dictionary.structure(id) if id is not None else None
        segments = " ".join(map(_segments, structure.children)) if structure is not None else ""
        yield MessageType(str(pattern), f"{id} ({version})" if id else "", segments)


def _segments(child: Group | SegmentRef) -> str:
    """In the standard's notation: [ ] for what may be missing, { } for what may repeat."""
    if isinstance(child, SegmentRef):
        inner = child.name
    else:
        inner = (" | " if child.is_choice else " ").join(map(_segments, child.children))
        inner = f"<{inner}>" if child.is_choice else inner if child.maximum != 1 or not child.minimum else f"({inner})"
    if child.maximum != 1:
        inner = f"{{{inner}}}"
    return inner if child.minimum else f"[{inner}]"


# -- what is asked -------------------------------------------------------------------------------


def _profiles(channel: "LoadedChannel") -> Iterator[ProfilePart]:
    for name, loaded in channel.profiles.items():
        for sender, profile in loaded.profiles.choices:
            tables = [_rules("All messages", profile, profile.rules)]
            for event in profile.events:
                title = f"{event.message_code}^{event.trigger_event or '*'}"
                tables.append(_rules(title, profile, event.rules))
            yield ProfilePart(
                name,
                profile.description,
                _sender(sender),
                f"A breach of the standard ({profile.version or 'of the version in MSH-12'}) is: "
                f"{_MODES.get(profile.standard.default, 'not looked for')}.",
                tuple(table for table in tables if table.places or table.cross),
            )


def _sender(sender: Sender) -> str:
    asked = (("MSH-3", sender.application), ("MSH-4", sender.facility), ("MSH-21", sender.profile))
    return ", ".join(f"{place} {value}" for place, value in asked if value)


def _rules(title: str, profile: Profile, rules: Rules) -> RuleTable:
    parts = [_part_row(part, profile) for part in rules.parts]
    places = sorted((_element_row(element, profile) for element in rules.elements), key=lambda row: _order(row.path))
    return RuleTable(title, (*parts, *places), tuple(_cross_row(rule) for rule in rules.cross))


def _order(path: str) -> tuple[str, list[int]]:
    segment, _, rest = path.partition("-")
    return segment, [int(number) for number in rest.partition(" ")[0].split(".") if number.isdigit()]


def _element_row(element: Element, profile: Profile) -> PlaceRow:
    asks: list[str] = []
    modes: dict[str, None] = {}
    owners: dict[str, None] = {}
    for aspect in ASPECTS:
        said = getattr(element, aspect)
        if said is None:
            continue
        modes[_MODES[said.rule.mode]] = None
        owners[said.rule.owner] = None
        asks.append(_aspect(aspect, said))
    where = f"{element.path} in {element.within}" if element.within else element.path
    return PlaceRow(where, element.name or _name(element, profile), tuple(asks), ", ".join(modes), _joined(owners))


def _aspect(aspect: str, said: Any) -> str:
    match aspect:
        case "usage":
            if said.condition is None:
                return f"{_USAGES[said.code]} ({said.code})"
            return f"{_USAGES[said.code]} ({said}) if {said.condition.text}, else {_USAGES[said.otherwise]}"
        case "cardinality":
            return f"{said} repetitions"
        case "length":
            return f"length {said}"
        case "values":
            if said.values:
                listed = sorted(said.values)
                more = f" and {len(listed) - 12} more" if len(listed) > 12 else ""
                named = f" ({said.name})" if said.name.endswith(".csv") else ""
                return f"one of {', '.join(listed[:12])}{more}{named}"
            return f"a code of HL7 table {said.table}"
        case "pattern":
            return f"form {said.text}"
        case "constant":
            return f"always {said.value}"
        case _:
            return f"data type {said.name}"


def _name(element: Element, profile: Profile) -> str:
    """What the standard, or the profile for a segment of its own, calls it."""
    own = profile.segments.get(element.segment)
    if own is not None and not element.component:
        return next((field.name for field in own.fields if field.number == element.field), "")
    dictionary = load(profile.version or USUAL_VERSION)
    segment = dictionary.segment(element.segment)
    field = segment.field(element.field) if segment is not None else None
    if field is None or not element.component:
        return field.name if field is not None else ""
    data_type = dictionary.data_type(field.data_type)
    component = data_type.component(element.component) if data_type is not None else None
    return component.name if component is not None else ""


def _part_row(part: Part, profile: Profile) -> PlaceRow:
    own = profile.segments.get(part.name)
    segment = load(profile.version or USUAL_VERSION).segment(part.name)
    name = own.title if own is not None else segment.title if segment is not None else ""
    said = [one for one in (part.usage, part.cardinality) if one is not None]
    asks = [_aspect("usage", part.usage)] if part.usage is not None else []
    asks += [f"{part.cardinality} times"] if part.cardinality is not None else []
    where = f"{part.name} in {part.within}" if part.within else part.name
    modes = ", ".join(dict.fromkeys(_MODES[one.rule.mode] for one in said))
    return PlaceRow(where, name, tuple(asks), modes, _joined(dict.fromkeys(one.rule.owner for one in said)))


def _cross_row(rule: CrossRule) -> PlaceRow:
    asks = [f"for each {rule.each}"] if rule.each else []
    asks += [f"if {rule.when.text}"] if rule.when is not None else []
    asks.append(f"then {rule.require.text}" if rule.when is not None else rule.require.text)
    return PlaceRow(rule.location, rule.name, tuple(asks), _MODES[rule.rule.mode], rule.rule.owner)


def _joined(owners: Mapping[str, None]) -> str:
    return ", ".join(owner for owner in owners if owner)


# -- where they go, and with what ----------------------------------------------------------------


def _destinations(channel: "LoadedChannel") -> Iterator[DestinationPart]:
    file = channel.file
    for name, destination in file.destinations.items():
        routes: list[Words] = [
            ("Messages for which ", Code(shown(route.when)), " holds.")
            if route.when is not None
            else ("All messages.",)
            for route in file.routes
            if route.to == name
        ]
        rules = (
            *_names(destination.options, secrets_of(channel)),
            *delivery_in_words(destination.policy, destination.sink),
        )
        yield DestinationPart(
            str(name),
            destination.sink,
            starred(address_of(destination.options), secrets_of(channel)),
            tuple(routes or [("None by itself.",)]),
            rules,
        )


def _names(options: ConfigModel, secrets: Sequence[str]) -> Iterator[tuple[str, Words]]:
    """How files are called that a destination writes."""
    documents = getattr(options, "documents", None)
    only = documents is not None and documents.only
    if (name := getattr(options, "name", "")) and getattr(options, "folder", None) and not only:
        yield "Files", ("A message is ", Code(starred(name, secrets)), ".")
    if documents is not None:
        rest = "; the message itself is not written." if only else "."
        yield "Documents", ("A document in OBX-5 is ", Code(starred(documents.name, secrets)), rest)


def _table(table: "Table") -> TablePart:
    rows = [
        (key, row.value, *row.others) for key in table.keys for row in (table.rows_of.get(key) or (table.rows[key],))
    ]
    return TablePart(table.name, table.columns, tuple(rows[:MOST_ROWS]), max(0, len(rows) - MOST_ROWS))


def _examples(root: Path, most: int) -> tuple[tuple[Example, ...], int]:
    folders = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    found = tuple(Example(folder.name, tuple(_files(folder))) for folder in folders[:most])
    return found, len(folders) - len(found) if most else 0


def _files(folder: Path) -> Iterator[tuple[str, str]]:
    # A link may lead out of the case, to what nobody wants to mail.
    names = sorted((path.name for path in folder.iterdir() if path.is_file() and not path.is_symlink()), key=_turn)
    for name in names:
        with (folder / name).open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        cut = "\n(cut here)" if len(content) > MOST_BYTES else ""
        text = decoded(content[:MOST_BYTES], _codec(content, name), "backslashreplace")
        yield name, text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n") + cut


def _codec(content: bytes, name: str) -> str:
    """As the message says; UTF-8 for what is none, as findings and JSON are."""
    if not name.endswith(".hl7"):
        return "utf-8"
    try:
        return Message.parse(content).codec
    except UnreadableMessage:
        return "utf-8"


def _turn(name: str) -> tuple[int, int, str]:
    """What comes in, what is answered, what is found, what goes out."""
    order = ("in.", "ack.", "findings.", "out.", "expect.")
    at = next((number for number, start in enumerate(order) if name.startswith(start)), len(order))
    middle = name.partition(".")[2].partition(".")[0]
    return at, int(middle) if middle.isdigit() else 0, name


def _plain(words: Words) -> str:
    return "".join(word.text if isinstance(word, Code) else word for word in words)


def _sentence(sentence: Sentence) -> dict[str, Any]:
    found: dict[str, Any] = {"text": _plain(sentence.words)}
    if sentence.name:
        found["name"] = sentence.name
    if sentence.when:
        found["when"] = sentence.when
    if sentence.inside:
        found["inside"] = [_sentence(inner) for inner in sentence.inside]
    return found
