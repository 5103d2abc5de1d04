"""What is different between two profiles, and between a profile and the messages that are really sent.

Nothing here holds a value of a message: only places, rules, counts, and the values that a profile itself lists.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from engine.hl7.learn import Learner
from engine.hl7.message import Message
from engine.hl7.profile import (
    ASPECTS,
    Constant,
    CrossRule,
    DataType,
    Element,
    Mode,
    Part,
    Pattern,
    Profile,
    ProfileSet,
    Rules,
    Sender,
    Usage,
    ValueSet,
)
from engine.hl7.validate import Validator

MOST_VALUES_SHOWN: Final = 12


@dataclass(slots=True, frozen=True)
class Difference:
    """A rule that only one of two profiles has, or that says something else in the other; '' where it is not there.

    `sender` is whom the profile is for, '' for everybody; `event` the type and event it is for, '' for all.
    """

    rule: str
    before: str
    after: str
    sender: str = ""
    event: str = ""


@dataclass(slots=True, frozen=True)
class Gap:
    """Where messages and their profile do not agree.

    `broken`: a rule that `messages` of `of` break, the first at `location`. `unsent`: a place that the profile speaks
    of, and none of `of` messages with its segment fills. `unknown`: a place that `messages` fill, and the profile does
    not speak of.
    """

    kind: Literal["broken", "unsent", "unknown"]
    name: str
    messages: int
    of: int
    location: str = ""
    mode: Mode | None = None
    text: str = ""
    owner: str = ""


def differences(before: ProfileSet, after: ProfileSet) -> list[Difference]:
    """Rule by rule, profiles of the same senders side by side."""
    old, new = _by_sender(before), _by_sender(after)
    found: list[Difference] = []
    for sender in dict.fromkeys([*old, *new]):
        found += _of_profiles(sender, old.get(sender), new.get(sender))
    return found


def _by_sender(profiles: ProfileSet) -> dict[str, Profile]:
    made: dict[str, Profile] = {}
    for sender, profile in profiles.choices:
        made.setdefault(_name(sender), profile)
    return made


def _name(sender: Sender) -> str:
    parts = (("MSH-3", sender.application), ("MSH-4", sender.facility), ("MSH-21", sender.profile))
    return ", ".join(f"{place} {text}" for place, text in parts if text)


def _of_profiles(sender: str, before: Profile | None, after: Profile | None) -> Iterator[Difference]:
    old, new = (_said(profile) if profile is not None else {} for profile in (before, after))
    for key in dict.fromkeys([*old, *new]):
        event, rule = key
        was, is_now = old.get(key, ""), new.get(key, "")
        if was != is_now:
            yield Difference(rule, was, is_now, sender, event)


def _said(profile: Profile) -> dict[tuple[str, str], str]:
    """Everything that a profile says, by event and rule, in words that can be compared."""
    said = {("", "version"): profile.version or "of the message", ("", "standard"): profile.standard.default}
    for name, mode in profile.standard.exceptions.items():
        said["", f"standard: {name}"] = mode
    for name, definition in profile.segments.items():
        for each in definition.fields:
            said["", f"{name}-{each.number}"] = f"{each.name} ({each.data_type})"
    said |= {("", rule): text for rule, text in _rules(profile.rules)}
    for event in profile.events:
        shown = f"{event.message_code}^{event.trigger_event or '*'}"
        said |= {(shown, rule): text for rule, text in _rules(event.rules)}
    return said


def _rules(rules: Rules) -> Iterator[tuple[str, str]]:
    for each in (*rules.elements, *rules.parts):
        for aspect in ASPECTS:
            said = getattr(each, aspect, None)
            if said is not None:
                yield said.rule.id, f"{_shown(said)} ({said.rule.mode})"
    for cross in rules.cross:
        yield cross.rule.id, f"{_cross(cross)} ({cross.rule.mode})"


def _shown(said: object) -> str:
    match said:
        case Usage() if said.condition is not None:
            return f"{said} when {said.condition.text}"
        case ValueSet() if said.table:
            return f"table {said.table}"
        case ValueSet():
            values = sorted(said.values)
            more = f" and {len(values) - MOST_VALUES_SHOWN} more" if len(values) > MOST_VALUES_SHOWN else ""
            return ", ".join(values[:MOST_VALUES_SHOWN]) + more
        case Pattern():
            return said.text
        case Constant():
            return said.value
        case DataType():
            return said.name
        case _:
            return str(said)


def _cross(rule: CrossRule) -> str:
    when = f"when {rule.when.text} " if rule.when is not None else ""
    each = f"each {rule.each}: " if rule.each else ""
    return f"{each}{when}require {rule.require.text}"


# -- against messages ---------------------------------------------------------------------------------


@dataclass(slots=True)
class _Broken:
    messages: int
    location: str
    mode: Mode
    text: str
    owner: str


@dataclass(slots=True)
class Comparison:
    """Messages held against the profiles of their senders, one after the other; bounded by rules and places."""

    profiles: ProfileSet
    messages: int = 0
    without_profile: int = 0
    _validators: dict[int, Validator] = field(default_factory=dict)
    _learners: dict[int, Learner] = field(default_factory=dict)
    _chosen: dict[int, Profile] = field(default_factory=dict)
    _broken: dict[str, _Broken] = field(default_factory=dict)

    def add(self, message: Message) -> None:
        """Count one message."""
        self.messages += 1
        profile = self.profiles.choose(message)
        if profile is None:
            self.without_profile += 1
            return
        key = id(profile)
        if key not in self._validators:
            self._validators[key], self._learners[key] = Validator(profile), Learner(least=1)
            self._chosen[key] = profile
        self._learners[key].add(message)
        seen: set[str] = set()
        for violation in self._validators[key].validate(message).violations:
            if violation.rule in seen:
                continue
            seen.add(violation.rule)
            known = self._broken.get(violation.rule)
            if known is None:
                self._broken[violation.rule] = _Broken(
                    1, violation.location, violation.mode, violation.text, violation.owner
                )
            else:
                known.messages += 1

    def gaps(self, *, unknown: bool = False) -> list[Gap]:
        """What does not agree, worst first; places that the profiles do not speak of only with `unknown`."""
        of = self.messages - self.without_profile
        order = {"reject": 0, "warn": 1, "observe": 2}
        broken = sorted(self._broken.items(), key=lambda each: (order[each[1].mode], -each[1].messages, each[0]))
        found = [
            Gap("broken", rule, one.messages, of, one.location, one.mode, one.text, one.owner) for rule, one in broken
        ]
        told: set[tuple[str, str]] = set()
        for key, profile in self._chosen.items():
            for gap in self._places(profile, self._learners[key], unknown=unknown):
                if (gap.kind, gap.name) not in told and f"{gap.name}.usage" not in self._broken:
                    told.add((gap.kind, gap.name))
                    found.append(gap)
        return found

    def _places(self, profile: Profile, learner: Learner, *, unknown: bool) -> Iterator[Gap]:
        learned = learner.learned()
        filled = {place.path: place for place in learned.places}
        segments = {segment.name: segment for of_event in learned.segments.values() for segment in of_event}
        elements = list(_elements(profile))
        for element in elements:
            if element.subcomponent or element.path in filled or element.segment not in segments:
                continue
            if _expects_value(element):
                yield Gap("unsent", element.path, 0, learned.messages, text=element.name)
        if not unknown:
            return
        spoken = {element.path for element in elements} | {f"{e.segment}-{e.field}" for e in elements}
        deep = {f"{element.segment}-{element.field}" for element in elements if element.component}
        for path, place in filled.items():
            whole = path.partition(".")[0]
            if path not in spoken and ("." not in path or whole in deep):
                yield Gap("unknown", path, place.filled, place.of, text=place.name)


def _elements(profile: Profile) -> Iterable[Element]:
    found: Mapping[str, Element] = {
        element.path: element
        for rules in (profile.rules, *(event.rules for event in profile.events))
        for element in rules.elements
    }
    return found.values()


def _expects_value(element: Element | Part) -> bool:
    """Whether the profile reckons with a value there: a usage of R, RE or C says so."""
    return element.usage is not None and (element.usage.code in ("R", "RE") or element.usage.otherwise in ("R", "RE"))
