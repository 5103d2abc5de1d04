r"""`expect.yaml` of a case: what must come out, place by place, where whole files say more than the case is about.

```yaml
now: 2026-03-29T01:30:00+01:00       # the case's clock; else 2026-01-02T03:04:05Z
state: processed                     # or filtered, held, rejected, duplicate, waiting; a list: of each message
ack:
  MSA-1: AA
out.ris:                             # one mapping: exactly one message; a list: exactly as many
  PID-5.1: MEIER                     # equals, after escapes are undone; "" also where the place is absent
  PID-8: {matches: "[FM12]"}         # the whole value, by the patterns of expressions
  OBX-5: {contains: fasting}
  PID-19: {empty: true}              # absent, empty or the delete marker ""
  OBX: {count: 3}                    # how many there are of the place
out.archive: nothing
findings: [E214 PV1-3.1]             # these must be among them; [] for none at all
```

What it does not name is not looked at: with this file, a destination without a file of its own may get anything.
Whole files that stand beside it must be right all the same.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from engine.config.base import did_you_mean
from engine.config.expression import ExpressionError
from engine.config.expression.patterns import compile_pattern
from engine.config.node import SourceDict, SourceList, SourceText, position_of
from engine.config.reading import to_data
from engine.config.source import decode, load_yaml
from engine.hl7 import NULL
from engine.hl7.convert import ConversionError, hl7_of
from engine.hl7.errors import PathError, UnreadableMessage
from engine.hl7.message import Message
from engine.hl7.path import Path, compile_path
from engine.model.finding import Finding

EXPECT: Final = "expect.yaml"
NOTHING: Final = "nothing"
STATES: Final = ("processed", "filtered", "held", "rejected", "duplicate", "waiting")
WAYS: Final = ("equals", "matches", "contains", "empty", "count")


@dataclass(slots=True, frozen=True)
class Miss:
    """One thing that is not as expected. `line` is in expect.yaml; holds values: for the terminal."""

    line: int
    path: str
    expected: str
    actual: str


@dataclass(slots=True, frozen=True)
class _Check:
    """One place and what must stand there. `failing` gives None where it does, else what stands there."""

    line: int
    path: str
    expected: str
    failing: Callable[[Message], str | None]


@dataclass(slots=True)
class Expectations:
    """A file that was read. `wrong`: what is wrong in the file itself, line and sentence."""

    now: datetime | None = None
    states: list[SourceText] | None = None
    findings: list[SourceText] | None = None
    outputs: dict[str, tuple[int, list[list[_Check]]]] = field(default_factory=dict)
    """By `ack` or `out.NAME`, in order: line, and the checks of each message."""
    wrong: list[tuple[int, str]] = field(default_factory=list)

    def misses(
        self, states: Sequence[str], findings: Sequence[Finding], outputs: Mapping[str, Sequence[bytes]]
    ) -> Iterator[Miss]:
        """What differs. `outputs` are bodies by `ack` and `out.NAME`, those of a destination in all their forms."""
        yield from (Miss(line, "", "an expectation", sentence) for line, sentence in self.wrong)
        if self.states is not None:
            came = ", ".join(states) or NOTHING
            wanted = ", ".join(self.states)
            # One word stands for all messages of the case.
            if list(states) != list(self.states) and not (len(self.states) == 1 and set(states) == set(self.states)):
                yield Miss(_line(self.states[0]), "state", wanted, came)
        if self.findings is not None:
            yield from self._findings(self.findings, findings)
        for name, (line, messages) in self.outputs.items():
            yield from _output(name, line, messages, outputs.get(name, ()))

    def _findings(self, wanted: list[SourceText], found: Sequence[Finding]) -> Iterator[Miss]:
        there = [f"{finding.code} {finding.location}".rstrip() for finding in found]
        if not wanted and there:
            yield Miss(0, "findings", "none", "; ".join(there))
        for text in wanted:
            code = " ".join(text.split())
            if not any(one == code or one.partition(" ")[0] == code for one in there):
                yield Miss(_line(text), "findings", code, "; ".join(there) or "none")


def _output(name: str, line: int, wanted: list[list[_Check]], bodies: Sequence[bytes]) -> Iterator[Miss]:
    if len(bodies) != len(wanted):
        yield Miss(line, name, _messages(len(wanted)), _messages(len(bodies)))
    for number, (checks, body) in enumerate(zip(wanted, bodies, strict=False), 1):
        try:
            message = Message.parse(hl7_of(body))
        except (UnreadableMessage, ConversionError):
            yield Miss(line, name, "a message with places", "something else")
            continue
        place = name if len(wanted) == 1 else f"{name} message {number}"
        for check in checks:
            actual = check.failing(message)
            if actual is not None:
                yield Miss(check.line, f"{place} {check.path}", check.expected, actual)


def read_expectations(raw: bytes) -> Expectations:
    """The expectations in a file; what is wrong in it is in `wrong`, and the rest is checked all the same."""
    made = Expectations()
    text, findings = decode(raw, EXPECT)
    node, more = load_yaml(text, EXPECT) if not findings else (None, [])
    made.wrong += [(finding.line, finding.message) for finding in (*findings, *more)]
    if node is None:
        return made
    data = to_data(node)
    if not isinstance(data, SourceDict):
        made.wrong.append((1, "keys with values are expected, such as out.ris: {PID-5.1: MEIER}"))
        return made
    if not data:
        made.wrong.append((1, "nothing is expected here; name what matters, or remove the file"))
    for key, value in data.items():
        _read(made, key, value)
    return made


def _read(made: Expectations, key: SourceText, value: object) -> None:
    line = _line(key)
    if key == "now":
        made.now = _moment(made, value, line)
    elif key in ("state", "findings"):
        texts = [value] if isinstance(value, SourceText) else value
        if not isinstance(texts, list) or not all(isinstance(text, SourceText) for text in texts):
            made.wrong.append((line, f"{key} is a text or a list of texts"))
        elif key == "findings":
            made.findings = texts
        elif unknown := next((text for text in texts if text not in STATES), None):
            made.wrong.append((_line(unknown), f"'{unknown.shown}' is no state: {did_you_mean(unknown, STATES)}"))
        elif texts:
            made.states = texts
    elif key == "ack" or (key.startswith("out.") and len(key) > len("out.")):
        made.outputs[str(key)] = (line, _messages_of(made, key, value))
    else:
        hint = did_you_mean(key, ("now", "state", "findings", "ack", "out.NAME"))
        made.wrong.append((line, f"unknown key '{key.shown}': {hint}"))


def _moment(made: Expectations, value: object, line: int) -> datetime | None:
    if isinstance(value, SourceText):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            moment = None
        if moment is not None and moment.tzinfo is not None:
            return moment
    made.wrong.append((line, "now is a time with its zone: 2026-03-29T01:30:00+01:00"))
    return None


def _messages_of(made: Expectations, key: SourceText, value: object) -> list[list[_Check]]:
    if value == NOTHING:
        return []
    if isinstance(value, SourceList):
        return [_checks(made, item, key) for item in value]
    return [_checks(made, value, key)]


def _checks(made: Expectations, value: object, owner: SourceText) -> list[_Check]:
    if not isinstance(value, SourceDict):
        at = position_of(value) or owner.position()
        sentence = f"{owner.shown} is `nothing`, places with what must stand there, or a list of these"
        made.wrong.append((at.line if at else 0, sentence))
        return []
    checks = []
    for place, wanted in value.items():
        try:
            path = compile_path(str(place))
        except PathError as error:
            made.wrong.append((_line(place), f"{place.shown}: {error}"))
            continue
        ways = wanted if isinstance(wanted, SourceDict) else {SourceText("equals"): wanted}
        for way, argument in ways.items():
            check = _check(made, place, path, way, argument)
            if check is not None:
                checks.append(check)
    return checks


def _check(made: Expectations, place: SourceText, path: Path, way: SourceText, argument: object) -> _Check | None:
    line = _line(way) or _line(place)

    def wrong(sentence: str) -> None:
        made.wrong.append((line, f"{place.shown}: {sentence}"))

    if not isinstance(argument, SourceText):
        wrong("a text is expected, or one of " + ", ".join(WAYS))
        return None
    made_check = _WAYS.get(str(way))
    if made_check is None:
        wrong(f"'{way.shown}' is no way to compare: {did_you_mean(way, WAYS)}")
        return None
    try:
        expected, failing = made_check(path, str(argument))
    except (ValueError, ExpressionError) as error:
        wrong(str(error))
        return None
    return _Check(line, str(place), expected, failing)


Failing = Callable[[Message], str | None]


def _equals(path: Path, wanted: str) -> tuple[str, Failing]:
    def failing(message: Message) -> str | None:
        actual = path.get(message)
        return None if (actual or "") == wanted else _quoted(actual)

    return _quoted(wanted), failing


def _matches(path: Path, wanted: str) -> tuple[str, Failing]:
    pattern = compile_pattern(wanted, 1)

    def failing(message: Message) -> str | None:
        actual = path.get(message)
        return None if actual is not None and pattern(actual) else _quoted(actual)

    return f"a match of {wanted}", failing


def _contains(path: Path, wanted: str) -> tuple[str, Failing]:
    def failing(message: Message) -> str | None:
        actual = path.get(message)
        return None if wanted in (actual or "") else _quoted(actual)

    return f"something with {_quoted(wanted)} in it", failing


def _empty(path: Path, wanted: str) -> tuple[str, Failing]:
    if wanted not in ("true", "false"):
        raise ValueError("empty is true or false")

    def failing(message: Message) -> str | None:
        actual = path.get(message)
        is_empty = not actual or actual == NULL
        return None if is_empty == (wanted == "true") else _quoted(actual)

    return "nothing" if wanted == "true" else "something", failing


def _count(path: Path, wanted: str) -> tuple[str, Failing]:
    if not wanted.isdecimal():
        raise ValueError("count is a whole number")

    def failing(message: Message) -> str | None:
        actual = len(path.all(message))
        return None if actual == int(wanted) else str(actual)

    return wanted, failing


_WAYS: Final[Mapping[str, Callable[[Path, str], tuple[str, Failing]]]] = {
    "equals": _equals,
    "matches": _matches,
    "contains": _contains,
    "empty": _empty,
    "count": _count,
}


def _line(text: SourceText) -> int:
    place = text.position()
    return place.line if place is not None else 0


def _messages(number: int) -> str:
    return NOTHING if not number else f"{number} message" + ("" if number == 1 else "s")


def _quoted(text: str | None) -> str:
    return "nothing" if text is None else f'"{text}"'
