"""What a site asks of its messages beyond, or instead of, the standard: a profile, ready to be compiled.

This is what is left of a profile file once it is read: inheritance is resolved, conditions and patterns are compiled,
code tables are sets. It is made by `engine.config.profile` and by whoever writes one in Python, and it is carried out
by `engine.hl7.validate`. HL7 v2.5.1 section 2.12 (conformance using message profiles), usage codes of section 2.12.6.2
with the conditional usage `C(a/b)` of v2.7.1 section 2.B.7.5.

How a profile meets the standard
- What a profile says of an *aspect* of a place (its usage, cardinality, length, values, data type) stands instead of
  what the standard says of that aspect of that place. What it does not mention stays as `Profile.standard` has it.
- Pattern, constant and cross-field rules come on top.
- A component's rules ask something only where its field (in each repetition) has a value, a field's only where its
  segment is there, a segment's only where its group is there.

What a rule asks of a value: nothing, where there is none, unless its usage is R or its `Cardinality.least` is over 0.
The delete marker `""` (spec item 46) is no value for R and is passed over by length, values, pattern and constant; for
X it is a value. Values are compared unescaped, whole, and by their case.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal

from engine.hl7.grammar import parse_path
from engine.hl7.path import compile_path

if TYPE_CHECKING:
    from engine.hl7.message import Message

Mode = Literal["reject", "warn", "observe"]
"""What a broken rule comes to: AE or CE with an ERR, a warning with the message, or only a count."""
StandardMode = Literal["reject", "warn", "observe", "off"]
UsageCode = Literal["R", "RE", "O", "X"]
"""Required; required but may be empty (nothing to find in one message); optional; not supported."""
Aspect = Literal["usage", "cardinality", "length", "values", "pattern", "constant", "data_type"]
ASPECTS: Final[tuple[Aspect, ...]] = (
    "usage",
    "cardinality",
    "length",
    "values",
    "pattern",
    "constant",
    "data_type",
)


@dataclass(slots=True, frozen=True)
class Rule:
    """What every rule has. `id` is stable and a metric's label: `PID-3.usage`, `rule.inpatients-have-a-ward`."""

    id: str
    mode: Mode = "reject"
    owner: str = ""
    """Who is asked when it is broken."""
    message: str = ""
    """A sentence for people instead of the engine's own; '' for that one. It never holds a value of a message."""


@dataclass(slots=True, frozen=True)
class Condition:
    """`test` is None for one that only people can read (an imported predicate); then nothing hangs on it."""

    text: str
    test: Callable[["Message"], bool] | None = None


@dataclass(slots=True, frozen=True)
class Usage:
    """Without a condition the usage is `code`. With one, `code` where it is true and `otherwise` where it is not.

    A condition that cannot be tested makes the usage O.
    """

    rule: Rule
    code: UsageCode
    condition: Condition | None = None
    otherwise: UsageCode = "O"

    @property
    def is_conditional(self) -> bool:
        return self.condition is not None

    def of(self, message: "Message") -> UsageCode:
        """The usage in this message. Of an element, with the message's focus on the segment that is looked at."""
        if self.condition is None:
            return self.code
        if self.condition.test is None:
            return "O"
        return self.code if self.condition.test(message) else self.otherwise

    def __str__(self) -> str:
        return f"C({self.code}/{self.otherwise})" if self.condition is not None else self.code


@dataclass(slots=True, frozen=True)
class Cardinality:
    """How many there may be. `most` None: no bound. Of a field: repetitions with a value."""

    rule: Rule
    least: int
    most: int | None

    def __str__(self) -> str:
        return f"{self.least}..{'*' if self.most is None else self.most}"


@dataclass(slots=True, frozen=True)
class Length:
    """Characters of a value, both bounds included. Of a field: of each repetition as it stands, unescaped."""

    rule: Rule
    least: int
    most: int | None

    def __str__(self) -> str:
        return f"{self.least}..{'*' if self.most is None else self.most}"


@dataclass(slots=True, frozen=True)
class ValueSet:
    """The values there may be: own ones, or (`table` not '') those of the dictionary's table of that number.

    Of a field with components it is about the first component, where coded types have their code.
    """

    rule: Rule
    values: frozenset[str] = frozenset()
    table: str = ""
    name: str = ""
    """What people call it: a file, a table's number."""


@dataclass(slots=True, frozen=True)
class Pattern:
    """`matches` is for a whole value, of a field its first component, and takes time linear in it."""

    rule: Rule
    text: str
    matches: Callable[[str], bool]


