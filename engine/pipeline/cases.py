r"""The cases of a channel: messages in; answers, outputs and findings out, compared field by field.

A case is a folder `channels/<name>/cases/<case>/`::

    in.hl7                 one payload as it would come in a block: a message, or several of them
    in.1.hl7, in.2.hl7     more payloads, sent one after the other; so the fragments of a message can be shown
    ack.hl7                the answers, in order; an empty file where none is due. To a batch: the whole batch
    out.<destination>.hl7  what that destination gets, in order; no file: it must get nothing. `out.app_ack.hl7`:
                           application acknowledgements that go over a connection of our own
    out.<destination>.json, out.<destination>.xml   the same, of what goes in that form; a worklist gets JSON:
                           the event that it carries out, with the items as DICOM JSON
    findings.txt           `E214 PV1-3.1`, one finding a line, in order; no file: there must be none
    expect.yaml            what matters, place by place (engine.pipeline.expect): then only what it names is looked at,
                           and the whole files that stand beside it

Everything but `in` and `expect.yaml` is written by `segmill test --update`, and read by the reviewer. The clock
stands at 2026-01-02T03:04:05Z, and answers have the control ids CASE1, CASE2 and so on. A message that is sent again
is recognised as it is by intake (a destination's answer, where the channel waits for one, is not rehearsed:
ack.hl7 has what is said before it): same sender, same control id and same bytes give the same answer again,
and nothing is delivered.

In these files segments stand on lines of their own: CR is written as LF, and read back so. A message with
an LF of its own (in a text, or as CRLF) would not come back the same; it is kept exactly as it is, with its
CRs. So a file with a CR in it is taken as it stands, and one without has an LF for every CR: what is written
is always read back byte for byte. (A sender that ends segments with LF alone cannot be shown in a case.)
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Final

from engine.config.base import did_you_mean
from engine.hl7.ack import Decision
from engine.hl7.batch import Batch, read_batch
from engine.hl7.batch_answer import answer_batch, says_no
from engine.hl7.convert import ConversionError, form_of, hl7_of, split_bodies
from engine.hl7.errors import UnreadableMessage
from engine.hl7.message import Message
from engine.mllp.framing import PREFIX_BYTES
from engine.model.finding import Finding
from engine.pipeline.answer import BETWEEN, NOTHING, AnswerSettings, answer_result, refuse
from engine.pipeline.compare import changes
from engine.pipeline.compile import CompiledChannel
from engine.pipeline.entry import (
    NO_CONTROL_ID,
    id_used_again,
    miscounted,
    notices,
    oversize,
    refused_for_count,
    unclaimed,
    undecodable,
    unreadable,
)
from engine.pipeline.event_compare import event_changes
from engine.pipeline.expect import EXPECT, Expectations, read_expectations
from engine.pipeline.fragments import Joining, Waits, Whole, answer_fragment, answer_whole, joined_from, settled
from engine.pipeline.run import Result

NOW: Final = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ANSWERS: Final = "ack.hl7"
FINDINGS: Final = "findings.txt"

_IN = re.compile(r"in(?:\.([0-9]+))?\.hl7")
_OUT = re.compile(r"out\.(.+)\.(?:hl7|json|xml)")


@dataclass(slots=True, frozen=True)
class Difference:
    """One thing that is not as the case says. `number` counts messages of the file from 1; 0: the file as a whole.

    Of expect.yaml it is the line.

    Holds values: for the terminal.
    """

    file: str
    number: int
    path: str
    expected: str
    actual: str

    def __str__(self) -> str:
        where = f"{self.file} message {self.number}" if self.number else self.file
        if self.file == EXPECT and self.number:
            where = f"{self.file}:{self.number}"
        return f"{where} {self.path}: expected {self.expected}, got {self.actual}".replace(" :", ":")


@dataclass(slots=True)
class CaseOutcome:
    """What one case came to.

    `files` are what the case's files would have to be, `stale` the names of those that would have to go:
    together what `--update` does. `states` are those of the messages, in order; a resend is `duplicate`.
    """

    differences: list[Difference]
    files: dict[str, bytes]
    stale: list[str]
    states: list[str]

    @property
    def is_good(self) -> bool:
        return not self.differences

    def render(self) -> str:
        """One line for each difference."""
        return "\n".join(str(difference) for difference in self.differences)


@dataclass(slots=True)
class _Observed:
    """What came out of a channel over a whole case."""

    answers: list[bytes] = field(default_factory=list)
    outputs: dict[str, list[bytes]] = field(default_factory=dict)
    """By the name of the case's file."""
    bodies: dict[str, list[bytes]] = field(default_factory=dict)
    """The same by `ack` and `out.NAME`, whatever their form, as expect.yaml names them."""
    findings: list[Finding] = field(default_factory=list)
    states: list[str] = field(default_factory=list)


