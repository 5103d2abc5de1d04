"""Drift: a sender's messages are not any more as they were when their profile was learned.

A place that nearly always had a value then (`ALWAYS` of its evidence), and is mostly empty in the newest messages of
one sender; or one that never had a value, and mostly has. Told once when it begins and once when it ends.

States of one place of one sender, over its last `WINDOW` messages that could have had the value:

    calm     -> drifting   at least `LEAST` were seen, and half of them differ
    drifting -> calm       a tenth of them or less differ

Memory is bounded by `MOST_SENDERS` times the places of their profiles; what further senders send is not looked at. At
most `PER_SECOND` messages a second are looked at, so that the cost has a bound too. Time comes with each message, and
nothing survives a restart: the counts begin anew, and what goes on drifting is told again.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from engine.hl7.message import Message
from engine.hl7.profile import Element, Profile, ProfileSet

WINDOW: Final = 50
LEAST: Final = 20
ALWAYS: Final = 0.9
LEAST_EVIDENCE: Final = 20
MOST_SENDERS: Final = 64
PER_SECOND: Final = 20
MOST_OCCURRENCES: Final = 8

_FULL: Final = (1 << WINDOW) - 1
_NULL: Final = '""'


@dataclass(slots=True, frozen=True)
class Drift:
    """What began or ended. `sender` is MSH-3.1|MSH-4.1 as sent; `text` has counts and a time, and no value."""

    place: str
    sender: str
    has_begun: bool
    since: datetime
    text: str


class _Place:
    """A place that is watched, and how to look at it."""

    __slots__ = ("component", "evidence", "field", "name", "path", "segment", "wants_value")

    def __init__(self, element: Element) -> None:
        assert element.evidence is not None, "chosen by its evidence"
        self.segment = element.segment
        self.field = element.field
        self.component = element.component
        self.path = element.path
        self.name = element.name
        self.evidence = element.evidence
        self.wants_value = element.evidence.filled > 0

    def differs(self, message: Message) -> bool | None:
        """Whether most of the first occurrences are not as they used to be; None where there is none."""
        of = filled = 0
        delimiters = message.delimiters
        marks = delimiters.repetition + delimiters.component + delimiters.subcomponent
        for index in message.indexes(self.segment)[:MOST_OCCURRENCES]:
            fields = message.fields(index)
            text = fields[self.field] if self.field < len(fields) else ""
            if not self.component:
                of += 1
                filled += text.strip(marks) not in ("", _NULL)
                continue
            for repetition in text.split(delimiters.cut_repetition)[:MOST_OCCURRENCES]:
                if repetition.strip(marks) in ("", _NULL):
                    continue
                of += 1
                parts = repetition.split(delimiters.cut_component, self.component)
                part = parts[self.component - 1] if self.component <= len(parts) else ""
                filled += part.strip(marks) not in ("", _NULL)
        if not of:
            return None
        return (2 * filled < of) if self.wants_value else (2 * filled > of)


class _State:
    """Of one place of one sender: a bit for each of the last messages, the newest lowest, 1 where it differs."""

    __slots__ = ("bits", "is_drifting", "seen", "since")

    def __init__(self) -> None:
        self.bits = 0
        self.seen = 0
        self.is_drifting = False
        self.since: datetime | None = None


class DriftWatch:
    """Watches the live messages of one channel against the evidence in its profiles."""

    def __init__(self, profiles: ProfileSet) -> None:
        self._profiles = profiles
        self._places: dict[int, Sequence[_Place]] = {}
        for _, profile in profiles.choices:
            self._places.setdefault(id(profile), _watched(profile))
        self._senders: dict[str, dict[str, _State]] = {}
        self._second = 0
        self._looked = 0

    @property
    def is_needed(self) -> bool:
        """Whether any profile has evidence to watch against."""
        return any(self._places.values())

    def observe(self, message: Message, now: datetime) -> list[Drift]:
        """Look at one message as it came; what began or ended with it."""
        second = int(now.timestamp())
        if second != self._second:
            self._second, self._looked = second, 0
        if self._looked >= PER_SECOND:
            return []
        self._looked += 1
        profile = self._profiles.choose(message)
        places = self._places[id(profile)] if profile is not None else ()
        if not places:
            return []
        sender = f"{message.get('MSH-3.1') or ''}|{message.get('MSH-4.1') or ''}"
        states = self._senders.get(sender)
        if states is None:
            if len(self._senders) >= MOST_SENDERS:
                return []
            states = self._senders[sender] = {}
        return [drift for place in places if (drift := _step(place, states, sender, message, now)) is not None]

    def drifting(self, named: Iterable[str] = ()) -> dict[tuple[str, str], int]:
        """How many senders drift now, by sender and place; those not in `named` are together under `other`."""
        known = frozenset(named)
        counts: dict[tuple[str, str], int] = {}
        for sender, states in self._senders.items():
            label = sender if sender in known else "other"
            for place, state in states.items():
                counts[label, place] = counts.get((label, place), 0) + state.is_drifting
        return counts


def _watched(profile: Profile) -> tuple[_Place, ...]:
    """The places with enough evidence that nearly always had a value, or never."""
    found: dict[str, _Place] = {}
    for rules in (profile.rules, *(event.rules for event in profile.events)):
        for element in rules.elements:
            evidence = element.evidence
            if evidence is None or element.within or element.subcomponent or evidence.of < LEAST_EVIDENCE:
                continue
            if evidence.filled == 0 or evidence.filled >= ALWAYS * evidence.of:
                found.setdefault(element.path, _Place(element))
    return tuple(found.values())


def _step(place: _Place, states: dict[str, _State], sender: str, message: Message, now: datetime) -> Drift | None:
    differs = place.differs(message)
    if differs is None:
        return None
    state = states.get(place.path)
    if state is None:
        state = states[place.path] = _State()
    state.bits = (state.bits << 1 | differs) & _FULL
    state.seen = min(WINDOW, state.seen + 1)
    if differs and state.since is None:
        state.since = now
    count = state.bits.bit_count()
    if not state.is_drifting:
        if count * 2 >= state.seen >= LEAST and state.since is not None:
            state.is_drifting = True
            return Drift(place.path, sender, True, state.since, _told(place, count, state.seen, state.since))
        if count * 10 <= state.seen and not differs:
            state.since = None
        return None
    if count * 10 > state.seen:
        return None
    began = state.since or now
    state.is_drifting, state.since = False, None
    return Drift(place.path, sender, False, began, f"{_shown(place)} is again as the profile was learned")


def _shown(place: _Place) -> str:
    return f"{place.path} ({place.name})" if place.name else place.path


def _told(place: _Place, count: int, seen: int, since: datetime) -> str:
    then = f"{place.evidence.filled} of {place.evidence.of} times"
    moment = since.strftime("%A %Y-%m-%d %H:%M %Z").rstrip()
    if place.wants_value:
        return (
            f"{_shown(place)} had a value {then} when the profile was learned; since {moment} it is empty in "
            f"{count} of the last {seen} messages of this sender"
        )
    return (
        f"{_shown(place)} had no value in {place.evidence.of} messages when the profile was learned; since {moment} it "
        f"has one in {count} of the last {seen} messages of this sender"
    )
