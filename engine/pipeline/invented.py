"""Invented messages for one channel, or for a profile alone: each is held against them before it is given out.

What a channel asks for is read from its files (`engine.pipeline.asked`); a message is made to keep it, then the channel
runs over it, and only what it processes, or filters on purpose, is given. What cannot be made is told with the codes
and places of what stands in its way.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from engine.config.channel import AcceptPattern
from engine.config.expression import Condition, ExpressionError, ValueTooLong, compile_condition
from engine.config.expression.satisfy import Ways, find_selected, satisfy
from engine.config.site import LoadedChannel
from engine.config.table import Table
from engine.hl7.charset import codec_named
from engine.hl7.dictionary import load
from engine.hl7.errors import EditError, TooMuchWork, UnencodableText
from engine.hl7.generate import (
    KNOWN,
    Fitter,
    Happening,
    Header,
    Kind,
    again,
    all_of,
    can_be_written,
    chance_of,
    sample_of,
    segments_of,
    types_of,
)
from engine.hl7.generate.values import Asked as AskedValue
from engine.hl7.generate.values import leaf, whole
from engine.hl7.message import Message
from engine.hl7.path import Path, compile_path
from engine.hl7.profile import NO_PROFILE, Profile, ProfileSet, Sender
from engine.model.finding import Finding
from engine.pipeline.asked import Ask, Asked, asked_of
from engine.pipeline.compile import CompiledChannel
from engine.pipeline.entry import undecodable
from engine.pipeline.occurrences import is_many, occurrences
from engine.pipeline.profiles import ProfileCheck, profiles_named
from engine.pipeline.run import Result

Runs = Callable[[Message, datetime], Result]

_TRIES: Final = 4
_PROTECTED: Final = ("MSH-7", "MSH-9", "MSH-10", "MSH-12", "MSH-18")
"""What says which message it is, and how it is written: no condition of a channel changes that."""
_NOT_FOR_SCANNERS: Final[frozenset[Kind]] = frozenset(
    ("laboratory ordered", "laboratory cancelled", "laboratory resulted", "medication ordered", "imaging resulted")
)
_CODED: Final = ("CE", "CWE", "CNE")


@dataclass(slots=True, frozen=True)
class Made:
    """One message, and what the channel makes of it: `processed` or `filtered`; or why it was left out."""

    type: str
    raw: bytes
    state: str
    happening: Happening
    findings: tuple[Finding, ...] = ()

    @property
    def is_good(self) -> bool:
        return self.state in ("processed", "filtered")


@dataclass(slots=True)
class Receiver:
    """Who gets the messages: a channel, or whoever asks for a profile alone."""

    accept: Sequence[AcceptPattern]
    sender: Condition | None = None
    asked: Asked = field(default_factory=Asked)
    profiles: list[ProfileSet] = field(default_factory=list)
    tables: Mapping[str, Table] = field(default_factory=dict)
    fallback: str = "cp1252"
    channel: CompiledChannel | None = None
    run: Runs | None = None
    is_for_scanners: bool = False
    """Whether all that it takes goes onto a worklist: then only examinations are ordered."""

    @classmethod
    def of_channel(cls, loaded: LoadedChannel, channel: CompiledChannel, run: Runs) -> "Receiver":
        asked = asked_of(loaded)
        condition = loaded.file.condition
        return cls(
            loaded.file.accept,
            compile_condition(str(condition), tables=loaded.tables) if condition is not None else None,
            asked,
            [profiles_named(name, loaded.profiles, "reject") for name in asked.profiles],
            loaded.tables,
            loaded.file.charset.fallback,
            channel,
            run,
            {destination.sink for destination in loaded.file.destinations.values()} == {"worklist"},
        )

    @classmethod
    def of_profile(cls, profiles: ProfileSet) -> "Receiver":
        """Of the types that the profile has rules for; where it has none for any, of all that are known."""
        types = dict.fromkeys(
            f"{event.message_code}^{event.trigger_event or '*'}"
            for _, profile in profiles.choices
            for event in profile.events
        )
        accept = tuple(map(AcceptPattern, types)) or (AcceptPattern("*"),)
        check = ProfileCheck(profiles, "reject", "profile")

        def run(message: Message, now: datetime) -> Result:
            verdict = check(message)
            return Result("rejected" if verdict.rejecting else "processed", [], (*verdict.rejecting, *verdict.others))

        return cls(accept, None, Asked(), [profiles], {}, "cp1252", None, run)

    @property
    def others(self) -> tuple[str, ...]:
        """Types that are taken and that no happening tells."""
        named = [str(pattern) for pattern in self.accept if "*" not in pattern and "^" in pattern]
        return tuple(one for one in dict.fromkeys(named) if one not in KNOWN)

    def takes(self, kind: Kind, type_: str) -> bool:
        """Whether `accept` names the type and event, and what happened is something for the channel."""
        if self.is_for_scanners and kind in _NOT_FOR_SCANNERS:
            return False
        code, _, event = type_.partition("^")
        return any(pattern.matches(code, event) for pattern in self.accept)

    @property
    def charsets(self) -> tuple[str, ...]:
        """What profiles ask of MSH-18; () where they do not care."""
        for profiles in self.profiles:
            for _, profile in profiles.choices:
                for element in profile.rules.elements:
                    if (element.segment, element.field) == ("MSH", 18):
                        named = [element.constant.value] if element.constant is not None else []
                        named += sorted(element.values.values) if element.values is not None else []
                        return tuple(name for name in named if codec_named(name) is not None)
        return ()


class Inventor:
    """Makes messages of happenings. The same seed makes the same bytes."""

    def __init__(self, receiver: Receiver, header: Header, codec: str, seed: int) -> None:
        self._receiver = receiver
        self._header = header
        self._codec = codec
        self._seed = seed
        self._fitters: dict[int, Fitter] = {}
        self._filters = [(text, compile_condition(text, tables=receiver.tables)) for text in receiver.asked.filters]
        self._senders = [
            sender for profiles in receiver.profiles for sender, _ in profiles.choices if sender != Sender()
        ]
        self._standard = Fitter(NO_PROFILE)
        self._number = 0

    def messages(self, happenings: Iterable[Happening]) -> Iterator[Made]:
        """Each happening as one message, in the type that its patient's house uses for such."""
        for happening in happenings:
            types = types_of(happening, self._receiver.takes)
            about = happening.order.number if happening.order is not None else happening.visit.number
            type_ = chance_of("type", self._seed, about).choice(types)
            self._number += 1
            yield self._made(happening, type_)

    def _made(self, happening: Happening, type_: str) -> Made:
        control_id = f"S{self._seed % 100_000:05}N{self._number:08}"
        text = "".join(f"{line}\r" for line in segments_of(happening, type_, self._header, control_id))
        message = Message.parse(text.encode(self._codec, "replace"), fallback=self._codec)
        if type_ not in KNOWN:
            message = self._standard.fit(message, self._codec, self._segments(happening, type_), _nothing)
        self._introduce(message, happening)
        result, before = Result("rejected"), b""
        for _ in range(_TRIES):
            try:
                message = self._fitted(message, happening, type_)
            except UnencodableText as error:
                return Made(
                    type_, b"", "rejected", happening, (Finding("E202", "error", error.reason, error.location),)
                )
            result = self._judged(message, happening.at)
            if result.state == "processed" or (raw := message.to_bytes()) == before:
                break
            before = raw
        return Made(type_, message.to_bytes(), result.state, happening, result.findings)

    def _introduce(self, message: Message, happening: Happening) -> None:
        """As one of the senders that the profiles are for."""
        if not self._senders:
            return
        sender = chance_of("sender", self._seed, happening.patient.mrn).choice(self._senders)
        for path, value in (
            ("MSH-3.1", sender.application),
            ("MSH-4.1", sender.facility),
            ("MSH-21.1", sender.profile),
        ):
            if value:
                message.set(path, value)

    def _judged(self, message: Message, at: datetime) -> Result:
        """What the channel makes of it as it comes off the wire."""
        receiver = self._receiver
        read = Message.parse(message.to_bytes(), fallback=receiver.fallback)
        channel = receiver.channel
        if channel is not None:
            if not channel.accepts(read):
                return Result("rejected", [], (Finding("E236", "error", "the channel does not take it", "MSH-3"),))
            if channel.strict_charset and (refusal := undecodable(read)) is not None:
                return Result("rejected", [], (refusal,))
        return receiver.run(read, at) if receiver.run is not None else Result("processed")

    # -- what it must keep ----------------------------------------------------------------------

    def _fitted(self, message: Message, happening: Happening, type_: str) -> Message:
        kept = {path: compile_path(path).raw(message) or "" for path in _PROTECTED}
        segments = self._segments(happening, type_)
        words = (self._seed, happening.patient.mrn)
        receiver = self._receiver

        def by(text: str, message: Message, index: int) -> None:
            self._satisfy(text, message, index, segments, words)

        if receiver.sender is not None and not _holds(receiver.sender, message):
            by(receiver.sender.source, message, -1)
        for ask in receiver.asked.asks:
            self._keep(ask, message, segments, words)
        for text, condition in self._filters:
            if not _holds(condition, message):
                by(text, message, -1)
        for path, text in kept.items():
            if (compile_path(path).raw(message) or "") != text:
                compile_path(path).set_raw(message, text)
        message = again(message, self._codec)
        for profiles in receiver.profiles:
            profile = profiles.choose(message)
            if profile is not None:
                message = self._fitter(profile).fit(message, self._codec, segments, by, *words)
        return message

    def _segments(self, happening: Happening, type_: str) -> Callable[[str], list[str]]:
        return lambda name: all_of(name, happening, type_)

    def _fitter(self, profile: Profile) -> Fitter:
        if id(profile) not in self._fitters:
            self._fitters[id(profile)] = Fitter(profile)
        return self._fitters[id(profile)]

    def _satisfy(
        self,
        text: str,
        message: Message,
        index: int,
        segments: Callable[[str], list[str]],
        words: tuple[object, ...],
    ) -> None:
        def fill(path: Path, message: Message) -> None:
            _fill(path, message, words)

        ways = Ways(
            pick=lambda values: chance_of("pick", text, *words).choice(list(values)),
            sample=lambda pattern: sample_of(pattern.text, pattern, chance_of("pattern", text, *words)),
            segments=segments,
            fill=fill,
        )
        focus = message.names()[index] if index >= 0 else None
        try:
            satisfy(text, message, ways, tables=self._receiver.tables, focus=focus, index=index)
        except ExpressionError:
            return  # a profile's condition that only people can read

    def _keep(
        self, ask: Ask, message: Message, segments: Callable[[str], list[str]], words: tuple[object, ...]
    ) -> None:
        if message.first(ask.path.segment) < 0:
            if not ask.is_required:
                return
            for line in segments(ask.path.segment):
                message.insert_segment(len(message), line)
        find_selected(ask.path.spec, message)
        places = occurrences(ask.path, message) if is_many(ask.path) else [ask.path]
        for place in places:
            if place.field is None:
                continue
            value = place.get(message) or ""
            if not value and ask.is_required:
                _fill(place, message, words)
                value = place.get(message) or ""
            if value and not _is_kept(ask, value):
                self._put(ask, place, message, value)

    def _put(self, ask: Ask, place: Path, message: Message, value: str) -> None:
        chance = chance_of("ask", str(ask.path), value)
        if ask.values:
            found: str | None = chance.choice(self._preferred(ask, message))
        elif ask.pattern is not None:
            found = sample_of(ask.pattern.text, ask.pattern, chance)
        else:
            found = value[: ask.most].ljust(ask.least, "X")
        if not found:
            return
        spec = place.spec
        target = Path(str(place), spec._replace(component=spec.component or 1), None)
        try:
            target.set(message, found)
        except EditError:
            return  # the channel is asked in the end, and tells
        field_ = load(self._header.version).segment(spec.segment)
        definition = field_.field(spec.field) if field_ is not None else None
        if spec.component in (0, 1) and definition is not None and definition.data_type in _CODED:
            text = Path(str(place), spec._replace(component=2, subcomponent=0), None)
            if text.get(message):
                text.set(message, ask.labels.get(found, f"Synthetic {found}"))

    def _preferred(self, ask: Ask, message: Message) -> Sequence[str]:
        """Those of the values that can be written, and that the profiles take, too."""
        values = [value for value in ask.values if can_be_written(value, self._codec)] or ask.values
        spec = ask.path.spec
        for profiles in self._receiver.profiles:
            profile = profiles.choose(message)
            rules = profile.rules_for(message.get("MSH-9.1") or "", message.get("MSH-9.2") or "") if profile else None
            for element in rules.elements if rules is not None else ():
                if (element.segment, element.field) != (spec.segment, spec.field) or element.values is None:
                    continue
                if element.component in (spec.component, spec.component or 1) and element.values.values:
                    return [value for value in values if value in element.values.values] or values
        return values


