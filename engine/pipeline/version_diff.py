"""What another version of a channel makes of the same message: its state, findings, answer, routes, and every field.

A channel's run is a function of the message, the time and its files (DESIGN decision 7), so two versions can be held
against each other over stored traffic before one of them is let loose on a patient. Each difference is put to the step
that makes it, in the version that makes it, so that a thousand messages come to a handful of causes. Holds values.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from engine.hl7.convert import ConversionError, hl7_of
from engine.hl7.errors import UnreadableMessage
from engine.hl7.message import Message
from engine.model.finding import Finding
from engine.pipeline.answer import AnswerSettings, answer_result
from engine.pipeline.compare import Change, changes
from engine.pipeline.compile import NO_ROUTE, CompiledChannel
from engine.pipeline.event_compare import event_changes
from engine.pipeline.paired import plain
from engine.pipeline.run import Result
from engine.pipeline.trace import StepTrace, Trace

Kind = Literal["state", "answer", "finding", "route", "field"]
KINDS: tuple[Kind, ...] = ("state", "answer", "finding", "route", "field")
NOWHERE = "(no step)"


@dataclass(slots=True, frozen=True)
class Differs:
    """One difference between two runs of a message.

    `place` is the destination and path of a field (`ris PID-5.1`), a destination, a finding's code and place, or ''.
    `step` is the label of the step that makes it. None: not there.
    """

    kind: Kind
    place: str
    step: str
    before: str | None
    after: str | None

    @property
    def group(self) -> tuple[Kind, str, str]:
        """What differences of one cause have in common."""
        return (self.kind, self.place, self.step)


@dataclass(slots=True)
class Group:
    """All differences of one cause: in how many messages, and the first few with their numbers."""

    messages: int = 0
    examples: list[tuple[int, Differs]] = field(default_factory=list)


@dataclass(slots=True)
class VersionDiff:
    """Counts over many messages."""

    examples: int = 3
    messages: int = 0
    same: int = 0
    groups: dict[tuple[Kind, str, str], Group] = field(default_factory=dict)

    def note(self, seq: int, found: list[Differs]) -> None:
        """One more message and what differs of it."""
        self.messages += 1
        self.same += not found
        for key in dict.fromkeys(differs.group for differs in found):
            group = self.groups.setdefault(key, Group())
            group.messages += 1
            if len(group.examples) < self.examples:
                group.examples.append((seq, next(differs for differs in found if differs.group == key)))

    @property
    def differing(self) -> int:
        return self.messages - self.same

    def sorted(self) -> list[tuple[tuple[Kind, str, str], Group]]:
        """What sends messages another way first, then by count."""
        return sorted(self.groups.items(), key=lambda item: (KINDS.index(item[0][0]), -item[1].messages, item[0]))


Runs = Callable[[CompiledChannel, Message, datetime], Result]
Traces = Callable[[CompiledChannel, Message, datetime], Trace]


def compare_versions(
    old: CompiledChannel, new: CompiledChannel, raw: bytes, now: datetime, run: Runs, trace: Traces
) -> list[Differs]:
    """What `new` does otherwise than `old` with a message; [] where they come to the same, byte for byte.

    `run` and `trace` run one of them, with whatever guard its own code needs. Bytes that are no message differ never.
    """
    try:
        before_message = Message.parse(raw, fallback=old.fallback_charset)
        after_message = Message.parse(raw, fallback=new.fallback_charset)
    except UnreadableMessage:
        return []
    takes = old.accepts(before_message), new.accepts(after_message)
    if takes != (True, True):
        if takes[0] == takes[1]:
            return []
        words = ("taken", "not for this channel")
        return [Differs("state", "", "accept, from", words[not takes[0]], words[not takes[1]])]
    before, after = run(old, before_message, now), run(new, after_message, now)
    told = _answer(old, before_message, before, now), _answer(new, after_message, after, now)
    if before == after and told[0] == told[1] and old.labels == new.labels:
        return []
    found = list(_differences(before, after, told, raw, old, new))
    if not found:
        return []
    traces = trace(old, before_message, now), trace(new, after_message, now)
    return [_placed(differs, *traces) for differs in found]


def _answer(channel: CompiledChannel, message: Message, result: Result, now: datetime) -> tuple[str, bytes]:
    answer = answer_result(message, result, AnswerSettings.of(channel.file.ack), now, lambda: "1")
    return answer.code, answer.payload + answer.apart


def _differences(
    before: Result,
    after: Result,
    told: tuple[tuple[str, bytes], tuple[str, bytes]],
    raw: bytes,
    old: CompiledChannel,
    new: CompiledChannel,
) -> Iterator[Differs]:
    if before.state != after.state:
        yield Differs("state", "", "", before.state, after.state)
    if told[0][0] != told[1][0]:
        yield Differs("answer", "MSA-1", "", told[0][0] or None, told[1][0] or None)
    elif told[0][1] != told[1][1]:
        for change in _changes(told[0][1], told[1][1]):
            yield Differs("answer", plain(change.path), "", change.before, change.after)
    there = {(f.code, plain(f.location)): f.text for f in before.findings}
    here = {(f.code, plain(f.location)): f.text for f in after.findings}
    for code, place in dict.fromkeys((*there, *here)):
        if ((code, place) in there) != ((code, place) in here):
            yield Differs("finding", f"{code} {place}".strip(), "", there.get((code, place)), here.get((code, place)))
    if before.state != "processed" or after.state != "processed":
        return
    sent = {d.destination: raw if d.body is None else d.body for d in before.deliveries}
    sends = {d.destination: raw if d.body is None else d.body for d in after.deliveries}
    for name in dict.fromkeys((*sent, *sends)):
        if name not in sent or name not in sends:
            yield Differs("route", str(name), "", _goes(name in sent), _goes(name in sends))
            continue
        for change in _changes(sent[name], sends[name]):
            yield Differs("field", f"{name} {plain(change.path)}", "", change.before, change.after)


def _goes(does: bool) -> str:
    return "goes there" if does else "does not"


def _changes(before: bytes, after: bytes) -> list[Change]:
    if before == after:
        return []
    found = event_changes(before, after) or []
    try:
        found = found or changes(Message.parse(hl7_of(before)), Message.parse(hl7_of(after)))
    except (UnreadableMessage, ConversionError):
        found = []
    return found or [Change("(bytes)", f"{len(before)} bytes", f"{len(after)} bytes")]


def _placed(differs: Differs, before: Trace, after: Trace) -> Differs:
    """The difference with the step that makes it."""
    return Differs(differs.kind, differs.place, _step(differs, before, after), differs.before, differs.after)


def _step(differs: Differs, before: Trace, after: Trace) -> str:
    if differs.kind in ("state", "answer"):
        # Who ends the way of the message, in the new version or else in the old one.
        return _end_of(after) or _end_of(before) or NOWHERE
    if differs.kind == "finding":
        code, _, place = differs.place.partition(" ")
        trace = after if differs.after is not None else before
        return _innermost(s.label for s in trace.steps if any(_is_at(f, code, place) for f in s.findings)) or NOWHERE
    if differs.kind == "route":
        route = next((r for r in after.routes if r.destination == differs.place), None)
        return "routes" if route is None or route.condition is None else f"route, when {route.condition.source}"
    path = differs.place.partition(" ")[2]
    return _last_to_write(after, before, path) or _last_to_write(before, after, path) or NOWHERE


def _end_of(trace: Trace) -> str:
    ended = _innermost(step.label for step in trace.steps if step.outcome not in ("done", "skipped"))
    return ended or ("routes" if NO_ROUTE in trace.result.findings else "")


def _innermost(labels: Iterable[str]) -> str:
    """The last of them: a step with others inside stands before these, and has all that they have."""
    return next(iter(reversed(list(labels))), "")


def _is_at(finding: Finding, code: str, place: str) -> bool:
    return finding.code == code and plain(finding.location) == place


def _last_to_write(trace: Trace, other: Trace, path: str) -> str:
    """The last step that leaves something else at a path than the same step of the other version does.

    A step that only goes on with what an earlier one has left otherwise is not the cause, the earlier one is.
    """
    theirs = {key: _at(step, path) for key, step in _numbered(other)}
    found = ""
    for key, step in _numbered(trace):
        touched, same = _at(step, path), theirs.get(key, [])
        if not touched or touched == same:
            continue
        goes_on = [(change.path, change.before) for change in touched] != [(c.path, c.before) for c in same]
        if not found or not (same and goes_on) or step.label.startswith(f"{found.partition(' ')[0]}."):
            found = step.label
    return found


def _numbered(trace: Trace) -> Iterator[tuple[tuple[str, int], StepTrace]]:
    """Each step with its title and its number among those of that title: an `each` runs its steps many times."""
    seen: Counter[str] = Counter()
    for step in trace.steps:
        title = step.label.rpartition(",")[0].partition(" ")[2]
        seen[title] += 1
        yield (title, seen[title]), step


def _at(step: StepTrace, path: str) -> list[Change]:
    return [change for change in step.changes if _concerns(plain(change.path), path)]


def _concerns(written: str, path: str) -> bool:
    return (
        written == path
        or path.startswith((f"{written}-", f"{written}."))
        or written.startswith((f"{path}-", f"{path}."))
    )
