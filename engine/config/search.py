r"""What people type to find messages: one small language for the search box and the command line.

```text
search = { term }                       all of them must hold
term   = NAME ( ":" | "=" | "!=" ) value { "," value }
       | PATH ( "=" | "!=" | "~" ) value
       | value                          a number: of whichever key, or the control id
value  = word without blanks | '"' text with \" and \\ '"'
```

NAME is `channel`, `state`, `since`, `until`, `type`, `sender`, `control`, `text`, or a key that is declared (`mrn`);
`key` is whichever of them, or the control id, as a value alone is. `status` and `id` are taken for `state` and
`control` where no key is called so. States have the console's words (`refused`) and Mirth's (`errored`, `sent`), too.
`text:` is what stands in the message's bytes, whatever the case of its letters. PATH is an HL7 path as in expressions
(`PID-3.1`, `PID-3[5 == "MR"].1`): `=` says that one of the places it means has this value, `!=` that none has, `~` that
one contains it. `!=` is for states, too. Several values, with commas, are for states. Example:
`PID-3.1=12345 channel:results state:held since:1h`.

Nothing is guessed: what cannot be read raises SearchError, with the column and what may be meant. The time is given.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Final

from engine.config.base import did_you_mean
from engine.config.expression import Condition, ExpressionError, compile_condition
from engine.config.finding import BadValue
from engine.config.units import parse_duration
from engine.hl7.search_keys import comparable
from engine.model.states import DELIVERY_STATES, MESSAGE_STATES, DeliveryState, MessageState

MOST_CHARS: Final = 2000
MOST_TERMS: Final = 32
STATES: Final = tuple(dict.fromkeys((*MESSAGE_STATES, *DELIVERY_STATES)))
LEAST_TEXT: Final = 2
OTHER_NAMES: Final[Mapping[str, str]] = MappingProxyType({"status": "state", "id": "control"})
"""What people call a term who come from elsewhere; a key that is declared under such a name is meant first."""
OTHER_STATES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "refused": ("rejected",),
        "errored": ("held", "failed", "rejected"),
        "error": ("held", "failed", "rejected"),
        "sent": ("delivered",),
        "transformed": ("processed",),
        "pending": ("queued",),
    }
)
"""States by the console's word (`refused`) and by Mirth's."""
OF_ADDRESS: Final = ("channel", "state", "since", "until", "type", "sender", "control")
"""What may stand in an address: nothing of it is a value of a message's body."""

