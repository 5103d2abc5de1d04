"""Profiles as files: YAML that `profile_load` reads back, in the order and with the comments a person would want."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from engine.hl7.learn import Learned, LearnedPlace, LearnedSegment
from engine.hl7.profile import Mode

WIDE: Final = 110
_PLAIN: Final = re.compile(r"[A-Za-z0-9_*^][A-Za-z0-9_.*^|()/ +=<>~-]*")
_NUMBER: Final = re.compile(r"[+-]?(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|0[xob][0-9a-fA-F]+|[0-9-]+")
_NOT_PLAIN: Final = re.compile(r".* $|.*: |.* #|.*:$")

_COUNTS: Final = {"of", "filled", "distinct"}

Data = Mapping[str, Any] | Sequence[Any] | str | int


@dataclass(slots=True)
class Document:
    """A profile's file to be written. `comments` stand behind the line of a key, by the keys that lead to it."""

    data: dict[str, Any]
    head: str = ""
    comments: dict[tuple[str, ...], str] = field(default_factory=dict)

    def text(self) -> str:
        """The file."""
        lines = [f"# {line}".rstrip() for line in self.head.splitlines()]
        self._mapping(self.data, (), lines)
        return "\n".join(lines) + "\n"

    def _mapping(self, data: Mapping[str, Any], path: tuple[str, ...], lines: list[str]) -> None:
        indent = "  " * len(path)
        for key, value in data.items():
            here = (*path, key)
            comment = f"  # {_comment(self.comments[here])}" if here in self.comments else ""
            name = _key(key)
            if isinstance(value, Mapping) and not self._fits(value, here):
                lines.append(f"{indent}{name}:{comment}")
                self._mapping(value, here, lines)
            elif (
                isinstance(value, Sequence)
                and not isinstance(value, str)
                and any(isinstance(v, Mapping) for v in value)
            ):
                lines.append(f"{indent}{name}:{comment}")
                for item in value:
                    inner: list[str] = []
                    self._mapping(item, (*here, ""), inner)
                    first = inner[0].lstrip()
                    lines.append(f"{'  ' * (len(path) + 1)}- {first}")
                    lines += [f"{line}" for line in inner[1:]]
            else:
                lines.append(f"{indent}{name}: {flow(value)}{comment}")

    def _fits(self, value: Mapping[str, Any], path: tuple[str, ...]) -> bool:
        """Whether a mapping is one line: short, of one place, and without comments inside."""
        if len(path) == 1 and path[0] in ("fields", "segments", "messages"):
            return not value
        if any(known[: len(path)] == path and len(known) > len(path) for known in self.comments):
            return False
        if any(
            isinstance(inner, Mapping) and any(isinstance(v, Mapping) for v in inner.values())
            for inner in value.values()
        ):
            return False
        if any(key in ("fields", "segments", "rules") for key in value):
            return False
        is_deep = any(isinstance(inner, Mapping) and set(inner) - _COUNTS for inner in value.values())
        return len(flow(value)) <= (WIDE if is_deep else 2 * WIDE)


def flow(value: Data) -> str:
    """A value in one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(key)}: {flow(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, str):
        return scalar(value)
    if isinstance(value, int):
        return str(value)
    return "[" + ", ".join(flow(inner) for inner in value) + "]"


def _key(text: str) -> str:
    """Numbers of fields stay as they are: an editor's schema knows them as keys."""
    return text if re.fullmatch(r"[0-9]+(\.[0-9]+)*", text) else scalar(text)


def scalar(text: str) -> str:
    """A text as YAML: as it stands where nothing in it can mean something else, else in double quotes.

    What YAML 1.1 or 1.2 would take for a number or a flag stands in quotes too: editors read those, we do not.
    """
    if _PLAIN.fullmatch(text) and not _NOT_PLAIN.match(text) and not _is_other(text):
        return text
    return '"' + "".join(_escaped(character) for character in text) + '"'


def _is_other(text: str) -> bool:
    if text.lower() in ("true", "false", "yes", "no", "on", "off", "null", "y", "n", "~"):
        return True
    return text.startswith(("*", "=", "<", "|")) or _NUMBER.fullmatch(text) is not None


