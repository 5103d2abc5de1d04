"""What a step is, and what it may do to a message.

A step is one class with a `name` (its key in channel.yaml), a `model` of its options and `compile`, which
turns checked options into a callable, once. The callable then runs for every message: it edits the message
in place, adds findings to the run, and returns None (go on) or a `Stop`. It is pure: the same message and
the same `Run.now` always come to the same end. Built-in and third-party steps are found the same way, by an
entry point in the group `engine.steps`::

    class StampOptions(ConfigModel):
        path: PathText = Field(alias="stamp")

    class StampStep:
        name = "stamp"
        model = StampOptions

        def title(self, options: StampOptions) -> str:
            return options.path

        def compile(self, options: StampOptions, scope: CompileScope) -> CompiledStep:
            path = scope.path(options.path)

            def stamp(message: Message, run: Run) -> Stop | None:
                path.set(message, run.now.strftime("%Y%m%d%H%M%S+0000"))
                return None

            return stamp
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol

from engine.config.base import ConfigModel
from engine.config.entries import StepEntry
from engine.config.expression import Condition, Value, compile_condition, compile_value
from engine.config.profile_load import LoadedProfile
from engine.config.table import Table
from engine.hl7.convert import Form
from engine.hl7.message import Message
from engine.hl7.path import Path, compile_path
from engine.model.finding import Finding, Severity
from engine.pipeline.own_code import OwnCode
from engine.pipeline.stops import Filter as Filter
from engine.pipeline.stops import Hold as Hold
from engine.pipeline.stops import Reject as Reject
from engine.pipeline.stops import StepStop as StepStop
from engine.pipeline.stops import StopKind


@dataclass(slots=True, frozen=True)
class Stop:
    """The message goes no further: filtered on purpose, held for the analyst, or rejected to its sender."""

    kind: StopKind
    findings: tuple[Finding, ...] = ()


@dataclass(slots=True, frozen=True)
class Lookup:
    """A use of a code table, for the trace. `row` is the line in its file, None for a miss; `key` is a field value."""

    path: str
    table: str
    key: str
    row: int | None


class Timer(Protocol):
    """Where step times go. The pipeline reads no clock: `clock` gives seconds that never jump."""

    def clock(self) -> float: ...

    def step(self, label: str, seconds: float) -> None: ...


class Watch(Protocol):
    """Sees every step begin and end: what a trace is made from. It must not change the message."""

    def begin(self, label: str, message: Message, run: "Run", condition: Condition | None) -> None: ...

    def end(self, message: Message, run: "Run", stop: Stop | None, *, skipped: bool, seconds: float | None) -> None:
        """Of the step that began last and has not ended. `seconds` None: nobody took the time."""
        ...

    def tested(self, condition: Condition, message: Message) -> None:
        """A condition inside of a step is evaluated now."""
        ...

    def looked_up(self, lookup: Lookup) -> None: ...


class Run:
    """One message's way through a channel: the time given, what was found so far, and who watches.

    `form` is what the message leaves in, to destinations that do not say it for themselves. `timer` and `watch` are
    None on the hot path and then cost one comparison a message.
    """

    __slots__ = ("findings", "form", "now", "timer", "watch")

    def __init__(self, now: datetime, *, timer: Timer | None = None, watch: Watch | None = None) -> None:
        self.now = now
        self.findings: list[Finding] = []
        self.form: Form = "hl7"
        self.timer = timer
        self.watch = watch


CompiledStep = Callable[[Message, Run], Stop | None]
Nest = Callable[[Sequence[StepEntry], str], CompiledStep]


@dataclass(slots=True, frozen=True)
class CompileScope:
    """What a step may know when it is compiled.

    `label` is how findings name this step: `4 map PV1-3.1, channel.yaml:31`. `tables` are by the path the
    channel writes, and so are `profiles`; `files` are the channel's own, by relative path. `focus` is the segment of
    the `each` around the step. `own_code` is None in the engine's own process, where no code of a site may run.
    """

    channel: str
    label: str
    tables: Mapping[str, Table]
    files: Mapping[str, bytes]
    focus: str | None
    own_code: OwnCode | None
    nest: Nest
    profiles: Mapping[str, LoadedProfile] = field(default_factory=dict)
    reads: set[Path] = field(default_factory=set)
    """What was compiled here and in the steps inside, beyond the segment in focus: what a round of `each` may cost."""
    conditions: list[str] = field(default_factory=list)
    """The conditions that were compiled here, as they are written."""

    def focused(self, segment: str) -> "CompileScope":
        """The same with `focus` on a segment."""
        return replace(self, focus=segment)

    def path(self, text: str) -> Path:
        """The path, relative to the focus. Raises PathError."""
        path = compile_path(str(text), focus=self.focus)
        self.reads.add(path)
        return path

    def condition(self, text: str) -> Condition:
        """The condition. Raises ExpressionError."""
        condition = compile_condition(str(text), focus=self.focus, tables=self.tables)
        self.reads.update(condition.paths)
        self.conditions.append(condition.source)
        return condition

    def value(self, text: str) -> Value:
        """The value of an expression, without its `=`. Raises ExpressionError."""
        value = compile_value(str(text), focus=self.focus, tables=self.tables)
        self.reads.update(value.paths)
        return value

    def table(self, name: str) -> Table:
        """A code table of the channel."""
        return self.tables[name]

    def steps(self, entries: Sequence[StepEntry], focus: str) -> CompiledStep:
        """Steps inside of this one, run in order, with `focus` on a segment."""
        return self.nest(entries, focus)

    def finding(
        self, code: str, text: str, *, severity: Severity = "error", location: str = "", hl7_code: str = ""
    ) -> Finding:
        """A finding of this step. `text` and `location` hold no field value."""
        return Finding(code, severity, text, location, hl7_code, self.label)


class StepKind(Protocol):
    """A kind of step, as the entry point gives it.

    Options with an `own_file` that is not '' make their channel run in a worker process: the step runs code
    of the site, from that file.
    """

    @property
    def name(self) -> str: ...

    @property
    def model(self) -> type[ConfigModel]: ...

    def title(self, options: Any) -> str:
        """What a label says after the kind: `PV1-3.1`. Short, from the options only."""
        ...

    def compile(self, options: Any, scope: CompileScope) -> CompiledStep: ...
