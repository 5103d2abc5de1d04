"""What can never happen in a channel: a route that no message takes, a condition that an earlier line rules out.

Only what can be said for certain is told: what `accept`, `from` and filters leave of the values of one place, against
what a later condition asks of it. A step that may have changed the place in between ends what is known of it.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from engine.config.channel import ChannelFile
from engine.config.entries import StepEntry
from engine.config.expression import ExpressionError
from engine.config.expression import nodes as n
from engine.config.expression.grammar import Parser
from engine.config.finding import ConfigFinding, Position, at
from engine.config.types import ConditionText, PathText, ValueText
from engine.hl7.path import Path

_READERS = frozenset({"filter", "validate"})
"""Steps that change nothing."""
_WRITERS = frozenset({"set", "copy", "map", "delete"})
"""Steps whose own paths are all that they change."""


@dataclass(slots=True, frozen=True)
class _Values:
    """What a place may hold: one of `only`, where that is known, and none of `never`. `source` says who says so."""

    only: frozenset[str] | None
    never: frozenset[str]
    source: str

    def and_also(self, other: "_Values") -> "_Values":
        both = [one.only for one in (self, other) if one.only is not None]
        only = frozenset.intersection(*both) if both else None
        return _Values(only, self.never | other.never, self.source)

    @property
    def is_impossible(self) -> bool:
        return self.only is not None and not self.only - self.never


Known = dict[str, _Values]


@dataclass(slots=True)
class _Way:
    """What is known of a message at one point of its way through the channel."""

    tables: frozenset[str]
    known: Known = field(default_factory=dict)

    def ruled_out(self, condition: ConditionText) -> str:
        """Why the condition is never true; '' where it may be."""
        for place, values in _asked(condition, self.tables, "").items():
            if values.is_impossible:
                return f"{place} cannot be all of what it asks for"
            before = self.known.get(place)
            if before is not None and before.and_also(values).is_impossible:
                return f"{before.source} leaves nothing of {place} that it asks for"
        return ""

    def learn(self, condition: ConditionText, source: str) -> None:
        for place, values in _asked(condition, self.tables, source).items():
            before = self.known.get(place)
            self.known[place] = values if before is None else before.and_also(values)

    def forget(self, fields: Iterable[str]) -> None:
        """Of a segment's name all its fields."""
        for changed in fields:
            self.known = {place: values for place, values in self.known.items() if not _is_in(place, changed)}


def _is_in(place: str, changed: str) -> bool:
    return re.match(rf"{re.escape(changed)}(?![0-9A-Z])", place) is not None


def check_never(file: ChannelFile, tables: Iterable[str], shown: str) -> list[ConfigFinding]:
    """Warnings of steps and routes that are never taken. `shown` is how people call the channel's file."""
    way = _Way(frozenset(tables), _accepted(file))
    findings: list[ConfigFinding] = []
    if file.condition is not None:
        findings += _told(way, file.condition, "no message comes to this channel")
        way.learn(file.condition, _where("from", file.condition.position()))
    for step in file.steps:
        findings += _step(step, way)
    findings += _routes(file, way)
    return findings


def _step(step: StepEntry, way: _Way) -> Iterator[ConfigFinding]:
    if step.when is not None:
        yield from _told(way, step.when, "this step never runs")
    if step.kind == "filter" and step.when is None:
        condition = getattr(step.options, "condition", None)
        if isinstance(condition, ConditionText):
            yield from _told(way, condition, "no message passes this filter")
            way.learn(condition, f"the filter in line {step.line}")
    else:
        changed = _changed(step)
        if changed is None:
            way.known.clear()
        else:
            way.forget(changed)


def _routes(file: ChannelFile, way: _Way) -> Iterator[ConfigFinding]:
    always: dict[str, int] = {}
    for route in file.routes:
        place = route.to.position()
        if route.when is not None:
            yield from _told(way, route.when, "no message takes this route")
        if place is not None and str(route.to) in always:
            hint = "a destination gets a message once: remove this route, or give the other one a condition"
            message = (
                f"this route changes nothing: every message goes to '{route.to}' by that in line {always[route.to]}"
            )
            yield at(place, "W184", message, hint)
        elif place is not None and route.when is None:
            always[str(route.to)] = place.line


def _told(way: _Way, condition: ConditionText, what: str) -> Iterator[ConfigFinding]:
    why, place = way.ruled_out(condition), condition.position()
    if why and place is not None:
        yield at(place, "W184", f"{what}: {why}", "correct the one or the other, or remove this")


def _where(what: str, place: Position | None) -> str:
    return f"{what} in line {place.line}" if place is not None else what


def _accepted(file: ChannelFile) -> Known:
    """What `accept` leaves of MSH-9.1 and MSH-9.2."""
    if any(pattern == "*" for pattern in file.accept):
        return {}
    source = _where("accept", file.accept[0].position())
    pairs = [pattern.partition("^")[::2] for pattern in file.accept]
    known = {"MSH-9.1": _Values(frozenset(code for code, _ in pairs), frozenset(), source)}
    if all(event != "*" for _, event in pairs):
        known["MSH-9.2"] = _Values(frozenset(event for _, event in pairs), frozenset(), source)
    return known


