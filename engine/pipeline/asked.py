"""What a channel's own steps ask of the messages that come: values its tables have rows for, places, patterns, filters.

Read from the files, in the order of the steps: what an earlier step has written is not asked of the sender, and what
it has copied is asked of the place it came from.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from engine.config.entries import StepEntry
from engine.config.expression.patterns import Pattern, compile_pattern
from engine.config.site import LoadedChannel
from engine.config.table import Table
from engine.config.table_rows import ANY, DIRECTION, FROM, TO
from engine.config.types import PathText, ProfileText, TablePath
from engine.hl7.errors import PathError
from engine.hl7.grammar import Every
from engine.hl7.path import Path, compile_path
from engine.pipeline.steps.copy import CopyOptions
from engine.pipeline.steps.delete import DeleteOptions
from engine.pipeline.steps.each import EachOptions
from engine.pipeline.steps.filter import FilterOptions
from engine.pipeline.steps.map import MapOptions
from engine.pipeline.steps.set import SetOptions
from engine.pipeline.steps.validate import Rules, ValidateOptions

_OURS: Final = frozenset((FROM, TO, DIRECTION))
_Place = tuple[str, int, int]


@dataclass(slots=True, frozen=True)
class Ask:
    """What is asked of one place. `labels` are what people call a value, where the table says it."""

    path: Path
    values: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    pattern: Pattern | None = None
    least: int = 0
    most: int | None = None
    is_required: bool = False


@dataclass(slots=True)
class Asked:
    """Of a whole channel. `filters` are conditions that must be true, `profiles` what messages are held against."""

    asks: list[Ask] = field(default_factory=list)
    filters: list[str] = field(default_factory=list)
    profiles: list[ProfileText] = field(default_factory=list)


def asked_of(channel: LoadedChannel) -> Asked:
    """What the channel's file asks for, but for `accept` and `from`."""
    reader = _Reader(channel.tables)
    if channel.file.validation is not None:
        reader.found.profiles.append(channel.file.validation.profile)
    reader.read(channel.file.steps, None)
    reader.found.asks = _together(reader.found.asks)
    return reader.found


class _Reader:
    def __init__(self, tables: Mapping[str, Table]) -> None:
        self._tables = tables
        self.found = Asked()
        self._written: dict[_Place, Path | None] = {}
        """Places that steps wrote, with where the value came from; None: not from the message."""

    def read(self, entries: Sequence[StepEntry], focus: str | None) -> None:
        for entry in entries:
            options = entry.options
            match options:
                case FilterOptions():
                    if entry.when is None:
                        self.found.filters.append(str(options.condition))
                case ValidateOptions():
                    self._rules(options.rules, focus)
                case MapOptions():
                    self._map(options, focus)
                case CopyOptions():
                    for target, source in options.places.items():
                        self._write(target, _path(source, focus), focus, always=entry.when is None)
                case SetOptions():
                    for target, value in options.values.items():
                        read = _path(PathText(value.expression.strip()), focus) if value.is_expression else None
                        self._write(target, read, focus, always=entry.when is None)
                case DeleteOptions():
                    for target in options.paths:
                        self._write(target, None, focus, always=entry.when is None)
                case EachOptions():
                    self.read(options.do, str(options.segment))
                case _:
                    continue

    def _rules(self, rules: Rules, focus: str | None) -> None:
        if rules.profile is not None:
            self.found.profiles.append(rules.profile)
        for text in rules.required:
            self._ask(text, focus, is_required=True)
        for text, pattern in rules.pattern.items():
            self._ask(text, focus, pattern=compile_pattern(str(pattern), 0))
        for text, allowed in rules.values.items():
            if isinstance(allowed, TablePath):
                values, labels = _keys(self._tables[str(allowed)])
                self._ask(text, focus, values=values, labels=labels)
            else:
                self._ask(text, focus, values=tuple(map(str, allowed)))
        for text, lengths in rules.length.items():
            self._ask(text, focus, least=lengths.least, most=lengths.most)

    def _map(self, options: MapOptions, focus: str | None) -> None:
        for text, name in options.tables.items():
            table = self._tables[str(name)]
            values, labels = _keys(table.back()[0] if options.direction == "back" else table)
            self._ask(text, focus, values=values, labels=labels)
            self._write(text, None, focus, always=True)

    def _ask(
        self,
        text: PathText,
        focus: str | None,
        *,
        values: tuple[str, ...] = (),
        labels: Mapping[str, str] = MappingProxyType({}),
        pattern: Pattern | None = None,
        least: int = 0,
        most: int | None = None,
        is_required: bool = False,
    ) -> None:
        path = _path(text, focus)
        for source in self._sources(path) if path is not None else ():
            self.found.asks.append(Ask(source, values, labels, pattern, least, most, is_required))

    def _sources(self, path: Path) -> Iterator[Path]:
        """The places of the message as it comes that a place has its value from."""
        spec = path.spec
        for component in dict.fromkeys((spec.component, 0)):
            place = (spec.segment, spec.field, component)
            if place not in self._written:
                continue
            source = self._written[place]
            if source is not None:
                below = source.spec._replace(component=source.spec.component or spec.component)
                yield Path(str(source), below, None)
            return
        yield path

    def _write(self, text: PathText, source: Path | None, focus: str | None, *, always: bool) -> None:
        path = _path(text, focus)
        if path is None or not path.field or not always:
            return
        # What it came from may itself have been written before.
        before = next(self._sources(source), None) if source is not None else None
        spec = path.spec
        self._written[spec.segment, spec.field, spec.component] = before


def _path(text: PathText, focus: str | None) -> Path | None:
    """The place, of every segment of that name inside an `each`; None for what is no path but more."""
    try:
        path = compile_path(str(text), focus=focus)
    except PathError:
        return None
    return Path(path.text, path.spec._replace(segment_selector=Every()), None) if path.focus else path


def _keys(table: Table) -> tuple[tuple[str, ...], dict[str, str]]:
    """The keys that a table has a row for at any time, else all; with the first remark of each."""
    every = [key for key in table.keys if key and not (table.has_default and key == ANY)]
    rows = table.rows
    always = [key for key in every if rows[key].since is None and rows[key].until is None]
    named = [at for at, column in enumerate(table.columns[2:]) if column not in _OURS]
    labels = {key: rows[key].others[named[0]] for key in every if named and len(rows[key].others) > named[0]}
    return tuple(always or every), {key: label for key, label in labels.items() if label}


def _together(asks: list[Ask]) -> list[Ask]:
    """What is asked of the same place more than once, as one: values that all of them take, where there are any."""
    found: dict[Path, Ask] = {}
    for ask in asks:
        known = found.get(ask.path)
        if known is None:
            found[ask.path] = ask
            continue
        common = tuple(value for value in known.values if value in ask.values)
        found[ask.path] = Ask(
            ask.path,
            common or known.values or ask.values,
            {**ask.labels, **known.labels},
            known.pattern or ask.pattern,
            max(known.least, ask.least),
            min((most for most in (known.most, ask.most) if most is not None), default=None),
            known.is_required or ask.is_required,
        )
    return list(found.values())
