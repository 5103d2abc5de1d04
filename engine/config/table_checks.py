"""Code tables beside the channel that uses them: the way back, and dates where no time is known."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from engine.config.channel import ChannelFile
from engine.config.entries import StepEntry
from engine.config.expression import Condition, ExpressionError, Value, compile_condition, compile_value
from engine.config.finding import ConfigFinding, Position, at
from engine.config.node import SourceText
from engine.config.table import Table
from engine.config.types import ConditionText, ExpressionText, ValueText

TIMED = ("steps", "routes")
"""The sections that are asked of a message in its run, and so with the time of its receipt."""


def check_ways_back(
    file: ChannelFile, texts: Sequence[tuple[SourceText, str | None]], tables: Mapping[str, Table], shown: str
) -> list[ConfigFinding]:
    """What is ambiguous in tables that a step or an expression looks up from value to key.

    `shown`: the channel's folder.
    """
    findings: list[ConfigFinding] = []
    named = [name for entry in _every(file.steps) for name in getattr(entry.options, "ways_back", ())]
    for text, focus in texts:
        compiled = _compiled(text, focus, tables) if "back" in text else None
        named += compiled.ways_back if compiled is not None else ()
    for name in dict.fromkeys(named):
        if (table := tables.get(str(name))) is not None:
            _, found = table.back()
            findings += [ConfigFinding(code, f"{shown}/{name}", line, col, 1, text) for line, col, code, text in found]
    return findings


def check_times(
    texts: Sequence[tuple[SourceText, str | None]],
    tables: Mapping[str, Table],
    positions: Mapping[tuple[str | int, ...], Position],
) -> list[ConfigFinding]:
    """Expressions that look into a table with dates where nobody knows when the message came."""
    if not any(table.is_dated for table in tables.values()):
        return []
    timed = {(place.line, place.column) for path, place in positions.items() if path and path[0] in TIMED}
    findings: list[ConfigFinding] = []
    for text, focus in texts:
        place = text.position()
        if place is None or (place.line, place.column) in timed:
            continue
        compiled = _compiled(text, focus, tables)
        for name in compiled.tables if compiled is not None else ():
            if tables[name].is_dated:
                message = f"{name} has dates, and here no time is known to look it up by"
                findings.append(at(place, "E169", message, "use it in steps and routes, or leave out its dates"))
    return findings


def _every(entries: Iterable[StepEntry]) -> Iterator[StepEntry]:
    for entry in entries:
        yield entry
        yield from _every(getattr(entry.options, "do", ()))


def _compiled(text: SourceText, focus: str | None, tables: Mapping[str, Table]) -> Condition | Value | None:
    try:
        if isinstance(text, ConditionText):
            return compile_condition(str(text), focus=focus, tables=tables)
        if isinstance(text, ExpressionText):
            return compile_value(str(text), focus=focus, tables=tables)
        if isinstance(text, ValueText) and text.is_expression:
            return compile_value(text.expression, focus=focus, tables=tables)
    except ExpressionError:
        return None  # which has a finding of its own
    return None