def _asked(condition: ConditionText, tables: frozenset[str], source: str) -> Known:
    """What must hold of single places where the condition is true."""
    try:
        node = Parser(str(condition), focus=None, tables=tables).condition()
    except ExpressionError:
        return {}  # which has a finding of its own
    return _of(node, source)


def _of(node: n.Condition, source: str) -> Known:
    match node:
        case n.Compare(op="==" | "!=", left=n.Read(path=path), right=n.Text(value=text)) if not node.numeric:
            return _one(path, frozenset((text,)), is_in=node.op == "==", source=source)
        case n.Within(left=n.Read(path=path), texts=texts) if not node.numbers:
            return _one(path, texts, is_in=True, source=source)
        case n.Is(left=n.Read(path=path), what="empty"):
            return _one(path, frozenset(("",)), is_in=True, source=source)
        case n.Not(operand=inner):
            return _of_not(inner, source)
        case n.Junction(word="and", operands=operands):
            return _all_of([_of(operand, source) for operand in operands])
        case n.Junction(word="or", operands=operands):
            return _any_of([_of(operand, source) for operand in operands])
        case _:
            return {}


def _of_not(node: n.Condition, source: str) -> Known:
    match node:
        case n.Compare(op="==", left=n.Read(path=path), right=n.Text(value=text)) if not node.numeric:
            return _one(path, frozenset((text,)), is_in=False, source=source)
        case n.Within(left=n.Read(path=path), texts=texts) if not node.numbers:
            return _one(path, texts, is_in=False, source=source)
        case n.Is(left=n.Read(path=path), what="empty"):
            return _one(path, frozenset(("",)), is_in=False, source=source)
        case _:
            return {}


def _one(path: Path, texts: frozenset[str], *, is_in: bool, source: str) -> Known:
    """Of a path that reads one value; PID-8, PID-8.1 and PID-8.1.1 read the same one."""
    spec = path.spec
    if spec.segment_selector is not None or spec.field_selector is not None or path.focus or path.field is None:
        return {}
    place = re.sub(r"(\.1)+$", "", str(path))
    place = f"{place}.1" if place in ("MSH-9",) else place
    return {place: _Values(texts if is_in else None, frozenset() if is_in else texts, source)}


def _all_of(parts: list[Known]) -> Known:
    made: Known = {}
    for part in parts:
        for place, values in part.items():
            made[place] = made[place].and_also(values) if place in made else values
    return made


def _any_of(parts: list[Known]) -> Known:
    """Only what each of them says, in one way or another."""
    made: Known = {}
    for place, first in parts[0].items():
        others = [part.get(place) for part in parts]
        if all(values is not None and values.only is not None for values in others):
            only = frozenset().union(*(values.only for values in others if values is not None and values.only))
            made[place] = _Values(only, frozenset(), first.source)
    return made


def _changed(step: StepEntry) -> list[str] | None:
    """The fields, or whole segments, that a step may change; None where that is not known."""
    if step.kind in _READERS:
        return []
    if step.kind in _WRITERS:
        return _written(step)
    inside = getattr(step.options, "do", None)
    if step.kind != "each" or not isinstance(inside, tuple):
        return None
    changed: list[str] = []
    for one in inside:
        more = _changed(one)
        if more is None:
            return None
        changed += more
    return changed


def _written(step: StepEntry) -> list[str]:
    written: list[str] = []
    for value in vars(step.options).values():
        places = value.keys() if isinstance(value, Mapping) else value if isinstance(value, tuple) else ()
        for place in places:
            if isinstance(place, PathText):
                found = re.match(r"([A-Z][A-Z0-9]{2})(?:\[.*?\])?(?:-([0-9]+))?", place)
                if found is not None:
                    written.append(f"{found[1]}-{found[2]}" if found[2] else found[1])
    return written


def check_overwritten(file: ChannelFile) -> Iterator[ConfigFinding]:
    """A place of a `set` that a later one of the same step writes over as a whole."""
    for step in file.steps:
        values = getattr(step.options, "values", None) if step.kind == "set" else None
        if not isinstance(values, Mapping):
            continue
        entries = [(path, value) for path, value in values.items() if isinstance(path, PathText)]
        for number, (path, _) in enumerate(entries):
            for whole, value in entries[number + 1 :]:
                if _holds(whole, path) and not _reads(value, path):
                    yield from _overwritten(path, whole)
                    break


def _holds(whole: str, part: str) -> bool:
    return part.startswith((f"{whole}.", f"{whole}["))


def _reads(value: object, path: str) -> bool:
    """Whether a value may be made of what was written: then it is not lost."""
    field_of = path.partition(".")[0].partition("[")[0]
    return isinstance(value, ValueText) and value.is_expression and field_of in value


def _overwritten(path: PathText, whole: PathText) -> Iterator[ConfigFinding]:
    place, later = path.position(), whole.position()
    if place is not None and later is not None:
        message = f"{path} is written over: line {later.line} sets the whole of {whole}"
        yield at(place, "W186", message, f"put {whole} before it, or leave one of the two out")