def _escaped(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _comment(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:160]


def _messages(count: int) -> str:
    return f"{count} message{'' if count == 1 else 's'}"


def learned_document(learned: Learned, *, mode: Mode = "warn", whom: Mapping[str, str] | None = None) -> Document:
    """The file of what was learned: only warnings at first, and nothing of the standard beside it."""
    senders = ", ".join(learned.senders)
    document = Document(
        {}, "Learned from traffic by: segmill profile learn. Counts, codes and shapes; no patient's data."
    )
    data = document.data
    data["description"] = f"Learned from {_messages(learned.messages)}"
    if whom:
        data["for"] = dict(whom)
    data["mode"] = mode
    data["standard"] = "observe"
    data["learned"] = {"messages": learned.messages, **({"senders": list(learned.senders)} if senders else {})}
    data |= _rules(learned, document, ())
    return document


def learned_by_sender(all_learned: Learned, of_senders: Mapping[str, Learned], *, mode: Mode = "warn") -> Document:
    """One file with a profile for each sender (`HIS|NORTH`)."""
    document = Document(
        {}, "Learned from traffic by: segmill profile learn. Counts, codes and shapes; no patient's data."
    )
    document.data["description"] = f"Learned from {_messages(all_learned.messages)} of {len(of_senders)} senders"
    document.data["mode"] = mode
    document.data["standard"] = "observe"
    entries = []
    for sender, learned in of_senders.items():
        application, _, facility = sender.partition("|")
        whom = {key: text for key, text in (("sender", application), ("facility", facility)) if text}
        about = {"messages": learned.messages, "senders": [sender]}
        entries.append({"for": whom, "learned": about, **_rules(learned, document, ("profiles", ""))})
    document.data["profiles"] = entries
    return document


def _rules(learned: Learned, document: Document, path: tuple[str, ...]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for place in learned.places:
        fields[place.path] = _place(place)
        if place.name:
            document.comments[(*path, "fields", place.path)] = place.name
    everywhere = {segment.name: entry for segment in learned.everywhere if (entry := _segment(segment))}
    always = _presence(learned.everywhere)
    messages = {}
    for event, segments in learned.segments.items():
        of_event = {segment.name: entry for segment in segments if (entry := _segment(segment))}
        own = {
            "segments": {
                name: entry for name, entry in of_event.items() if _rule(entry) != _rule(everywhere.get(name, {}))
            },
            "rules": [rule for rule in _presence(segments) if rule not in always],
        }
        if any(own.values()):
            messages[event] = {key: value for key, value in own.items() if value}
    rules = {"fields": fields, "segments": everywhere, "rules": always, "messages": messages}
    return {key: value for key, value in rules.items() if value}


def _presence(segments: Sequence[LearnedSegment]) -> list[dict[str, str]]:
    """A rule for each segment that is in every message, and repeats."""
    return [
        {"name": f"{segment.name} is there", "require": f"{segment.name} exists", "at": segment.name}
        for segment in segments
        if segment.is_asked_of_message
    ]


def _rule(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What a segment's entry asks, without the counts."""
    return {key: value for key, value in entry.items() if key != "evidence"}


def _place(place: LearnedPlace) -> dict[str, Any]:
    entry: dict[str, Any] = {}
    if place.usage:
        entry["usage"] = place.usage
    if place.cardinality:
        entry["cardinality"] = f"{1 if place.usage == 'R' else 0}..{place.cardinality[1]}"
    if place.length:
        entry["length"] = f"{place.length[0]}..{place.length[1]}"
    if place.values:
        entry["values"] = list(place.values)
    if place.pattern:
        entry["pattern"] = place.pattern
    entry["evidence"] = {"of": place.of, "filled": place.filled}
    if place.distinct is not None:
        entry["evidence"]["distinct"] = place.distinct
    return entry


def _segment(segment: LearnedSegment) -> dict[str, Any]:
    if segment.usage is None:
        return {}
    entry: dict[str, Any] = {"usage": "RE" if segment.is_asked_of_message else segment.usage}
    if segment.only_one:
        entry["cardinality"] = "1..1" if entry["usage"] == "R" else "0..1"
    entry["evidence"] = {"of": segment.of, "filled": segment.present}
    return entry
