"""From a channel's checked file to closures, once; then one message in and a result out.

`CompiledChannel.run` is a function of the message, the time given and the channel's files, and of nothing
else: so a stored message can be run again, traced, or run under another version, and compared.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from engine.config.channel import AcceptPattern, ChannelFile
from engine.config.charsets import target
from engine.config.entries import StepEntry
from engine.config.expression import Condition, ExpressionError, ValueTooLong, compile_condition, compile_value
from engine.config.files import CHANNEL_FILE
from engine.config.finding import BadValue, ConfigFinding
from engine.config.site import LoadedChannel
from engine.hl7.errors import PathError, TooMuchWork, UnencodableText
from engine.hl7.fragments import without_additions
from engine.hl7.message import Message
from engine.hl7.path import Path
from engine.model.envelope import DraftDelivery
from engine.model.finding import Finding
from engine.model.ids import ChannelName, DestinationName
from engine.pipeline.keys import Keyings, key_again, keyings_of, with_keys
from engine.pipeline.outputs import CannotRewrite, Targets, Writers, deliveries_of, for_another, forms_of, writers_of
from engine.pipeline.own_code import OwnCode
from engine.pipeline.profiles import ProfileCheck, profile_step, profiles_named
from engine.pipeline.routes import Way, chooser
from engine.pipeline.run import MOST_FINDINGS, Placed, Result, bounded, in_order
from engine.pipeline.step import CompileScope, Run, StepKind, Stop, Timer, Watch
from engine.pipeline.trace import Trace, Tracer
from engine.pipeline.watched import Watched
from engine.pipeline.work import UNBOUNDED

MOST_TYPES_REMEMBERED = 256

NO_ROUTE = Finding("W202", "warning", "no route took the message; nothing is delivered")


class ChannelError(Exception):
    """A channel file that was not checked before, or whose check missed something. `finding` says where and what."""

    def __init__(self, finding: ConfigFinding) -> None:
        super().__init__(f"{finding.file}:{finding.line}:{finding.column} {finding.code} {finding.message}")
        self.finding = finding


@dataclass(slots=True, frozen=True)
class Part:
    """A step, also one inside of another, for what is asked of a channel as a whole.

    `conditions` are its `when` and those that are a part of it, as they are written. `is_lookup`: it looks values up
    in tables, and may find no row.
    """

    label: str
    conditions: tuple[str, ...]
    is_lookup: bool = False


class CompiledChannel:
    """One channel, ready to run. Immutable but for a bounded memory of message types."""

    def __init__(
        self,
        file: ChannelFile,
        name: ChannelName,
        steps: Sequence[Placed],
        routes: Sequence[Way],
        sender: Condition | None,
        keyings: Keyings,
        writers: Writers,
        *,
        parts: Sequence["Part"] = (),
        isolated: bool,
        is_dated: bool = False,
        runs_own_code: bool,
    ) -> None:
        self.file = file
        self.name = name
        self._is_dated = is_dated  # some table answers by the time of receipt
        self.isolated = isolated
        """Whether it runs in a worker process: steps of the site's own code are among its steps, or it says so."""
        self.fallback_charset: str = file.charset.fallback
        self.strict_charset: bool = file.charset.strict
        self._targets: Targets = {
            DestinationName(name): target(destination.policy.charset, destination.policy.unencodable)
            for name, destination in file.destinations.items()
            if destination.policy.charset is not None
        }
        self._joins_additions = file.fragments.add == "join"
        self._forms = forms_of(file)
        self._keyings = keyings
        self._writers = writers
        self.routes = tuple(routes)
        self.labels = tuple(step.label for step in steps)
        """How findings and the trace name the channel's own steps, in order."""
        self.parts = tuple(parts)
        """All steps, those inside of others too, in the order of the file."""
        self._steps = in_order(steps) if steps else None
        self._can_run = runs_own_code or not isolated
        self._sender = sender.run if sender is not None else None
        self._accept: Sequence[AcceptPattern] = file.accept
        self._accepts_all = any(pattern == "*" for pattern in file.accept)
        self._types: dict[str, bool] = {}
        self._choose = chooser(self.routes)

    @property
    def answers_last_fragment(self) -> bool:
        """Whether the answer to a message in fragments names the last of them."""
        return self.file.fragments.dsc is not None and self.file.fragments.dsc.answers == "last"

    # -- whose message is it --------------------------------------------------------------------

    def accepts(self, message: Message) -> bool:
        """Whether the message is this channel's: its type is in `accept`, and `from` is true of it. Never raises."""
        if not self.accepts_event(message):
            return False
        try:
            return self._sender is None or self._sender(message)
        except (ValueTooLong, TooMuchWork):
            return False  # a header longer than any real one is nobody's

    def accepts_type(self, message: Message) -> bool:
        """Whether `accept` names the message code (MSH-9.1), with whatever event."""
        code, _ = _type_of(message)
        return any(pattern == "*" or pattern.partition("^")[0] == code for pattern in self._accept)

    def accepts_event(self, message: Message) -> bool:
        """Whether `accept` names the message code and the trigger event (MSH-9.1, MSH-9.2)."""
        if self._accepts_all:
            return True
        fields = message.fields(0)
        written = fields[9] if len(fields) > 9 else ""
        # What is remembered must not depend on the message's delimiters, nor grow with what senders think up.
        known = self._types.get(written) if message.delimiters.component == "^" else None
        if known is None:
            known = self.file.accepts_type(*_type_of(message))
            if message.delimiters.component == "^" and len(self._types) < MOST_TYPES_REMEMBERED:
                self._types[written] = known
        return known

    # -- what becomes of it ---------------------------------------------------------------------

    def run(self, message: Message, now: datetime, *, timer: Timer | None = None, watch: Watch | None = None) -> Result:
        """The steps and routes over a copy of `message`, which stays as it is. `now` is aware.

        Never raises for what is in a message: a step that fails holds it.
        """
        run = Run(now, timer=timer, watch=watch)
        if self._joins_additions:
            message = without_additions(message)
        if self._steps is None:
            if self._is_dated:
                message.received_at = now
            return self._leave(message, run, None)
        self._check_place()
        work = message.copy()
        if self._is_dated:
            work.received_at = now
        if self.isolated:
            work.allowance = UNBOUNDED
        return self._leave(work, run, self._steps(work, run))

    def trace(self, message: Message, now: datetime, *, clock: Callable[[], float] | None = None) -> Trace:
        """The same run, told step by step; `clock` gives seconds, for the times of the steps. Holds field values."""
        tracer = Tracer(clock)
        run = Run(now, timer=tracer.timer, watch=tracer)
        if self._joins_additions:
            message = without_additions(message)
        work = Watched.of(message)
        work.received_at = now
        if self.isolated:
            work.allowance = UNBOUNDED
        stop: Stop | None = None
        if self._steps is not None:
            self._check_place()
            stop = self._steps(work, run)
        result = self._leave(work, run, stop)
        return tracer.finish(work, stop, result, self.routes, self.labels)

    def _check_place(self) -> None:
        if not self._can_run:
            raise RuntimeError(f"channel {self.name} has python steps and runs in its worker process only")

    def _leave(self, message: Message, run: Run, stop: Stop | None) -> Result:
        result = self._left(message, run, stop)
        if len(result.findings) > MOST_FINDINGS:
            result.findings = bounded(result.findings)
        return result

    def _left(self, message: Message, run: Run, stop: Stop | None) -> Result:
        """What the steps left of a message goes to its destinations."""
        if stop is None:
            destinations = self._choose(message)
            if isinstance(destinations, Stop):
                stop = destinations
            elif destinations:
                return self._deliver(message, run, destinations)
            else:
                stop = Stop("filtered", (NO_ROUTE,))
        return Result(stop.kind, [], (*run.findings, *stop.findings))

    def for_another(self, body: bytes, before: DestinationName, to: DestinationName) -> DraftDelivery:
        """What `to` gets when it takes a delivery over from `before`. Raises CannotRewrite."""
        made = for_another(body, self.fallback_charset, before, to, self._targets, self._forms, self._writers)
        keying = self._keyings.get(to)
        if keying is None:
            return DraftDelivery(to, made)
        return DraftDelivery(to, made, *key_again(body, self.fallback_charset, before, keying))

    def key_now(self, body: bytes, to: DestinationName) -> tuple[str, bool] | None:
        """Key and urgency of bytes that go to `to` once more; None where it has one order, or none can be read off."""
        keying = self._keyings.get(to)
        try:
            return None if keying is None else key_again(body, self.fallback_charset, to, keying)
        except CannotRewrite:
            return None

    def keyed_now(self, draft: DraftDelivery, raw: bytes) -> DraftDelivery:
        """What another edition of the channel made of the message `raw`, in its place by the order that is kept now."""
        found = self.key_now(raw if draft.body is None else draft.body, draft.destination)
        return draft if found is None else replace(draft, key=found[0], urgent=found[1])

    def direct(self, message: Message, to: DestinationName, now: datetime) -> Result:
        """A message of the engine's own, for one destination that is no worklist: no step and no route is asked."""
        return self._deliver(message, Run(now), [to])

    def _deliver(self, message: Message, run: Run, destinations: Sequence[DestinationName]) -> Result:
        result = self._written(message, run, destinations)
        return with_keys(message, result, self._keyings) if self._keyings else result

    def _written(self, message: Message, run: Run, destinations: Sequence[DestinationName]) -> Result:
        if self._targets or self._forms or self._writers or run.form != "hl7":
            return deliveries_of(message, run, destinations, self._targets, self._forms, self._writers)
        try:
            body: bytes | None = message.to_bytes()
        except UnencodableText as error:
            finding = Finding("E202", "error", f"the message cannot be written: {error.reason}", error.location)
            return Result("held", [], (*run.findings, finding))
        if body == message.raw:
            body = None
        return Result("processed", [DraftDelivery(to, body) for to in destinations], tuple(run.findings))