Runs = Callable[[Message, datetime], Result]


def check_case(channel: CompiledChannel, files: Mapping[str, bytes], run: Runs | None = None) -> CaseOutcome:
    """Run a case and compare. `files` are the contents of its folder by name; `run` stands in for the channel's."""
    payloads = _payloads(files)
    if not payloads:
        missing = Difference("in.hl7", 0, "", "a message", "no such file")
        return CaseOutcome([missing], {}, [], [])
    expected = read_expectations(files[EXPECT]) if EXPECT in files else None
    now = expected.now if expected is not None and expected.now is not None else NOW
    seen = _Rehearsal(channel, run or channel.run, now).send(payloads)
    wanted = {
        ANSWERS: to_file(seen.answers),
        **{name: to_file(messages) for name, messages in sorted(seen.outputs.items())},
    }
    if seen.findings:
        wanted[FINDINGS] = "".join(f"{f.code} {f.location}".rstrip() + "\n" for f in seen.findings).encode()
    if expected is not None:
        wanted = {name: content for name, content in wanted.items() if name in files}
    managed = [name for name in files if name in (ANSWERS, FINDINGS) or _OUT.fullmatch(name)]
    stale = sorted(name for name in managed if name not in wanted)
    differences = [d for name in sorted({*managed, *wanted}) for d in _compare(name, files.get(name), wanted.get(name))]
    if expected is not None:
        differences += _unexpected(expected, seen, {f"out.{name}" for name in (*channel.file.destinations, "app_ack")})
    return CaseOutcome(differences, wanted, stale, seen.states)


def _unexpected(expected: Expectations, seen: "_Observed", places: set[str]) -> Iterator[Difference]:
    """`places` are the names of all outputs there can be: `nothing` would be true of any other for ever."""
    bodies = {**seen.bodies, "ack": seen.answers}
    for name, (line, _) in expected.outputs.items():
        if name != "ack" and name not in places:
            hint = did_you_mean(name, sorted(places - {"out.app_ack"}))
            yield Difference(EXPECT, line, name, "a destination of the channel", f"no such one: {hint}")
    for miss in expected.misses(seen.states, seen.findings, bodies):
        yield Difference(EXPECT, miss.line, miss.path, miss.expected, miss.actual)


def to_file(messages: Sequence[bytes]) -> bytes:
    """Messages as the text of a case file."""
    joined = b"".join(messages)
    return joined if b"\n" in joined else joined.replace(b"\r", b"\n")


def from_file(content: bytes) -> bytes:
    """The inverse of `to_file`: the bytes as they would go over the wire, one message behind the other."""
    return content if b"\r" in content else content.replace(b"\n", b"\r")


def _payloads(files: Mapping[str, bytes]) -> list[bytes]:
    numbered = [(int(found[1] or 0), name) for name in files if (found := _IN.fullmatch(name))]
    return [from_file(files[name]) for _, name in sorted(numbered)]


