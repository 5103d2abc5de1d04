"""From a profile's file, with all that it takes over, to the rules that messages are held against.

Everything that can be wrong with it is found here: conditions, tables, names of rules. The ids of rules come from
places and names only: `PID-3.usage`, `PV1.cardinality`, `rule.inpatients-have-a-ward`.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, NamedTuple, TypeVar

from engine.config.base import did_you_mean
from engine.config.expression import ExpressionError, compile_condition
from engine.config.expression.patterns import compile_pattern
from engine.config.finding import ConfigFinding, Position, at
from engine.config.node import SourceText
from engine.config.profile import CrossRules, PlaceRules, ProfileBody, RuleSet, SegmentRules
from engine.config.profile_merge import merge_place
from engine.config.profile_types import PartText, PlaceText, RuleName, UsageWords
from engine.config.table import Table
from engine.config.types import ConditionText, TablePath
from engine.hl7 import profile as hl7
from engine.hl7.dictionary import VERSIONS, Dictionary, load, nearest_version
from engine.hl7.errors import PathError
from engine.hl7.path import compile_path
from engine.hl7.validate import STANDARD_RULES
from engine.hl7.validate.values import codes_of

Tables = Callable[[SourceText], Mapping[str, Table]]
"""The code tables that may be named in the file of a text, by the path that it writes."""

NOWHERE: Final = Position("", 0, 0)

_STANDARD_NAMES: Final = frozenset(
    ".".join(parts[:length]) for rule in STANDARD_RULES for parts in [rule.split(".")] for length in (1, len(parts))
)
_TABLE_RULE: Final = r"table\.[0-9]{4}"

_Said = TypeVar("_Said", hl7.Usage, hl7.Cardinality, hl7.Length, hl7.ValueSet, hl7.Pattern, hl7.Constant, hl7.DataType)


def no_tables(text: SourceText) -> Mapping[str, Table]:
    """For a profile that names none."""
    return {}


def build_profile(
    body: ProfileBody, name: str, tables: Tables = no_tables, place: Position = NOWHERE
) -> tuple[hl7.Profile, list[ConfigFinding]]:
    """The profile and what is wrong with it; with an error among that it must not be used.

    `body` has taken over what it extends. `place` is where findings are that have no better one.
    """
    builder = _Builder(body, tables, place)
    builder.check_version()
    general = builder.rules(body)
    events = tuple(hl7.EventRules(*event.parts, builder.rules(rules, body)) for event, rules in body.messages.items())
    profile = hl7.Profile(
        name,
        body.description,
        body.owner,
        body.version or "",
        builder.standard(),
        general,
        events,
        MappingProxyType(builder.definitions()),
    )
    return builder.without_switched_off(profile), builder.findings


class Place(NamedTuple):
    """A place that something is said of; `within` is a group or ''."""

    within: str
    segment: str
    field: int
    component: int
    subcomponent: int

    def __str__(self) -> str:
        text = f"{self.within}.{self.segment}-{self.field}" if self.within else f"{self.segment}-{self.field}"
        if self.component:
            text += f".{self.component}"
        return f"{text}.{self.subcomponent}" if self.subcomponent else text


def places_of(rules: RuleSet) -> dict[Place, PlaceRules]:
    """What is said of places, under `fields` and under the segments; `fields` is the later one."""
    found: dict[Place, PlaceRules] = {}
    for part, segment in rules.segments.items():
        for number, entry in segment.fields.items():
            found[Place(*part.parts, *number.parts)] = entry
    for text, entry in rules.fields.items():
        place = Place(*text.parts)
        found[place] = merge_place(found[place], entry) if place in found else entry
    return found


@dataclass(slots=True, frozen=True)
class _Ruling:
    """Makes the rules of one entry: they share its owner and message, and have a mode each."""

    prefix: str
    entry: PlaceRules | SegmentRules
    default: hl7.Mode

    def __call__(self, aspect: hl7.Aspect) -> hl7.Rule:
        mode = self.entry.mode
        chosen = mode.get(aspect) if isinstance(mode, dict) else mode
        return hl7.Rule(f"{self.prefix}.{aspect}", chosen or self.default, self.entry.owner, self.entry.message)


class _Builder:
    """Gathers findings while one body is turned into rules."""

    def __init__(self, body: ProfileBody, tables: Tables, place: Position) -> None:
        self._body = body
        self._mode: hl7.Mode = body.mode or "reject"
        self._tables = tables
        self._place = place
        self.findings: list[ConfigFinding] = []

    def rules(self, rules: RuleSet, around: RuleSet | None = None) -> hl7.Rules:
        """`around` holds for every message: a place that is named for an event too takes over its keys."""
        general = places_of(around) if around is not None else {}
        elements = [
            self._element(place, merge_place(general[place], entry) if place in general else entry)
            for place, entry in places_of(rules).items()
        ]
        parts = [self._part(part, entry) for part, entry in rules.segments.items() if entry.usage or entry.cardinality]
        cross = [made for entry in rules.rules if (made := self._cross(entry)) is not None]
        self._check_names(rules.rules)
        self._check_segments(rules.segments)
        for part, segment in rules.segments.items():
            for number, entry in segment.fields.items():
                self._check_known(f"{part}-{number}", entry, number.position())
        for text, entry in rules.fields.items():
            self._check_known(text.shown, entry, text.position())
            if entry.evidence is None or not entry.evidence.filled:
                self._check_place(text)
        return hl7.Rules(tuple(elements), tuple(parts), tuple(cross))

    def _element(self, place: Place, entry: PlaceRules) -> hl7.Element:
        rule = _Ruling(str(place), entry, self._mode)
        return hl7.Element(
            place.segment,
            place.field,
            place.component,
            place.subcomponent,
            place.within,
            entry.name,
            self._usage(entry.usage, entry.when, rule, place.segment),
            hl7.Cardinality(rule("cardinality"), entry.cardinality.least, entry.cardinality.most)
            if entry.cardinality
            else None,
            hl7.Length(rule("length"), entry.length.least, entry.length.most) if entry.length else None,
            self._values(entry, rule("values")),
            hl7.Pattern(rule("pattern"), str(entry.pattern), compile_pattern(str(entry.pattern), 0))
            if entry.pattern
            else None,
            hl7.Constant(rule("constant"), str(entry.constant)) if entry.constant else None,
            hl7.DataType(rule("data_type"), str(entry.data_type)) if entry.data_type else None,
            hl7.Evidence(entry.evidence.of, entry.evidence.filled) if entry.evidence else None,
        )

    def _part(self, part: PartText, entry: SegmentRules) -> hl7.Part:
        within, name = part.parts
        rule = _Ruling(str(part), entry, self._mode)
        usage = self._usage(entry.usage, entry.when, rule, None)
        bounds = entry.cardinality
        cardinality = hl7.Cardinality(rule("cardinality"), bounds.least, bounds.most) if bounds else None
        return hl7.Part(name, within, usage, cardinality)

    def _usage(
        self, usage: UsageWords | None, when: ConditionText | None, rule: _Ruling, focus: str | None
    ) -> hl7.Usage | None:
        if usage is None:
            return None
        if usage.otherwise is None or when is None:
            return hl7.Usage(rule("usage"), usage.code)
        condition = self._condition(when, focus)
        return hl7.Usage(rule("usage"), usage.code, condition, usage.otherwise)

    def _condition(self, text: ConditionText, focus: str | None) -> hl7.Condition:
        """The condition; after a finding one that nobody can test."""
        try:
            compiled = compile_condition(str(text), focus=focus, tables=self._tables(text))
        except ExpressionError as error:
            self._find(text.position(error.column, error.length), "E130", error.message, error.hint)
            return hl7.Condition(str(text))
        return hl7.Condition(str(text), compiled.run)

    def _values(self, entry: PlaceRules, rule: hl7.Rule) -> hl7.ValueSet | None:
        if entry.table is not None:
            return hl7.ValueSet(rule, table=entry.table, name=f"table {entry.table}")
        if entry.values is None:
            return None
        if not isinstance(entry.values, TablePath):
            return hl7.ValueSet(rule, frozenset(map(str, entry.values)), name="the values that are allowed")
        table = self._tables(entry.values).get(str(entry.values))
        if table is None:
            self._find(entry.values.position(), "E132", f"cannot read {entry.values.shown}: there is no such file")
            return None
        return hl7.ValueSet(rule, frozenset(table.keys), name=str(entry.values))

    def _cross(self, entry: CrossRules) -> hl7.CrossRule | None:
        if entry.require is None:
            message = f"the rule '{entry.name.shown}' says nothing that must be true"
            self._find(entry.name.position(), "E103", message, "add require: with a condition")
            return None
        focus = str(entry.each) if entry.each is not None else None
        require = self._condition(entry.require, focus)
        when = self._condition(entry.when, focus) if entry.when is not None else None
        rule = hl7.Rule(f"rule.{entry.name.slug}", entry.mode or self._mode, entry.owner, entry.message)
        location = str(entry.at) if entry.at is not None else self._first_path(entry.require, focus)
        if entry.at is not None:
            try:
                compile_path(location, focus=focus)
            except PathError as error:
                self._find(entry.at.position(error.column, 1), "E131", error.message)
        return hl7.CrossRule(rule, entry.name.slug, require, when, focus or "", location)

    def _first_path(self, text: ConditionText, focus: str | None) -> str:
        try:
            paths = compile_condition(str(text), focus=focus, tables=self._tables(text)).paths
        except ExpressionError:
            return ""  # told already
        return next((str(path) for path in paths if "[*]" not in str(path)), "")

    def _check_names(self, rules: Iterable[CrossRules]) -> None:
        seen: set[str] = set()
        for rule in rules:
            if rule.name.slug in seen:
                self._find(rule.name.position(), "E109", f"a second rule is named '{rule.name.shown}'", "rename one")
            seen.add(rule.name.slug)

    def _check_place(self, text: PlaceText) -> None:
        """A place that no version has, or not the version of the profile, is mostly a slip of the finger."""
        _, segment, field, component, _ = text.parts
        if segment.startswith("Z"):
            return
        versions = [self._body.version] if self._body.version else reversed(VERSIONS)
        if any(_has_place(load(version), segment, field, component) for version in versions):
            return
        where = f"version {self._body.version} has" if self._body.version else "no version of the standard has"
        what = f"{where} no {text.shown}" if self._body.version else f"{where} {text.shown}"
        self._find(text.position(), "W172", what, "correct it, or leave it if your systems do have it")

    def _check_known(self, place: str, entry: PlaceRules, key: Position | None) -> None:
        """A table or data type that HL7 does not have would ask nothing, and nobody would notice."""
        if entry.table is not None and not any(_has_codes(load(name), entry.table) for name in VERSIONS):
            message = f"{place}: HL7 has no codes in a table {entry.table}, so this asks nothing"
            self._find(key, "W173", message, "correct it, or list the codes under values")
        if entry.data_type is not None and not any(load(name).data_type(entry.data_type) for name in VERSIONS):
            message = f"{place}: HL7 has no data type {entry.data_type}, so this asks nothing"
            self._find(key, "W173", message, "such as CX, ST or DTM")

    def check_version(self) -> None:
        version = self._body.version
        if version and version not in VERSIONS:
            message = f"the standard's version {version} is not known here; {nearest_version(version)} is taken"
            self._find(Position(self._place.file, 0, 0), "W173", message, f"known: {', '.join(VERSIONS)}")

    def _check_segments(self, segments: Mapping[PartText, SegmentRules]) -> None:
        for part, entry in segments.items():
            _, name = part.parts
            if entry.fields and not (name.startswith("Z") and len(name) == 3):
                first = next(iter(entry.fields))
                message = f"the fields of {name} are the standard's"
                self._find(first.position() or part.position(), "E172", message, f"write {name}-{first} under fields")

    # -- what the standard says -----------------------------------------------------------------

    def standard(self) -> hl7.Standard:
        exceptions: dict[str, hl7.StandardMode] = {}
        for name, mode in self._body.standard.exceptions.items():
            if name.is_own:
                message = f"'{name.shown}' is no rule of the standard"
                self._find(name.position(), "E170", message, "write the mode beside the rule itself")
            self._check_standard_rule(name)
            exceptions[str(name)] = mode
        for name in self._body.switch_off:
            if not name.is_own:
                self._check_standard_rule(name)
                exceptions[str(name)] = "off"
        return hl7.Standard(self._body.standard.default, MappingProxyType(exceptions))

    def _check_standard_rule(self, name: RuleName) -> None:
        rule = name.partition(" ")[0]
        if name.is_own or rule[:1].isupper() or rule in _STANDARD_NAMES or re.fullmatch(_TABLE_RULE, rule):
            return
        self._find(
            name.position(), "E170", f"the standard has no rule {name.shown}", did_you_mean(rule, _STANDARD_NAMES)
        )

    def definitions(self) -> dict[str, hl7.SegmentDefinition]:
        """The Z-segments that are described, for whatever event."""
        found: dict[str, hl7.SegmentDefinition] = {}
        for rules in (self._body, *self._body.messages.values()):
            for part, entry in rules.segments.items():
                _, name = part.parts
                if not name.startswith("Z") or not entry.fields:
                    continue
                known = found.get(name, hl7.SegmentDefinition(name))
                fields = {field.number: field for field in known.fields}
                for number, place in entry.fields.items():
                    field, component, _ = number.parts
                    if not component:
                        fields[field] = hl7.FieldDefinition(field, place.name, place.data_type or "ST")
                ordered = tuple(fields[number] for number in sorted(fields))
                found[name] = hl7.SegmentDefinition(name, entry.title or known.title, ordered)
        return found

    def without_switched_off(self, profile: hl7.Profile) -> hl7.Profile:
        off = {str(name): name for name in self._body.switch_off if name.is_own}
        if not off:
            return profile
        known = {rule.id for rule in profile.all_rules()}
        for name, text in off.items():
            if name not in known:
                message = f"this profile has no rule {text.shown}"
                self._find(text.position(), "E170", message, did_you_mean(name, known))
        names = frozenset(off)
        events = tuple(replace(event, rules=_without(event.rules, names)) for event in profile.events)
        return replace(profile, rules=_without(profile.rules, names), events=events)

    def _find(self, place: Position | None, code: str, message: str, hint: str = "") -> None:
        finding = at(place or self._place, code, message, hint)
        if finding not in self.findings:
            self.findings.append(finding)


def _has_place(dictionary: Dictionary, segment: str, field: int, component: int) -> bool:
    found = dictionary.segment(segment)
    definition = found.field(field) if found is not None else None
    if definition is None:
        return False
    data_type = dictionary.data_type(definition.data_type)
    return component <= 1 or data_type is None or data_type.component(component) is not None


def _has_codes(dictionary: Dictionary, number: str) -> bool:
    """Whether values are held against the table: one with rows for many codes, or that a site fills, says nothing."""
    table = dictionary.table(number)
    return table is not None and codes_of(table) is not None


def _without(rules: hl7.Rules, off: frozenset[str]) -> hl7.Rules:
    elements = tuple(
        replace(
            element,
            usage=_kept(element.usage, off),
            cardinality=_kept(element.cardinality, off),
            length=_kept(element.length, off),
            values=_kept(element.values, off),
            pattern=_kept(element.pattern, off),
            constant=_kept(element.constant, off),
            data_type=_kept(element.data_type, off),
        )
        for element in rules.elements
    )
    parts = tuple(
        replace(part, usage=_kept(part.usage, off), cardinality=_kept(part.cardinality, off)) for part in rules.parts
    )
    return hl7.Rules(elements, parts, tuple(rule for rule in rules.cross if rule.rule.id not in off))


def _kept(said: _Said | None, off: frozenset[str]) -> _Said | None:
    return None if said is None or said.rule.id in off else said
