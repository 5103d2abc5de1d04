"""What JavaScript of a Mirth channel comes to in the expression language, with what must be known to use it."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal

STRUCTURE: Final = r"(?P<segment>[A-Z][A-Z0-9]{2})(?:\[[^\]]*\])?(?:-(?P<field>[0-9]+))?"


class NotExpressible(ValueError):
    """Something that no step or expression can say. The text says what, in Mirth's words, without any values."""


@dataclass(slots=True, frozen=True)
class Value:
    """A text that is read off a message. `reads`: the fields it depends on, as PID-3; a segment's name for all of it.

    `literal` is the text where it is always the same. `path` is the HL7 path where it is nothing but that.
    `is_xml`: a node of the message tree, which JavaScript takes for true and compares by its text.
    """

    text: str
    reads: frozenset[str] = frozenset()
    literal: str | None = None
    path: str | None = None
    is_xml: bool = False
    is_number: bool = False


@dataclass(slots=True, frozen=True)
class Wish:
    """A place and a text that would make a condition true: by it the sample case is made. `is_any`: any text would."""

    path: str
    text: str
    is_any: bool = False


@dataclass(slots=True, frozen=True)
class Condition:
    """Something that is true or false. `binds`: how tightly, for brackets. `opposite`: it said the other way round."""

    text: str
    reads: frozenset[str] = frozenset()
    binds: Literal["or", "and", "not", "test"] = "test"
    wishes: tuple[Wish, ...] = ()
    constant: bool | None = None
    opposite: str = ""


ALWAYS: Final = Condition("", constant=True)
NEVER: Final = Condition("", constant=False)


def quoted(text: str) -> str:
    """A text as a literal of the expression language."""
    if any(ord(character) < 32 and character not in "\n\r\t" for character in text):
        raise NotExpressible("a control character in a text")
    return json.dumps(text, ensure_ascii=False)


def literal(text: str) -> Value:
    return Value(quoted(text), literal=text)


def number(text: str) -> Value:
    return Value(text, literal=text, is_number=True)


def call(function: str, *arguments: Value) -> Value:
    reads = frozenset().union(*(argument.reads for argument in arguments))
    return Value(f"{function}({', '.join(argument.text for argument in arguments)})", reads)


def place(path: str, *, is_xml: bool) -> Value:
    return Value(path, frozenset({field_of(path)}), path=path, is_xml=is_xml)


def field_of(path: str) -> str:
    """`PID-3` of `PID-3[2].1`, `OBX` of `OBX`."""
    found = re.match(STRUCTURE, path)
    assert found is not None, "paths are made here"
    return f"{found['segment']}-{found['field']}" if found["field"] else found["segment"]


def overlap(reads: Iterable[str], writes: Iterable[str]) -> str:
    """The first of `writes` that changes what one of `reads` reads, or ''."""
    read = set(reads)
    segments = {one.partition("-")[0] for one in read}
    for written in writes:
        if written in read or (("-" not in written) and written in segments) or written.partition("-")[0] in read:
            return written
    return ""


def joined(word: Literal["and", "or"], conditions: Iterable[Condition]) -> Condition:
    """All of them, or one of them; what is always true or false drops out."""
    neutral, ending = (True, False) if word == "and" else (False, True)
    parts: list[Condition] = []
    for condition in conditions:
        if condition.constant is ending:
            return ALWAYS if ending else NEVER
        if condition.constant is not neutral:
            parts.append(condition)
    if not parts:
        return ALWAYS if neutral else NEVER
    if len(parts) == 1:
        return parts[0]
    loose = {"and": ("or",), "or": ()}[word]
    text = f" {word} ".join(f"({part.text})" if part.binds in loose else part.text for part in parts)
    reads = frozenset().union(*(part.reads for part in parts))
    wishes = tuple(wish for part in parts for wish in part.wishes) if word == "and" else parts[0].wishes
    return Condition(text, reads, word, wishes)


def negated(condition: Condition) -> Condition:
    if condition.constant is not None:
        return NEVER if condition.constant else ALWAYS
    if condition.opposite:
        return Condition(condition.opposite, condition.reads, opposite=condition.text)
    if condition.binds == "not":
        return Condition(condition.text.removeprefix("not "), condition.reads)
    inner = condition.text if condition.binds == "test" else f"({condition.text})"
    return Condition(f"not {inner}", condition.reads, "not")


OPPOSITES: Final = {
    "==": "!=",
    "!=": "==",
    "is empty": "is not empty",
    "is not empty": "is empty",
    "contains": "not contains",
    "not contains": "contains",
    "starts with": "not starts with",
    "ends with": "not ends with",
    "in": "not in",
    "not in": "in",
}


def tested(value: Value, test: str, other: Value | str = "", wish: str | None = None) -> Condition:
    """`value test other`, such as `PID-8 == "F"`. `wish`: a text for the place that makes it true."""
    if value.literal is not None:
        raise NotExpressible("a test of a fixed text")
    reads = value.reads | (other.reads if isinstance(other, Value) else frozenset())
    behind = f" {other.text if isinstance(other, Value) else other}" if other else ""
    is_any = test == "is not empty"
    wishes = (Wish(value.path, wish, is_any),) if value.path is not None and wish is not None else ()
    opposite = f"{value.text} {OPPOSITES[test]}{behind}"
    return Condition(f"{value.text} {test}{behind}", reads, wishes=wishes, opposite=opposite)


@dataclass(slots=True)
class Names:
    """The variables of one channel run: channelMap and the local ones of a script, as they were put.

    `written`: the fields that steps changed so far, in order. A variable keeps what it read when it was put; so one
    that read a field which was changed since can no longer be told by an expression.
    """

    known: dict[str, tuple[Value, int]] = field(default_factory=dict)
    written: list[str] = field(default_factory=list)
    lost: dict[str, str] = field(default_factory=dict)
    """Variables that are put by something that was not carried over, and why."""

    def put(self, name: str, value: Value) -> None:
        self.known[name] = (value, len(self.written))
        self.lost.pop(name, None)

    def lose(self, name: str, why: str) -> None:
        self.known.pop(name, None)
        self.lost[name] = why

    def get(self, name: str) -> Value:
        """Raises NotExpressible."""
        if name in self.lost:
            raise NotExpressible(f"the variable {shown(name)}, which is put by {self.lost[name]}")
        if name not in self.known:
            raise NotExpressible(f"the variable {shown(name)}, which nothing in this channel puts before")
        value, since = self.known[name]
        if changed := overlap(value.reads, self.written[since:]):
            raise NotExpressible(f"the variable {shown(name)}, as {changed} is changed after it was put")
        return value

    def copy(self) -> "Names":
        return Names(dict(self.known), list(self.written), dict(self.lost))


def shown(name: str) -> str:
    """A name of the export as it may be told: printable and short."""
    return "".join(c if c.isprintable() else "?" for c in name[:60])