@dataclass(slots=True, frozen=True)
class Constant:
    """The one value there may be; of a field, its text as it stands in each repetition."""

    rule: Rule
    value: str


@dataclass(slots=True, frozen=True)
class DataType:
    """The data type's name (`CX`, `NM`) instead of the standard's."""

    rule: Rule
    name: str


@dataclass(slots=True, frozen=True)
class Evidence:
    """What was seen of a place when its profile was learned: `of` occurrences, `filled` of them with a value."""

    of: int
    filled: int


@dataclass(slots=True, frozen=True)
class Element:
    """What is said of a field (`component` 0), component (`subcomponent` 0) or subcomponent.

    It is asked of every occurrence: of each segment of that name, and each repetition of the field. `within` is a
    group's name without its structure's prefix (`OBSERVATION` for `ORU_R01_OBSERVATION`): then only of segments that
    stand in such a group, at any depth; '' for anywhere. `name` is what people call the place, '' for what the
    standard does.
    """

    segment: str
    field: int
    component: int = 0
    subcomponent: int = 0
    within: str = ""
    name: str = ""
    usage: Usage | None = None
    cardinality: Cardinality | None = None
    length: Length | None = None
    values: ValueSet | None = None
    pattern: Pattern | None = None
    constant: Constant | None = None
    data_type: DataType | None = None
    evidence: Evidence | None = None

    @property
    def path(self) -> str:
        """`PID-3.4`."""
        text = f"{self.segment}-{self.field}"
        if self.component:
            text += f".{self.component}"
        if self.subcomponent:
            text += f".{self.subcomponent}"
        return text

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from others: its group and its path."""
        return self.within, self.path

    def over(self, base: "Element") -> "Element":
        """`base` with what is said here, aspect by aspect, in its place."""
        said = {aspect: getattr(self, aspect) for aspect in ASPECTS if getattr(self, aspect) is not None}
        evidence = self.evidence or base.evidence
        return replace(base, name=self.name or base.name, evidence=evidence, **said)


@dataclass(slots=True, frozen=True)
class Part:
    """What is said of a segment or a group in the structure of a message: how often it stands there.

    `within` as in `Element`: counted in each such group; '' counts in the group (or message) where the structure has
    it, and for a Z-segment, which no structure has, in the whole message.
    """

    name: str
    within: str = ""
    usage: Usage | None = None
    cardinality: Cardinality | None = None

    @property
    def key(self) -> tuple[str, str]:
        return self.within, self.name

    def over(self, base: "Part") -> "Part":
        return replace(base, usage=self.usage or base.usage, cardinality=self.cardinality or base.cardinality)


@dataclass(slots=True, frozen=True)
class CrossRule:
    """Where `when` is true (None: always), `require` must be.

    `each` '' is once a message; else once for every segment of that name, with `message.focus` on it, and both
    conditions are compiled for that focus. A condition without a test asks nothing. `location` is where the finding
    is: a path text, '' for the message.
    """

    rule: Rule
    name: str
    require: Condition
    when: Condition | None = None
    each: str = ""
    location: str = ""


@dataclass(slots=True, frozen=True)
class Rules:
    """The rules for some messages: each element, part and name once."""

    elements: tuple[Element, ...] = ()
    parts: tuple[Part, ...] = ()
    cross: tuple[CrossRule, ...] = ()

    def over(self, base: "Rules") -> "Rules":
        """Both, what is said here in the place of what `base` says of the same thing."""
        elements = {element.key: element for element in base.elements}
        for element in self.elements:
            known = elements.get(element.key)
            elements[element.key] = element if known is None else element.over(known)
        parts = {part.key: part for part in base.parts}
        for part in self.parts:
            before = parts.get(part.key)
            parts[part.key] = part if before is None else part.over(before)
        cross = {rule.name: rule for rule in base.cross} | {rule.name: rule for rule in self.cross}
        return Rules(tuple(elements.values()), tuple(parts.values()), tuple(cross.values()))


@dataclass(slots=True, frozen=True)
class EventRules:
    """Rules for messages of one type and event. `trigger_event` '' is any event of the type."""

    message_code: str
    trigger_event: str
    rules: Rules

    def matches(self, message_code: str, trigger_event: str) -> bool:
        return self.message_code == message_code and self.trigger_event in ("", trigger_event)


@dataclass(slots=True, frozen=True)
class FieldDefinition:
    """A field of a segment that the standard does not have. Usage and all else is an `Element`'s."""

    number: int
    name: str
    data_type: str = "ST"


@dataclass(slots=True, frozen=True)
class SegmentDefinition:
    """A Z-segment (spec item 48). Fields it does not list may hold anything."""

    name: str
    title: str = ""
    fields: tuple[FieldDefinition, ...] = ()