def compile_channel(
    loaded: LoadedChannel,
    steps: Mapping[str, StepKind],
    *,
    runs_own_code: bool = False,
    at_step: Callable[[int], None] | None = None,
) -> CompiledChannel:
    """The channel as closures. `steps` are the kinds there are, as `registry.load_steps` gives them.

    `runs_own_code` True executes the channel's own Python files, now and for every message: for the worker
    process and for the terminal of the person who wrote them; `at_step` is told which of its python steps is at
    hand, from 1, and with 0 that none is. Raises ChannelError.
    """
    file = loaded.file
    compiler = _Compiler(loaded, steps, runs_own_code, at_step)
    placed = [*compiler.validation(), *compiler.sequence(file.steps, "", None)]
    return CompiledChannel(
        file,
        loaded.name,
        placed,
        compiler.routes(file),
        compiler.condition(file.condition) if file.condition is not None else None,
        compiler.keyings(file),
        writers_of(loaded.name, file, loaded.tables),
        parts=compiler.parts,
        isolated=file.isolate is not None or any(step.own_file for step in placed),
        is_dated=any(table.is_dated for table in loaded.tables.values()),
        runs_own_code=runs_own_code,
    )


class _Compiler:
    """Compiles one channel's steps, with what is nested in them, and its routes."""

    def __init__(
        self,
        loaded: LoadedChannel,
        kinds: Mapping[str, StepKind],
        runs_own_code: bool,
        at_step: Callable[[int], None] | None,
    ) -> None:
        self._loaded = loaded
        self._kinds = kinds
        self._own_code = OwnCode(loaded.name, loaded.files, at_step) if runs_own_code else None
        self.parts: list[Part] = []

    def sequence(
        self, entries: Sequence[StepEntry], prefix: str, focus: str | None, around: set[Path] | None = None
    ) -> list[Placed]:
        """The steps in order; `prefix` is the number of the step they are nested in, such as `4.`.

        `around` takes what they read, for that step.
        """
        return [self._step(entry, f"{prefix}{n}", focus, around) for n, entry in enumerate(entries, 1)]

    def validation(self) -> list[Placed]:
        """What messages are held against before the steps."""
        asked = self._loaded.file.validation
        if asked is None:
            return []
        place = self._loaded.positions.get(("validate",))
        label = f"validate {_cut(asked.profile)}, {CHANNEL_FILE}" + (f":{place.line}" if place is not None else "")
        profiles = profiles_named(asked.profile, self._loaded.profiles, asked.most)
        self.parts.append(Part(label, ()))
        return [Placed(label, profile_step(ProfileCheck(profiles, asked.most, label)), None)]

    def condition(self, text: str) -> Condition:
        return compile_condition(str(text), tables=self._loaded.tables)

    def routes(self, file: ChannelFile) -> list[Way]:
        return [
            Way(
                DestinationName(str(route.to)),
                self.condition(route.when) if route.when is not None else None,
            )
            for route in file.routes
        ]

    def keyings(self, file: ChannelFile) -> Keyings:
        """What orders the messages of each destination that says so."""
        tables = self._loaded.tables
        return keyings_of(
            [
                (
                    name,
                    compile_value(str(policy.order_by), tables=tables) if policy.order_by is not None else None,
                    self.condition(policy.priority) if policy.priority is not None else None,
                )
                for name, policy in ((name, destination.policy) for name, destination in file.destinations.items())
            ]
        )

    def _step(self, entry: StepEntry, number: str, focus: str | None, around: set[Path] | None) -> Placed:
        kind = self._kinds[entry.kind]
        title = entry.name or f"{entry.kind} {kind.title(entry.options)}"
        label = f"{number} {_cut(title)}, {entry.file.rpartition('/')[2]}:{entry.line}"
        reads: set[Path] = set()
        at, conditions = len(self.parts), list[str]()
        self.parts.append(Part(label, ()))  # its place, before those of the steps inside
        scope = CompileScope(
            channel=self._loaded.name,
            label=label,
            tables=self._loaded.tables,
            files=self._loaded.files,
            focus=focus,
            own_code=self._own_code,
            profiles=self._loaded.profiles,
            nest=lambda entries, segment: in_order(self.sequence(entries, f"{number}.", segment, reads)),
            reads=reads,
            conditions=conditions,
        )
        try:
            condition = scope.condition(entry.when) if entry.when is not None else None
            call = kind.compile(entry.options, scope)
        except (BadValue, PathError, ExpressionError) as error:
            hint = getattr(error, "hint", "")
            finding = ConfigFinding(
                getattr(error, "code", "E107"), entry.file, entry.line, entry.column, 1, error.message, hint
            )
            raise ChannelError(finding) from error
        self.parts[at] = Part(label, tuple(dict.fromkeys(conditions)), kind.name == "map")
        if around is not None:
            around |= reads
        return Placed(label, call, condition, getattr(entry.options, "own_file", ""))


def _type_of(message: Message) -> tuple[str, str]:
    """MSH-9.1 and MSH-9.2."""
    return message.get("MSH-9.1") or "", message.get("MSH-9.2") or ""


def _cut(title: str) -> str:
    return title if len(title) <= 60 else title[:57] + "..."
