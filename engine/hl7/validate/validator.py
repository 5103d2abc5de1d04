"""The validator: one pass over a message, every finding, from checks that are compiled when first needed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from engine.hl7.dictionary import Dictionary, StructureChoice, load, nearest_version
from engine.hl7.message import Message
from engine.hl7.path import compile_path
from engine.hl7.profile import NO_PROFILE, CrossRule, Element, Mode, Profile, Rules
from engine.hl7.reading import first_leaf
from engine.hl7.validate.rules import Breach, Judge, Severity, profile_breach
from engine.hl7.validate.run import Found, Run
from engine.hl7.validate.segments import SegmentCheck, compile_segment
from engine.hl7.validate.spans import Places
from engine.hl7.validate.structure import Structure, judge_parts

DEFAULT_LIMIT: Final = 1000


@dataclass(slots=True, frozen=True)
class Violation:
    """One rule broken at one place.

    `location` is a path, `OBX[3]-5` or `PID-3[2].1`; `start` and `end` are its bytes in `message.raw` (in `to_bytes()`
    of an edited message), the same where something is missing. `rule` is a stable name, of STANDARD_RULES or of the
    profile; `mode` what the profile makes of it, `severity` how the standard sees it; `hl7_code` of table 0357; `text`
    a sentence without values.
    """

    location: str
    start: int
    end: int
    rule: str
    mode: Mode
    severity: Severity
    hl7_code: str
    text: str
    owner: str = ""


@dataclass(slots=True, frozen=True)
class Validation:
    """What came of a message: violations by their place, and how many more there were by rule.

    `version` is the dictionary's, `structure` the id of the message's structure or None.
    """

    version: str
    structure: str | None
    violations: tuple[Violation, ...]
    left_out: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def left_out_count(self) -> int:
        """How many violations were found beyond the limit."""
        return sum(self.left_out.values())


class Validator:
    """Holds messages against the standard and one profile. Make one and keep it: it remembers what it compiled.

    What it remembers is bounded by the dictionary and the profile, not by what senders write.
    """

    def __init__(self, profile: Profile = NO_PROFILE, *, limit: int = DEFAULT_LIMIT) -> None:
        """`limit`: of how many violations of one message the place is worked out; the others are counted."""
        self._profile = profile
        self._limit = limit
        self._judge = Judge(profile.standard)
        self._plans: dict[tuple[str, tuple[bool, ...]], _Plan] = {}

    def validate(self, message: Message) -> Validation:
        """Every violation of a message. Never raises, whatever its bytes say."""
        header = message.fields(0)
        is_message = header[0] == "MSH"
        code, event, declared = _message_type(message, header) if is_message else ("", "", "")
        stated = first_leaf(header[12], message.delimiters) if is_message and len(header) > 12 else ""
        version = nearest_version(self._profile.version or stated)
        plan = self._plan(version, code, event)
        choice = plan.dictionary.structure_of(code, event, declared) if is_message else StructureChoice(None)
        run = Run(message, self._limit)
        names = message.names()
        # Of a fragment, and of a batch's header, nothing can be said about what is missing (hl7.md item 66).
        is_whole = is_message and not (len(header) > 14 and header[14])
        if choice.notices and code[:1] != "Z" and event[:1] != "Z":  # a site's own events are nothing to tell
            plan.note_type(run, choice)
        groups = plan.check_structure(run, names, choice.id) if is_whole else ()
        plan.check_segments(run, names, groups)
        plan.check_cross_rules(run, names)
        return _validation(run, version, choice.id)

    def _plan(self, version: str, code: str, event: str) -> "_Plan":
        """The rules for a version and for the profile's events that match; so few that all can be kept."""
        key = (version, tuple([each.matches(code, event) for each in self._profile.events]))
        plan = self._plans.get(key)
        if plan is None:
            rules = self._profile.rules_for(code, event)
            plan = self._plans[key] = _Plan(load(version), self._judge, self._profile, rules)
        return plan