@dataclass(slots=True, frozen=True)
class Standard:
    """What a breach of the standard's own rules comes to.

    `exceptions` are by the id of a standard rule, of which any dotted beginning stands for all below it: `length`,
    `table`, `table.0001`; or by a place, `PID-8`, for every standard rule about it and its parts; or by both,
    `length PID-5`. The closest wins: both, then a place, then the longest id.
    """

    default: StandardMode = "warn"
    exceptions: Mapping[str, StandardMode] = field(default_factory=lambda: MappingProxyType({}))

    def mode(self, rule: str, place: str = "") -> StandardMode:
        """Of the standard rule with that id (`table.0001`), broken at a place: a path without selectors, or ''."""
        if not self.exceptions:
            return self.default
        ids = _beginnings(rule, ".")
        places = _places(place)
        for at in places:
            for name in ids:
                if (found := self.exceptions.get(f"{name} {at}")) is not None:
                    return found
        for name in (*places, *ids):
            if (found := self.exceptions.get(name)) is not None:
                return found
        return self.default


def _beginnings(text: str, mark: str) -> list[str]:
    """`table.0001`, then `table`."""
    parts = text.split(mark)
    return [mark.join(parts[:length]) for length in range(len(parts), 0, -1)]


def _places(place: str) -> list[str]:
    """`PID-3.4`, then `PID-3`, then `PID`."""
    if not place:
        return []
    segment, dash, rest = place.partition("-")
    return [*(f"{segment}-{at}" for at in _beginnings(rest, ".") if dash), segment]


def bare_place(location: str) -> str:
    """A location without its selectors: `PID-3.4` for `PID[1]-3[2].4`. Raises PathError."""
    spec = parse_path(location)
    text = spec.segment
    if spec.field:
        text += f"-{spec.field}"
    if spec.component:
        text += f".{spec.component}"
    if spec.subcomponent:
        text += f".{spec.subcomponent}"
    return text


@dataclass(slots=True, frozen=True)
class Profile:
    """All that one sender's messages are held against.

    `version` is the standard's to hold them against, '' for that of MSH-12. `rules` are for every message, `events`
    for those of a type and event; in order, a later one wins.
    """

    name: str
    description: str = ""
    owner: str = ""
    version: str = ""
    standard: Standard = field(default_factory=Standard)
    rules: Rules = field(default_factory=Rules)
    events: tuple[EventRules, ...] = ()
    segments: Mapping[str, SegmentDefinition] = field(default_factory=lambda: MappingProxyType({}))

    def rules_for(self, message_code: str, trigger_event: str) -> Rules:
        """The rules for messages with these MSH-9.1 and MSH-9.2, resolved."""
        rules = self.rules
        for event in self.events:
            if event.matches(message_code, trigger_event):
                rules = event.rules.over(rules)
        return rules

    def all_rules(self) -> tuple[Rule, ...]:
        """Every rule there is, once each by id: the closed set of a metric's label."""
        found: dict[str, Rule] = {}
        for rules in (self.rules, *(event.rules for event in self.events)):
            for each in (*rules.elements, *rules.parts):
                for aspect in ASPECTS:
                    said = getattr(each, aspect, None)
                    if said is not None:
                        found.setdefault(said.rule.id, said.rule)
            for cross in rules.cross:
                found.setdefault(cross.rule.id, cross.rule)
        return tuple(found.values())


@dataclass(slots=True, frozen=True)
class Sender:
    """Whom a profile is for: values of MSH-3.1, MSH-4.1 and MSH-21.1; '' asks nothing.

    MSH-21 (message profile identifier, from v2.5) repeats: any of its repetitions will do.
    """

    application: str = ""
    facility: str = ""
    profile: str = ""

    def matches(self, message: "Message") -> bool:
        if self.application and message.get("MSH-3.1") != self.application:
            return False
        if self.facility and message.get("MSH-4.1") != self.facility:
            return False
        return not self.profile or self.profile in compile_path("MSH-21[*].1").all(message)


@dataclass(slots=True, frozen=True)
class ProfileSet:
    """Profiles by sender, of which the first that matches is taken."""

    choices: tuple[tuple[Sender, Profile], ...]

    def choose(self, message: "Message") -> Profile | None:
        for sender, profile in self.choices:
            if sender.matches(message):
                return profile
        return None


NO_PROFILE: Final = Profile("standard", "The standard alone", standard=Standard("warn"))
"""What is left where a site has no profile: the standard's rules, each a warning."""
