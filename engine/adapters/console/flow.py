"""What a channel made of a stored message, recomputed: its steps with their changes, and what each destination got.

The trace is never stored (DESIGN decision 7): it is made again from the message, the recorded version of its channel
and the time of receipt. A channel with Python of the site runs in a process of its own and never here: what its steps
did is said by the bench (`own_steps`). What came in and what went out is compared all the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from engine.adapters.api.versions import Versions
from engine.adapters.console.values import MASK, Part, parts
from engine.config.expression import Explained
from engine.hl7.convert import form_of
from engine.hl7.errors import Hl7Error, UnreadableMessage
from engine.hl7.message import Message
from engine.pipeline.answer import APP_ACK
from engine.pipeline.compare import Change, changes
from engine.pipeline.compile import CompiledChannel
from engine.pipeline.event_compare import event_changes
from engine.pipeline.step import Lookup
from engine.pipeline.trace import StepTrace, Tested
from engine.ports import bench
from engine.ports.clock import from_us
from engine.ports.store import StoredDelivery, StoredMessage, StoreQueries

MOST_TRACED: Final = 256 * 1024
MOST_STEPS: Final = 200
MOST_CHANGES: Final = 100

Text = tuple[Part, ...]


@dataclass(slots=True, frozen=True)
class Difference:
    """One place; None: it is not there. `step`: which one changed it, '' where that is not known."""

    path: str
    before: Text | None
    after: Text | None
    step: str = ""


@dataclass(slots=True, frozen=True)
class ConditionShown:
    """A condition with what stood in the message. `outcome` None: masked, as it would tell what stood there."""

    source: str
    outcome: bool | None
    values: tuple[tuple[str, Text], ...]


@dataclass(slots=True, frozen=True)
class LookupShown:
    """A use of a table. `row`: the line of its file, None where there was none, or it is masked."""

    table: str
    path: str
    key: Text
    row: int | None
    is_found: bool


@dataclass(slots=True, frozen=True)
class StepShown:
    """`findings`: code and sentence."""

    label: str
    depth: int
    outcome: str
    conditions: tuple[ConditionShown, ...] = ()
    lookups: tuple[LookupShown, ...] = ()
    changes: tuple[Difference, ...] = ()
    more_changes: int = 0
    findings: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True, frozen=True)
class RouteShown:
    destination: str
    taken: bool | None
    condition: ConditionShown | None


@dataclass(slots=True, frozen=True)
class Flow:
    """`why_not`: why there are no steps to be told; then the others are empty. `is_for_values`: they are told where
    values are shown. `differs`: the state that it comes to now, where that is another than the stored one.
    `stood_in`: references for which something else stood in."""

    version: int
    why_not: str = ""
    steps: tuple[StepShown, ...] = ()
    more_steps: int = 0
    not_reached: tuple[str, ...] = ()
    routes: tuple[RouteShown, ...] = ()
    differs: str = ""
    is_for_values: bool = False
    stood_in: tuple[str, ...] = ()


@dataclass(slots=True, frozen=True)
class OutShown:
    """What a delivery carries, held against what came in. `words`: in place of differences."""

    differences: tuple[Difference, ...]
    more: int = 0
    words: str = ""


@dataclass(slots=True)
class Recomputed:
    """`flow` for the page; `by_step`: the last step that changed a place; `channel`: the version, as far as it can be
    had."""

    flow: Flow
    channel: CompiledChannel | None = None
    by_step: Mapping[str, str] = field(default_factory=dict)


def why_no_steps(stored: StoredMessage) -> str:
    """Why a message has no steps that could be told, whatever its channel; '' where it has."""
    if stored.raw is None:
        return "its bytes are no longer kept"
    if len(stored.raw) > MOST_TRACED:
        return f"it is longer than {MOST_TRACED // 1024} kB: segmill try shows the steps of such a message"
    if stored.state in ("rejected", "waiting", "joined"):
        return "it never came as far as the channel's steps"
    return ""


def recompute(
    queries: StoreQueries,
    versions: Versions,
    stored: StoredMessage,
    *,
    show_values: bool,
    told: bench.Stepped | str | None = None,
) -> Recomputed:
    """Run the message through its channel as it was. Blocks, for some milliseconds; never raises for its content.

    `told`: what the bench says of a channel that has a process of its own, or why it says nothing; None: not asked.
    """
    channel = versions.get(queries, stored.channel, stored.version)
    if isinstance(channel, str):
        return Recomputed(Flow(stored.version, channel))
    why_not = why_no_steps(stored)
    if why_not or stored.raw is None:
        return Recomputed(Flow(stored.version, why_not), channel)
    if channel.isolated:
        return _as_told(stored, channel, told, _Show(show_values))
    try:
        message = Message.parse(stored.raw, fallback=channel.fallback_charset)
        trace = channel.trace(message, from_us(stored.received_at_us))
    except UnreadableMessage as error:
        return Recomputed(Flow(stored.version, error.reason), channel)
    except Exception as error:  # noqa: BLE001 - a step's defect: in the engine, too, it holds one message and no more
        return Recomputed(Flow(stored.version, f"the channel failed ({type(error).__name__})"), channel)
    show = _Show(show_values)
    flow = Flow(
        stored.version,
        "",
        tuple(map(show.step, trace.steps[:MOST_STEPS])),
        max(0, len(trace.steps) - MOST_STEPS),
        trace.not_reached,
        tuple(
            RouteShown(str(r.destination), r.taken, None if r.condition is None else show.condition(r.condition))
            for r in trace.routes
        ),
        _differs(stored, trace.result.state),
    )
    return Recomputed(flow, channel, _by_step(trace.steps))


def _differs(stored: StoredMessage, now: str) -> str:
    is_same = now == stored.state or stored.state in ("received", "discarded")
    return "" if is_same else now


def _as_told(
    stored: StoredMessage, channel: CompiledChannel, told: bench.Stepped | str | None, show: "_Show"
) -> Recomputed:
    """Of a channel that has a process of its own."""
    if told is None:
        words = "the channel runs in a process of its own"
        return Recomputed(Flow(stored.version, words, is_for_values=True), channel)
    if isinstance(told, str):
        return Recomputed(Flow(stored.version, told), channel)
    if not told.state:
        errors = ", ".join(sorted({one.code for one in told.problems if one.is_error}))
        said = told.ended or f"the version's files cannot be run again ({errors or 'nothing was said of it'})"
        return Recomputed(Flow(stored.version, said), channel)
    flow = Flow(
        stored.version,
        "",
        tuple(map(show.told, told.steps[:MOST_STEPS])),
        max(0, len(told.steps) - MOST_STEPS) + told.left_out,
        tuple(told.not_reached),
        tuple(
            RouteShown(one.to, one.taken, None if one.condition is None else show.told_condition(one.condition))
            for one in told.routes
        ),
        _differs(stored, told.state),
        stood_in=tuple(told.stood_in),
    )
    return Recomputed(flow, channel, _by_step(told.steps))


def compared(
    stored: StoredMessage, one: StoredDelivery, made: Recomputed, *, show_values: bool, most: int = MOST_TRACED
) -> OutShown:
    """What one delivery carries otherwise than the message that came in, each place with the step that changed it."""
    if one.destination == APP_ACK:
        return OutShown((), words="our own answer, over a connection of our own")
    body = one.body
    if body is None:
        if stored.raw is None:
            return OutShown((), words="its bytes are no longer kept")
        return OutShown((), words="the bytes as they came in, all of them")
    if stored.raw is None:
        return OutShown((), words="the bytes that came in are no longer kept: there is nothing to compare")
    if body == stored.raw:
        return OutShown((), words="the bytes as they came in, all of them")
    if max(len(body), len(stored.raw)) > most:
        return OutShown((), words=f"too long to be compared here (more than {most // 1024} kB)")
    found = body_changes(stored.raw, body)
    if not found:
        return OutShown((), words=_other_words(stored.raw, body))
    show = _Show(show_values)
    shown = [show.difference(change, made.by_step.get(change.path, "")) for change in found[:MOST_CHANGES]]
    return OutShown(tuple(shown), max(0, len(found) - MOST_CHANGES))


def _other_words(before: bytes, after: bytes) -> str:
    form = form_of(after)
    if after.startswith(b"{") and b'"event"' in after[:400]:
        return "an event for a worklist, made of the message"
    if form != form_of(before):
        return f"written as {form.upper()}"
    return "other bytes, with the same fields (line ends, or another character set)"


def body_changes(before: bytes, after: bytes) -> Sequence[Change]:
    """Field by field, where both are HL7, or attribute by attribute, where both are for a worklist; else none."""
    if (of_events := event_changes(before, after)) is not None:
        return of_events
    if form_of(before) != "hl7" or form_of(after) != "hl7":
        return ()
    try:
        return changes(Message.parse(before), Message.parse(after))
    except Hl7Error:
        return ()


def _by_step(steps: Sequence[StepTrace] | Sequence[bench.StepTold]) -> dict[str, str]:
    """By path, the last step that changed it."""
    found: dict[str, str] = {}
    for step in steps:
        for change in step.changes:
            found[change.path] = step.label
    return found


class _Show:
    """Values, or marks in their places."""

    def __init__(self, show_values: bool) -> None:
        self._shows = show_values

    def text(self, value: str) -> Text:
        return parts(value) if self._shows else (Part(MASK),)

    def side(self, value: str | None) -> Text | None:
        return None if value is None else self.text(value) if value else ()

    def difference(self, change: Change | bench.Changed, step: str = "") -> Difference:
        return Difference(change.path, self.side(change.before), self.side(change.after), step)

    def condition(self, tested: Tested) -> ConditionShown:
        if not self._shows:
            return ConditionShown(tested.source, None, ())
        return ConditionShown(tested.source, tested.outcome, tuple(map(self._explained, tested.why)))

    def _explained(self, piece: Explained) -> tuple[str, Text]:
        value = piece.value
        if isinstance(value, bool):
            return piece.text, (Part("true" if value else "false"),)
        if isinstance(value, tuple):
            return piece.text, self.text(", ".join(value))
        return piece.text, self.text(value)

    def _lookup(self, one: Lookup) -> LookupShown:
        # Which row was taken tells the code.
        row = one.row if self._shows else None
        return LookupShown(one.table, one.path, self.text(one.key), row, one.row is not None)

    def step(self, step: StepTrace) -> StepShown:
        return StepShown(
            step.label,
            step.depth,
            step.outcome,
            tuple(map(self.condition, step.conditions)),
            tuple(map(self._lookup, step.lookups)),
            tuple(self.difference(change) for change in step.changes[:MOST_CHANGES]),
            max(0, len(step.changes) - MOST_CHANGES),
            tuple((finding.code, finding.text) for finding in step.findings),
        )

    def told_condition(self, one: bench.Condition) -> ConditionShown:
        if not self._shows:
            return ConditionShown(one.source, None, ())
        seen = tuple((piece.text, self.text(", ".join(piece.values))) for piece in one.seen)
        return ConditionShown(one.source, one.outcome, seen)

    def told(self, step: bench.StepTold) -> StepShown:
        """The same of what the bench says."""
        return StepShown(
            step.label,
            step.depth,
            step.outcome,
            tuple(map(self.told_condition, step.conditions)),
            tuple(
                LookupShown(
                    one.table, one.path, self.text(one.key), one.row if self._shows else None, one.row is not None
                )
                for one in step.lookups
            ),
            tuple(self.difference(change) for change in step.changes[:MOST_CHANGES]),
            max(0, len(step.changes) - MOST_CHANGES),
            tuple((finding.code, finding.text) for finding in step.findings),
        )