class _Plan:
    """What is asked of messages of one version and set of events, compiled as it is needed."""

    def __init__(self, dictionary: Dictionary, judge: Judge, profile: Profile, rules: Rules) -> None:
        self.dictionary = dictionary
        self._judge = judge
        self._profile = profile
        self._rules = rules
        self._known = frozenset(dictionary.segment_names())
        self._elements: dict[str, tuple[Element, ...]] = {}
        for element in rules.elements:
            self._elements[element.segment] = (*self._elements.get(element.segment, ()), element)
        self._structures: dict[str, Structure | None] = {}
        self._checks: dict[str, SegmentCheck | None] = {}
        self._checks_in_groups: dict[tuple[str, frozenset[str]], SegmentCheck | None] = {}
        self._within = {
            name: frozenset(element.within for element in elements if element.within)
            for name, elements in self._elements.items()
        }
        self._unknown = _UnknownSegments(judge)
        self._undeclared = judge.breach("structure.declared", "MSH-9.3", "")
        self._untyped = judge.breach("structure.unknown", "MSH-9", "")

    def note_type(self, run: Run, choice: StructureChoice) -> None:
        """What is odd about MSH-9 (hl7.md item 69)."""
        if choice.id is None:
            run.add(self._untyped, 9)
        else:
            run.add(self._undeclared, 9, 1, 3)

    def check_structure(self, run: Run, names: Sequence[str], id: str | None) -> Sequence[frozenset[str]]:
        """Groups, order and number of segments; returns the groups that each stands in, () when nobody knows."""
        structure = self._structure(id) if id is not None else None
        if structure is not None:
            return structure.walk(run, names, self._known)
        judge_parts(run, names, self._rules.parts)
        return ()

    def check_segments(self, run: Run, names: Sequence[str], groups: Sequence[frozenset[str]]) -> None:
        """Each segment by itself."""
        message, checks = run.message, self._checks
        for index, name in enumerate(names):
            run.at = index
            if self._within.get(name):
                check = self._check_in_groups(name, groups[index] if groups else frozenset())
            elif name in checks:
                check = checks[name]
            else:
                check = self._check(name)
            if check is not None:
                check(run, message.fields(index))

    def check_cross_rules(self, run: Run, names: Sequence[str]) -> None:
        """The profile's rules about several places."""
        for rule in self._rules.cross:
            for index in [i for i, name in enumerate(names) if name == rule.each] if rule.each else [-1]:
                _check_cross_rule(run, rule, index)

    def _structure(self, id: str) -> Structure | None:
        if id not in self._structures:
            definition = self.dictionary.structure(id)
            self._structures[id] = Structure(definition, self._judge, self._rules.parts) if definition else None
        return self._structures[id]

    def _check(self, name: str) -> SegmentCheck | None:
        own = self._profile.segments.get(name)
        if name not in self._known and own is None and name not in self._elements:
            return None if not name or name[0] == "Z" else self._unknown.check
        check = compile_segment(self.dictionary, self._judge, name, self._elements.get(name, ()), own)
        self._checks[name] = check
        return check

    def _check_in_groups(self, name: str, groups: frozenset[str]) -> SegmentCheck | None:
        """Where the profile says something of a segment in some groups only."""
        key = (name, groups & self._within[name])
        if key not in self._checks_in_groups:
            elements = _closest(self._elements[name], key[1])
            own = self._profile.segments.get(name)
            self._checks_in_groups[key] = compile_segment(self.dictionary, self._judge, name, elements, own)
        return self._checks_in_groups[key]


class _UnknownSegments:
    """Segments that no version's table has and that are no Z-segments (hl7.md item 48)."""

    def __init__(self, judge: Judge) -> None:
        self._breach = judge.breach("segment.unknown", "this", "")

    def check(self, run: Run, fields: list[str]) -> None:
        run.add(self._breach)


def _closest(elements: Sequence[Element], groups: frozenset[str]) -> list[Element]:
    """The elements for a segment in those groups: what is said for a group over what is said for anywhere."""
    found: dict[tuple[int, int, int], Element] = {}
    for element in sorted(elements, key=lambda each: bool(each.within)):
        if not element.within or element.within in groups:
            place = (element.field, element.component, element.subcomponent)
            found[place] = element.over(found[place]) if place in found else element
    return list(found.values())


def _check_cross_rule(run: Run, rule: CrossRule, index: int) -> None:
    """Of the message (`index` -1), or of one segment, which is in focus meanwhile."""
    require, when = rule.require.test, rule.when.test if rule.when is not None else None
    if require is None or (rule.when is not None and when is None):
        return
    run.at = max(index, 0)
    if index < 0:
        is_broken = (when is None or when(run.message)) and not require(run.message)
    else:
        is_broken = (when is None or run.focused(when)) and not run.focused(require)
    if is_broken:
        breach = profile_breach(rule.rule, "199", rule.location or rule.each, "", f"breaks the rule {rule.name}")
        run.note(_cross_found(run, rule, breach, index))


def _cross_found(run: Run, rule: CrossRule, breach: Breach, index: int) -> Found:
    if not rule.location:
        return Found(breach, max(index, 0))
    path = compile_path(rule.location)
    if index < 0 or path.segment != rule.each:
        index = next(iter(path.segments(run.message)), -1)
    if index < 0:
        return Found(breach, len(run.message), missing=path.segment)
    return Found(
        breach, index, path.field or 0, 1 if path.component else 0, path.component or 0, path.subcomponent or 0
    )


def _message_type(message: Message, header: list[str]) -> tuple[str, str, str]:
    """MSH-9.1, MSH-9.2 and MSH-9.3."""
    text = header[9].partition(message.delimiters.cut_repetition)[0] if len(header) > 9 else ""
    parts = text.split(message.delimiters.cut_component)
    code, event, declared = (*parts, "", "", "")[:3]
    return code.strip(), event.strip(), declared.strip()


def _validation(run: Run, version: str, structure: str | None) -> Validation:
    if not run.found:
        return Validation(version, structure, ())
    places = Places(run.message)
    violations = []
    for found in run.found:
        breach = found.breach
        start, end = places.span(found)
        violations.append(
            Violation(
                places.path(found),
                start,
                end,
                breach.rule,
                breach.mode,
                breach.severity,
                breach.hl7_code,
                breach.text,
                breach.owner,
            )
        )
    violations.sort(key=lambda violation: violation.start)
    left_out: dict[str, int] = {}
    for breach, count in run.left_out.items():
        left_out[breach.rule] = left_out.get(breach.rule, 0) + count
    return Validation(version, structure, tuple(violations), MappingProxyType(left_out))