def _nothing(text: str, message: Message, index: int) -> None:
    """The standard has no rules between places."""


def _is_kept(ask: Ask, value: str) -> bool:
    if ask.values and value not in ask.values:
        return False
    if ask.pattern is not None and not ask.pattern(value):
        return False
    return len(value) >= ask.least and (ask.most is None or len(value) <= ask.most)


def _holds(condition: Condition, message: Message) -> bool:
    try:
        return condition(message)
    except (ValueTooLong, TooMuchWork):
        return False


def _fill(path: Path, message: Message, words: tuple[object, ...]) -> None:
    """Some value of the place's data type, where there is none."""
    spec = path.spec
    dictionary = load(message.get("MSH-12.1") or "")
    segment = dictionary.segment(spec.segment)
    definition = segment.field(spec.field) if segment is not None else None
    at = (message.get("MSH-7") or "")[:14]
    chance = chance_of("fill", str(path), *words)
    asked = AskedValue(
        definition.data_type if definition is not None else "ST", definition.table if definition else "", at=at
    )
    leaves = whole(asked, dictionary, chance) if not spec.component else [((), leaf(asked, dictionary, chance))]
    for below, text in leaves:
        numbers = (*below, 0, 0)
        target = spec if spec.component else spec._replace(component=numbers[0], subcomponent=numbers[1])
        try:
            Path(str(path), target, None).set(message, text)
        except EditError:
            return
