"""What a channel uses, and where: fields of messages, tables, files, hosts, ports, folders, destinations.

From the models and the texts that were met while they were read, so nothing that can be in a channel file is missed
because of the way it is written: names of files with places in them, and what a worklist reads of its own, too. What
stands in Python and in profiles is found by its text.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from engine.config.expression import Condition, ExpressionError, Value, compile_condition, compile_value
from engine.config.files import CHANNEL_FILE
from engine.config.finding import Position
from engine.config.node import SourceDict, SourceList, SourceText
from engine.config.reading import to_data
from engine.config.site import LoadedChannel
from engine.config.source import load_yaml
from engine.config.types import (
    ConditionText,
    DestinationText,
    ExpressionText,
    FunctionText,
    PathText,
    ProfileText,
    SegmentText,
    TablePath,
    ValueText,
)
from engine.config.worklist import WorklistOptions
from engine.hl7.errors import PathError
from engine.hl7.path import Path, compile_path

Kind = Literal["field", "table", "file", "destination", "setting"]

_WRITTEN_PATH: Final = re.compile(r"(?<![A-Za-z0-9_-])[A-Z][A-Z0-9]{2}(?:\[[^\]\n]*\])?-[0-9][0-9.]*")
_BESIDE_ITS_MAP: Final = ("PID-3", "MRG-1", "ORC-1", "ORC-5", "ORC-9", "OBX-3", "OBX-5", "OBX-6", "MSH-7", "EVN-2")
"""What a worklist reads to know whose and which step it is, what becomes of it, and when."""

_SECTIONS: Final = ("listen", "destinations", "accept", "ack")


@dataclass(slots=True, frozen=True)
class Use:
    """One use. `text` is what is used, `where` the part of the channel, such as `steps 8` or `destinations ris`."""

    kind: Kind
    text: str
    where: str
    file: str
    line: int
    column: int


def uses_of(channel: LoadedChannel) -> list[Use]:
    """Everything that a channel uses, in the order of its files."""
    found = [*_of_texts(channel), *_of_settings(channel), *_of_files(channel)]
    return sorted(dict.fromkeys(found), key=lambda use: (use.file != channel.shown, use.file, use.line, use.column))


def is_of_field(use: Use, wanted: Path) -> bool:
    """Whether a use reads or writes the place, something in it, or something that it is in."""
    if use.kind != "field":
        return False
    try:
        path = compile_path(use.text)
    except PathError:
        return False
    levels = [(getattr(path, name), getattr(wanted, name)) for name in ("field", "component", "subcomponent")]
    return path.segment == wanted.segment and all(one == other or None in (one, other) for one, other in levels)


def is_of_name(use: Use, wanted: str) -> bool:
    """Whether it is that table, file, host, port, folder or destination; a file also by its last name."""
    if use.kind == "field":
        return False
    if use.kind in ("table", "file") and use.text.rpartition("/")[2] == wanted:
        return True
    if use.text == wanted:
        return True
    # A host stands in a URL, a folder below another one.
    return use.kind == "setting" and re.search(rf"(?<![\w.-]){re.escape(wanted)}(?![\w.-])", use.text) is not None


def _of_texts(channel: LoadedChannel) -> Iterator[Use]:
    for text, focus in channel.texts:
        kind, used = _used(channel, text, focus)
        place = text.position()
        if place is None:
            continue
        where = _where(channel, place)
        for one in used:
            yield Use(kind, one, where, place.file, place.line, place.column)
        if isinstance(text, ConditionText | ExpressionText | ValueText):
            for table in _tables(channel, text, focus):
                yield Use("table", table, where, place.file, place.line, place.column)


def _used(channel: LoadedChannel, text: SourceText, focus: str | None) -> tuple[Kind, list[str]]:
    if isinstance(text, TablePath):
        return "table", [str(text)]
    if isinstance(text, DestinationText):
        return "destination", [str(text)]
    if isinstance(text, FunctionText):
        return "file", [text.file]
    if isinstance(text, ProfileText):
        return "file", [] if text.is_standard else [str(text)]
    if isinstance(text, PathText | SegmentText):
        return "field", [str(text)]
    compiled = _compiled(channel, text, focus)
    return "field", [str(path) for path in compiled.paths] if compiled is not None else []


def _tables(channel: LoadedChannel, text: SourceText, focus: str | None) -> tuple[str, ...]:
    compiled = _compiled(channel, text, focus)
    return compiled.tables if compiled is not None else ()


def _compiled(channel: LoadedChannel, text: SourceText, focus: str | None) -> Condition | Value | None:
    try:
        if isinstance(text, ConditionText):
            return compile_condition(str(text), focus=focus, tables=channel.tables)
        if isinstance(text, ExpressionText):
            return compile_value(str(text), focus=focus, tables=channel.tables)
        if isinstance(text, ValueText) and text.is_expression:
            return compile_value(text.expression, focus=focus, tables=channel.tables)
    except ExpressionError:
        return None  # a text of another meaning at the same place; the channel as a whole has no errors
    return None


def _of_settings(channel: LoadedChannel) -> Iterator[Use]:
    """Each value of the sections, with what `${...}` stood for, and the name of each destination."""
    text = channel.files[CHANNEL_FILE].decode("utf-8").removeprefix("\ufeff")
    node, _ = load_yaml(text, channel.shown)
    data = to_data(node) if node is not None else None
    if not isinstance(data, SourceDict):
        return
    named = {origin.reference: origin.value for origin in channel.origins}
    marked = {text.position() for text, _ in channel.texts}
    for section in _SECTIONS:
        value = data.value(section)
        if section == "destinations" and isinstance(value, SourceDict):
            for name in value:
                if (place := name.position()) is not None:
                    where = f"{section} {name}"
                    yield Use("destination", str(name), where, place.file, place.line, place.column)
                    for path in _of_worklist(channel, name):
                        yield Use("field", path, where, place.file, place.line, place.column)
        for scalar in _scalars(value):
            resolved = str(scalar)
            for reference, stands_for in named.items():
                resolved = resolved.replace(reference, "***" if stands_for is None else stands_for)
            yield from _use("setting", scalar, resolved, channel)
            # Names of files and rows of a worklist's map are texts with paths in them; what is more was read as such.
            for written in dict.fromkeys(_WRITTEN_PATH.findall(str(scalar))) if scalar.position() not in marked else ():
                yield from _use("field", scalar, written.rstrip("."), channel)


def _of_worklist(channel: LoadedChannel, destination: str) -> Iterator[str]:
    """What a worklist reads of every order, also where the file leaves that to the standard."""
    options = channel.file.destinations[destination].options
    if isinstance(options, WorklistOptions):
        rows = options.table.rows.values()
        mapped = [path for sources in rows for source in sources for path in source.paths]
        yield from dict.fromkeys([*_BESIDE_ITS_MAP, *mapped])


def _use(kind: Kind, scalar: SourceText, text: str, channel: LoadedChannel) -> Iterator[Use]:
    place = scalar.position()
    if place is not None:
        yield Use(kind, text, _where(channel, place), place.file, place.line, place.column)


def _scalars(value: object) -> Iterator[SourceText]:
    if isinstance(value, SourceDict):
        for inside in value.values():
            yield from _scalars(inside)
    elif isinstance(value, SourceList):
        for inside in value:
            yield from _scalars(inside)
    elif isinstance(value, SourceText):
        yield value


def _of_files(channel: LoadedChannel) -> Iterator[Use]:
    """Paths that are written in Python and in profiles."""
    for name, content in channel.files.items():
        if name == CHANNEL_FILE or not name.endswith((".py", ".yaml", ".yml")):
            continue
        shown = f"{channel.shown.rpartition('/')[0]}/{name}"
        if not name.endswith(".py"):
            yield from _of_segments(name, shown, content)
        for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
            for found in _WRITTEN_PATH.finditer(line):
                yield Use("field", found[0].rstrip("."), name, shown, number, found.start() + 1)


def _of_segments(name: str, shown: str, content: bytes) -> Iterator[Use]:
    """Fields that a profile names below their segment: `segments: {ZDS: {fields: {1: ...}}}`."""
    node, _ = load_yaml(content.decode("utf-8", "replace").removeprefix("\ufeff"), shown)
    data = to_data(node) if node is not None else None
    segments = data.value("segments") if isinstance(data, SourceDict) else None
    for segment, about in segments.items() if isinstance(segments, SourceDict) else ():
        fields = about.value("fields") if isinstance(about, SourceDict) else None
        named = [(key, f"{segment}-{key}") for key in fields] if isinstance(fields, SourceDict) else []
        for key, text in named or [(segment, str(segment))]:
            place = key.position()
            if place is not None:
                yield Use("field", text, name, shown, place.line, place.column)


def _where(channel: LoadedChannel, place: Position) -> str:
    """The part of the channel that a place is in: its innermost step, or its section with the name below it."""
    best: tuple[tuple[int, int], tuple[str | int, ...]] | None = None
    for keys, at in channel.positions.items():
        here = (at.line, at.column)
        is_named = len(keys) >= 2 and (keys[0] == "steps" or keys[0] in _SECTIONS or keys[0] == "routes")
        if at.file == place.file and here <= (place.line, place.column) and (is_named or len(keys) == 1):
            shown = keys[:2] if is_named else keys
            if best is None or here >= best[0]:
                best = (here, shown)
    if best is None:
        return ""
    return " ".join(str(key + 1) if isinstance(key, int) else key for key in best[1])