class _Rehearsal:
    """Takes messages as intake does, with a memory of its own in place of the store."""

    def __init__(self, channel: CompiledChannel, run: Runs, now: datetime) -> None:
        self._now = now
        self._channel = channel
        self._run = run
        self._limit_bytes = channel.file.listen.max_message
        self._settings = AnswerSettings.of(channel.file.ack)
        self._ids = (f"CASE{number}" for number in count(1))
        self._known: dict[tuple[str, str, str], list[tuple[bytes, bytes]]] = {}
        continuation = channel.file.fragments.dsc
        self._joining = Joining(continuation) if continuation is not None else None
        self._seen = _Observed()

    def send(self, payloads: Sequence[bytes]) -> _Observed:
        for payload in payloads:
            if len(payload) > self._limit_bytes:
                self._take_oversize(payload)
                continue
            batch = read_batch(payload)
            if batch is None:
                self._take(payload)
            else:
                self._take_batch(batch)
        return self._seen

    def _take_batch(self, batch: Batch) -> None:
        """Each message for itself, and one answer, as the port is set."""
        settings = self._channel.file.listen.options.batches
        noted = miscounted(batch)
        before = self._seen.answers
        answers: list[list[bytes]] = []
        for number, raw in enumerate(batch):
            self._seen.answers = []
            self._take(raw, noted.get(number, ()), refuses=settings.count == "reject")
            answers.append(self._seen.answers)
        self._seen.answers = before
        every = [answer for of_member in answers for answer in of_member]
        if batch.has_header:
            told = answer_batch(batch.files, answers, settings.answer, now=self._now, next_id=self._next_id)
            before.append(told)
        elif settings.without_header == "each":
            before.extend(every)
        else:
            before.extend([answer for answer in every if says_no(answer)][:1] or every[:1])

    def _take(self, raw: bytes, noted: Sequence[Finding] = (), *, refuses: bool = False) -> None:
        channel, seen = self._channel, self._seen
        try:
            message = Message.parse(raw, fallback=channel.fallback_charset)
        except UnreadableMessage as error:
            self._refuse(None, unreadable(error))
            return
        if noted and refuses:
            self._refuse(message, refused_for_count(noted)[0], "error")
            return
        joining = self._joining
        if not channel.accepts(message) and not (joining is not None and joining.expects(message)):
            self._refuse(message, unclaimed([channel], message))
            return
        header = [*message.fields(0), *[""] * 11]
        if not header[10]:
            self._refuse(message, NO_CONTROL_ID)
            return
        key = (header[3], header[4], header[10])
        before = self._known.get(key, []) if channel.file.duplicates.is_on else []
        answer = next((answer for body, answer in before if body == raw), None)
        if answer is not None:
            seen.states.append("duplicate")
            self._answered(answer)
            return
        seen.findings.extend((*notices(message), *noted))
        if before:
            seen.findings.append(id_used_again())
        if channel.strict_charset and (refusal := undecodable(message)) is not None:
            self._refuse(message, refusal, "error")
            return
        last, accepted = message, NOTHING
        taken = joining.take(message) if joining is not None else None
        if isinstance(taken, Finding):
            self._refuse(message, taken, "error")
            return
        if taken is not None:
            is_whole = isinstance(taken, Whole)
            accepted = answer_fragment(message, self._settings, self._now, self._next_id, is_last=is_whole)
        if isinstance(taken, Waits):
            self._known.setdefault(key, []).append((raw, accepted.payload))
            self._answered(accepted.payload)
            seen.states.append("waiting")
            return
        came = raw
        if taken is not None:
            raw = taken.raw
            message = Message.parse(raw, fallback=channel.fallback_charset)
            seen.findings.append(joined_from(len(taken.parts)))
        result = self._run(message, self._now)
        if taken is not None and channel.file.ack.when != "stored":
            result = settled(message, result, self._settings)
        told = Result.received() if channel.file.ack.when == "stored" else result
        if taken is None:
            answered = answer_result(message, told, self._settings, self._now, self._next_id)
        else:
            names_last = channel.answers_last_fragment
            answered = answer_whole(
                last, accepted, message, told, self._settings, self._now, self._next_id, names_last=names_last
            )
        payload = answered.payload
        self._known.setdefault(key, []).append((came, payload))
        self._answered(payload)
        seen.states.append(result.state)
        seen.findings.extend(result.findings)
        for delivery in (*result.deliveries, *answered.deliveries):
            body = raw if delivery.body is None else delivery.body
            seen.outputs.setdefault(f"out.{delivery.destination}.{form_of(body)}", []).append(body)
            seen.bodies.setdefault(f"out.{delivery.destination}", []).append(body)

    def _take_oversize(self, payload: bytes) -> None:
        finding = oversize(len(payload), self._limit_bytes)
        try:
            message = Message.parse(payload[:PREFIX_BYTES], fallback=self._channel.fallback_charset)
        except UnreadableMessage:
            self._refuse(None, finding, "error")
        else:
            self._refuse(message, finding, "error")

    def _refuse(self, message: Message | None, finding: Finding, decision: Decision = "reject") -> None:
        answer = refuse(message, [finding], decision, self._settings, self._now, self._next_id)
        self._answered(answer.payload)
        self._seen.states.append("rejected")
        self._seen.findings.append(finding)

    def _answered(self, payload: bytes) -> None:
        self._seen.answers.extend(part for part in payload.split(BETWEEN) if part)

    def _next_id(self) -> str:
        return next(self._ids)