_BLANK: Final = re.compile(r"\s+")
_PATH: Final = re.compile(r"[A-Z][A-Z0-9]{2}(?=[-\[])")
_NAME: Final = re.compile(r"(?:key\.)?[A-Za-z][A-Za-z0-9_]*(?=[:=]|!=)")
_OPERATOR: Final = re.compile(r"!=|[:=~]")
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\["\\])*)"')
_WORD: Final = re.compile(r'[^\s"]+')


class SearchError(Exception):
    """A search that cannot be read. `column` is 0-based; the sentence quotes only what was typed."""

    def __init__(self, message: str, column: int, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.column = column
        self.hint = hint


@dataclass(slots=True, frozen=True)
class PathTerm:
    """What is asked of a place. `condition` says whether a message has it; `quoted` is the value that must stand there
    as it is, where it can only be written one way in the message's bytes, else ''."""

    text: str
    condition: Condition
    quoted: str = ""


@dataclass(slots=True, frozen=True)
class Search:
    """A search as it was read. `number`: a value that any key, or the control id, may have. Values of keys are as
    `comparable` gives them; texts as they were typed."""

    channel: str | None = None
    states: tuple[MessageState, ...] = ()
    delivery_states: tuple[DeliveryState, ...] = ()
    message_type: str | None = None
    sender: str | None = None
    control_id: str | None = None
    since_us: int = 0
    until_us: int | None = None
    keys: tuple[tuple[str, str], ...] = ()
    number: str | None = None
    texts: tuple[str, ...] = ()
    paths: tuple[PathTerm, ...] = ()

    @property
    def needs_bodies(self) -> bool:
        """Whether the bytes of messages have to be read."""
        return bool(self.texts or self.paths)


@dataclass(slots=True)
class _Term:
    name: str
    operator: str
    values: list[tuple[str, int]]
    at: int
    end: int


def parse_search(text: str, keys: Iterable[str], now: datetime) -> Search:
    """Read a search. `keys`: the names that are declared. Raises SearchError."""
    if len(text) > MOST_CHARS:
        raise SearchError(f"a search has at most {MOST_CHARS} characters", MOST_CHARS)
    return _Reading(tuple(keys), now).read(text)


class _Reading:
    def __init__(self, keys: tuple[str, ...], now: datetime) -> None:
        self._keys = keys
        self._now = now
        self._once: dict[str, object] = {}
        self._wanted: list[tuple[str, str]] = []
        self._texts: list[str] = []
        self._paths: list[PathTerm] = []

    def read(self, text: str) -> Search:
        for count, term in enumerate(_terms(text, self._keys)):
            if count >= MOST_TERMS:
                raise SearchError(f"a search has at most {MOST_TERMS} terms", term.at)
            self._take(term)
        states = self._once.pop("states", None)
        found: dict[str, object] = dict(self._once)
        if isinstance(states, tuple):
            found["states"] = tuple(s for s in states if s in MESSAGE_STATES)
            found["delivery_states"] = tuple(s for s in states if s in DELIVERY_STATES)
        return Search(
            **found,  # type: ignore[arg-type]  # by the names of its fields
            keys=tuple(dict.fromkeys(self._wanted)),
            texts=tuple(dict.fromkeys(self._texts)),
            paths=tuple(self._paths),
        )

    def _take(self, term: _Term) -> None:
        if not term.operator:
            value, at = _one(term)
            if not any(c.isdigit() for c in value):
                hint = f"text:{value} looks for it in the bytes, key:{value} among the keys"
                raise SearchError(f"'{value}' is no message number, and nothing says what else it is", at, hint)
            self._number(term)
        elif _PATH.match(term.name):
            self._paths.append(_path_term(term))
        else:
            self._named(term)

    def _number(self, term: _Term) -> None:
        value, _ = _one(term)
        if self._once.setdefault("number", value) != value:
            hint = "a text with blanks stands in quotes behind text:"
            raise SearchError("two numbers, of which nothing says what they are", term.at, hint)

    def _named(self, term: _Term) -> None:
        name = _meant(term.name, self._keys)
        if term.operator == "!=" and name != "state":
            raise SearchError("!= is for states and paths", term.at, "such as state!=processed or PID-8!=F")
        match name:
            case "state":
                self._set("states", _states_of(term), term)
            case "since":
                self._set("since_us", self._moment(term), term)
            case "until":
                self._set("until_us", self._moment(term), term)
            case "channel":
                self._set("channel", _one(term)[0], term)
            case "type":
                self._set("message_type", _type(term), term)
            case "sender":
                self._set("sender", _one(term)[0], term)
            case "control":
                self._set("control_id", _one(term)[0], term)
            case "key":
                self._number(term)
            case "text":
                value, at = _one(term)
                if len(value) < LEAST_TEXT:
                    raise SearchError(f"a text has at least {LEAST_TEXT} characters", at)
                self._texts.append(value)
            case _:
                self._key(term)

    def _key(self, term: _Term) -> None:
        name = term.name.removeprefix("key.")
        if name not in self._keys:
            known = ["channel", "state", "since", "until", "type", "sender", "control", "text", "key", *self._keys]
            hint = did_you_mean(name, known)
            raise SearchError(f"'{term.name}' is nothing to search by", term.at, hint)
        self._wanted.append((name, comparable(_one(term)[0])))

    def _moment(self, term: _Term) -> int:
        value, at = _one(term)
        try:
            return moment_us(value, self._now)
        except ValueError:
            raise SearchError(f"'{value}' is no time", at, "write 30m, 2h or 7d, or 2026-11-22T08:00") from None

    def _set(self, name: str, value: object, term: _Term) -> None:
        if name in self._once:
            raise SearchError(f"'{term.name}' is said twice", term.at, "all terms must hold")
        self._once[name] = value


def in_address(text: str, keys: Iterable[str]) -> dict[str, list[str]] | None:
    """A search that can be read, as parameters of an address; None where it is for a value, which none may hold."""
    declared = tuple(keys)
    found: dict[str, list[str]] = {}
    for term in _terms(text, declared):
        name = _meant(term.name, declared)
        if name not in OF_ADDRESS:
            return None
        values = [value for value, _ in term.values]
        if term.operator == "!=":
            values = list(_states_of(term))
        found[name] = list(dict.fromkeys(values))
    return {name: found[name] for name in OF_ADDRESS if name in found}


def without(text: str, names: Iterable[str], keys: Iterable[str]) -> str:
    """A search that can be read, less its terms of these names."""
    declared, gone = tuple(keys), frozenset(names)
    return " ".join(
        text[term.at : term.end] for term in _terms(text, declared) if _meant(term.name, declared) not in gone
    )


def from_address(given: Mapping[str, Iterable[str]]) -> str:
    """The search that such parameters write."""
    return " ".join(f"{name}:{','.join(map(_quoted, given[name]))}" for name in OF_ADDRESS if given.get(name))


def _quoted(value: str) -> str:
    if _WORD.fullmatch(value) and "," not in value:
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _meant(name: str, keys: Iterable[str]) -> str:
    """The name of a term, in our own word."""
    return name if name in keys else OTHER_NAMES.get(name, name)


def _states_of(term: _Term) -> tuple[str, ...]:
    """The states that a term names, by whichever word."""
    named: list[str] = []
    for value, at in term.values:
        other = OTHER_STATES.get(value.lower())
        if other is None and value not in STATES:
            raise SearchError(f"'{value}' is no state", at, did_you_mean(value, [*STATES, *OTHER_STATES]))
        named += other or (value,)
    if term.operator == "!=":
        # A message has one state of its own; what its deliveries are in is not what is meant.
        return tuple(s for s in MESSAGE_STATES if s not in named)
    return tuple(dict.fromkeys(named))


def moment_us(text: str, now: datetime) -> int:
    """A time in the past: a duration before `now`, or RFC 3339 (local time where no zone is given). ValueError."""
    try:
        return int((now.timestamp() - parse_duration(text)) * 1_000_000)
    except BadValue:
        pass
    moment = datetime.fromisoformat(text)
    return int((moment if moment.tzinfo else moment.astimezone()).timestamp() * 1_000_000)


def _terms(text: str, keys: Iterable[str]) -> Iterable[_Term]:
    at = 0
    while True:
        if found := _BLANK.match(text, at):
            at = found.end()
        if at >= len(text):
            return
        begin = at
        name = ""
        if _PATH.match(text, at):
            end = _end_of_path(text, at)
            operator = _OPERATOR.match(text, end) if end is not None else None
            if end is not None and operator is not None and operator[0] != ":":
                name, at = text[at:end], operator.end()
            else:
                operator = None
        elif found := _NAME.match(text, at):
            name = found[0]
            operator = _OPERATOR.match(text, found.end())
            assert operator is not None, "the name is followed by one"
            at = operator.end()
        else:
            operator = None
        values = []
        while True:
            value, end_of_value = _value(text, at, several=_meant(name, keys) == "state")
            values.append((value, at))
            at = end_of_value
            if _meant(name, keys) != "state" or not text.startswith(",", at):
                break
            at += 1
        if at < len(text) and not text[at].isspace():
            raise SearchError("a blank is missing here", at)
        yield _Term(name, operator[0] if operator is not None else "", values, begin, at)


def _end_of_path(text: str, at: int) -> int | None:
    """Where a path's operator begins: behind brackets, which may hold blanks, signs and quotes."""
    begin, depth = at, 0
    while at < len(text):
        char = text[at]
        if depth and char in "\"'":
            closed = text.find(char, at + 1)
            if closed < 0:
                raise SearchError("this quote is never closed", at)
            at = closed
        elif char == "[":
            depth += 1
        elif char == "]":
            depth -= 1
        elif depth == 0 and (char in "=~:!" or char.isspace()):
            return at
        at += 1
    if depth:
        raise SearchError("this bracket is never closed", begin)
    return None


def _value(text: str, at: int, *, several: bool) -> tuple[str, int]:
    if text.startswith('"', at):
        found = _QUOTED.match(text, at)
        if found is None:
            raise SearchError("this quote is never closed", at, 'write \\" for a quote within quotes')
        return re.sub(r"\\(.)", r"\1", found[1]), found.end()
    found = _WORD.match(text, at)
    if found is None:
        raise SearchError("a value is missing here", at, "a value with blanks stands in quotes")
    word = found[0]
    if several:
        word = word.partition(",")[0]
        if not word:
            raise SearchError("a value is missing here", at)
    return word, at + len(word)


def _one(term: _Term) -> tuple[str, int]:
    value, at = term.values[0]
    if not value.strip():
        raise SearchError("a value is missing here", at)
    return value, at


def _type(term: _Term) -> str:
    value, at = _one(term)
    found = re.fullmatch(r"([A-Za-z0-9]{3})(?:[\^_]([A-Za-z0-9]{3}|\*))?", value)
    if found is None:
        raise SearchError(f"'{value}' is no message type", at, "such as ORU or ADT^A01")
    return found[1].upper() if found[2] in (None, "*") else f"{found[1]}^{found[2]}".upper()


def _path_term(term: _Term) -> PathTerm:
    value, _ = term.values[0]
    literal = '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    test = {"=": f"== {literal}", "!=": f"== {literal}", "~": f"contains {literal}"}[term.operator]
    try:
        condition = compile_condition(f"{'not ' if term.operator == '!=' else ''}any {term.name} {test}")
    except ExpressionError as exc:
        raise SearchError(exc.message, term.at, exc.hint) from None
    is_plain = value.isascii() and value.isalnum() and term.operator != "!="
    return PathTerm(f"{term.name}{term.operator}", condition, value if is_plain else "")