def _compare(name: str, expected: bytes | None, actual: bytes | None) -> Iterator[Difference]:
    """What differs in one file; None stands for a file that is not there, or must not be."""
    if expected == actual or (name != ANSWERS and not expected and not actual):
        return
    if expected is None:
        yield Difference(name, 0, "", "no such file", _shown(name, actual or b""))
    elif actual is None:
        yield Difference(name, 0, "", _shown(name, expected), "nothing")
    elif name == FINDINGS:
        yield from _compare_lines(name, expected, actual)
    elif from_file(expected) != from_file(actual):
        found = list(_compare_messages(name, _bodies(expected), _bodies(actual)))
        yield from found or [Difference(name, 0, "", "other headers or trailers around the messages", "these")]


def _bodies(content: bytes) -> list[bytes]:
    return split_bodies(from_file(content) if form_of(content) == "hl7" else content)


def _compare_lines(name: str, expected: bytes, actual: bytes) -> Iterator[Difference]:
    """Findings line by line; blanks and blank lines do not count."""
    there, here = (
        [line.strip() for line in content.decode(errors="replace").splitlines() if line.strip()]
        for content in (expected, actual)
    )
    for number in range(max(len(there), len(here))):
        left = there[number] if number < len(there) else "nothing more"
        right = here[number] if number < len(here) else "nothing more"
        if left != right:
            yield Difference(name, 0, f"line {number + 1}", left, right)


def _compare_messages(name: str, expected: list[bytes], actual: list[bytes]) -> Iterator[Difference]:
    if len(expected) != len(actual):
        yield Difference(name, 0, "", f"{len(expected)} messages", f"{len(actual)}")
    for number, (left, right) in enumerate(zip(expected, actual, strict=False), 1):
        if left != right:
            yield from _compare_message(name, number, left, right)


def _compare_message(name: str, number: int, expected: bytes, actual: bytes) -> Iterator[Difference]:
    found = event_changes(expected, actual) or []
    try:
        found = found or changes(Message.parse(hl7_of(expected)), Message.parse(hl7_of(actual)))
    except (UnreadableMessage, ConversionError):
        found = []
    for change in found:
        yield Difference(name, number, change.path, _quoted(change.before), _quoted(change.after))
    if not found:
        place = next(
            (i for i, pair in enumerate(zip(expected, actual, strict=False)) if pair[0] != pair[1]),
            min(len(expected), len(actual)),
        )
        left, right = (repr(content[place : place + 12]) for content in (expected, actual))
        yield Difference(name, number, f"byte {place}", left, right)


def _shown(name: str, content: bytes) -> str:
    if name == FINDINGS:
        return "; ".join(content.decode(errors="replace").split("\n")[:-1])
    count_ = len([part for part in _bodies(content) if part.strip()])
    return f"{count_} message" + ("" if count_ == 1 else "s")


def _quoted(text: str | None) -> str:
    return "nothing" if text is None else f'"{text}"'
