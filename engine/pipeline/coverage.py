"""What the cases of a channel reach of it, and what no case does: steps, conditions both ways, routes, rows of tables.

A rule that no case reaches can be wrong for years and nobody sees it. So everything that could have gone the other
way counts: a condition is two things to reach (true of a message, and of another not), a route under a condition is two
as well, a step one, a `map` that may find no row one more, and each row of a code table one. Steps inside of `each`
count like any other.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, Literal

from engine.config.expression import Condition, ValueTooLong
from engine.config.site import LoadedChannel
from engine.config.table import Row, Table, TableFinding
from engine.hl7.errors import TooMuchWork
from engine.hl7.message import Message
from engine.pipeline.compile import NO_ROUTE, CompiledChannel, compile_channel
from engine.pipeline.run import Result
from engine.pipeline.step import Lookup, Run, StepKind, Stop

Kind = Literal["steps", "conditions", "routes", "rows"]
KINDS: Final[tuple[Kind, ...]] = ("steps", "conditions", "routes", "rows")


@dataclass(slots=True, frozen=True)
class Tally:
    """How much of one kind was reached."""

    reached: int
    of: int

    @property
    def percent(self) -> float:
        """100 where there is nothing to reach."""
        return 100.0 * self.reached / self.of if self.of else 100.0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(self.reached + other.reached, self.of + other.of)


@dataclass(slots=True, frozen=True)
class Gap:
    """Something that no case reaches. `place` is a step's label, a route or a table; holds no value of a message."""

    kind: Kind
    place: str
    text: str


@dataclass(slots=True, frozen=True)
class Covered:
    """What a channel's cases reach of it."""

    tallies: Mapping[Kind, Tally]
    gaps: Sequence[Gap]

    @property
    def rules(self) -> Tally:
        """Steps, conditions and routes together: what `--min` is about."""
        return sum((self.tallies[kind] for kind in KINDS if kind != "rows"), Tally(0, 0))


class RecordingTable(Table):
    """A code table that remembers which of its rows answered, whoever asked: a map, table() or back().

    Its rows to reach are those of the directions in which the channel looks things up. A fixed key is looked up with
    each message, too, as its row would seem to answer in no case otherwise.
    """

    __slots__ = ("_find", "_find_at", "_is_asked", "_turned", "_way_back", "used")
    is_settled = False
    _find: Callable[[str], Row | None]
    _find_at: Callable[[str, datetime], Row | None]

    def __init__(self, table: Table) -> None:
        super().__init__(table.name, table.columns, table.rows, table.rows_of, has_default=table.has_default)
        find, find_at = self._find, self._find_at
        self._way_back = table.back
        self._turned: frozenset[int] = frozenset()
        self._is_asked = False
        self.used: set[int] = set()

        def noted(row: Row | None) -> Row | None:
            if row is not None:
                self.used.add(row.line)
            return row

        self._find = lambda key: noted(find(key))
        self._find_at = lambda key, time: noted(find_at(key, time))

    @property
    def lookup(self) -> Callable[[str], Row | None]:
        self._is_asked = True
        return self._find

    @lookup.setter
    def lookup(self, find: Callable[[str], Row | None]) -> None:
        self._find = find

    @property
    def lookup_at(self) -> Callable[[str, datetime], Row | None]:
        self._is_asked = True
        return self._find_at

    @lookup_at.setter
    def lookup_at(self, find_at: Callable[[str, datetime], Row | None]) -> None:
        self._find_at = find_at

    def back(self) -> tuple[Table, list[TableFinding]]:
        """The way back, whose rows are these, too."""
        table, findings = self._way_back()
        self._turned = table.lines
        turned = RecordingTable(table)
        turned.used = self.used
        return turned, findings

    @property
    def lines(self) -> frozenset[int]:
        return super().lines | self._turned if self._is_asked or not self._turned else self._turned

    @property
    def size(self) -> int:
        return len(self.lines)

    @property
    def unreached(self) -> list[int]:
        """The lines of rows that never answered, in order."""
        return sorted(self.lines - self.used)


@dataclass(slots=True)
class Coverage:
    """Runs messages through a channel and remembers what they reached. `channel` is to be used for nothing else."""

    channel: CompiledChannel
    tables: Mapping[str, RecordingTable]
    _labels: set[str] = field(default_factory=set)
    _tested: set[tuple[str, str, bool]] = field(default_factory=set)
    _missed: set[str] = field(default_factory=set)
    _routed: set[tuple[int, bool]] = field(default_factory=set)
    """Of routes by their number."""

    @classmethod
    def of(cls, loaded: LoadedChannel, kinds: Mapping[str, StepKind]) -> "Coverage":
        """The channel compiled with the Python of its own, and with tables that remember. Raises ChannelError."""
        tables = {name: RecordingTable(table) for name, table in loaded.tables.items()}
        channel = compile_channel(replace(loaded, tables=tables), kinds, runs_own_code=True)
        # A table that was read from end to end for it is a list of rules, as a worklist's stations are: its rows are
        # never looked up, and no case could be said to reach one.
        looked_up = {name: table for name, table in tables.items() if table.unreached or not table.size}
        for table in looked_up.values():
            table.used.clear()  # what was looked up while constants were folded is no case's doing
        return cls(channel, looked_up)

    def run(self, message: Message, now: datetime) -> Result:
        """What the channel makes of a message, as its `run`."""
        watch = _Watch(self)
        result = self.channel.run(message, now, watch=watch)
        if result.state == "processed" or any(finding.code == NO_ROUTE.code for finding in result.findings):
            self._route(watch.message or message)
        return result

    def _route(self, message: Message) -> None:
        """Which routes take the message as the steps left it."""
        for number, way in enumerate(self.channel.routes):
            try:
                taken = way.condition is None or way.condition(message)
            except (ValueTooLong, TooMuchWork):
                return  # the message has been gone over more than a run does, by looking on
            self._routed.add((number, taken))

    def add(self, other: "Coverage") -> None:
        """What another run of the same steps reached. Of its tables those count that are the same."""
        self._labels |= other._labels
        self._tested |= other._tested
        self._missed |= other._missed
        self._routed |= other._routed
        for name, table in self.tables.items():
            theirs = other.tables.get(name)
            if theirs is not None and (theirs.rows, theirs.rows_of) == (table.rows, table.rows_of):
                table.used |= theirs.used

    def covered(self) -> Covered:
        """What was reached up to now."""
        told: list[tuple[Kind, Iterator[Gap | None]]] = [
            ("steps", self._steps()),
            ("conditions", self._conditions()),
            ("routes", self._routes()),
        ]
        tallies: dict[Kind, Tally] = {}
        gaps: list[Gap] = []
        for kind, of_kind in told:
            every = list(of_kind)
            tallies[kind] = Tally(every.count(None), len(every))
            # Of a step that no case comes to, its own gap says enough.
            gaps += [gap for gap in every if gap and (kind != "conditions" or gap.place in self._labels)]
        rows = Tally(0, 0)
        for name, table in self.tables.items():
            unreached = table.unreached
            rows += Tally(table.size - len(unreached), table.size)
            if unreached:
                text = f"{len(unreached):,} of {table.size:,} rows answer in no case: {_lines(unreached)}"
                gaps.append(Gap("rows", name, text))
        tallies["rows"] = rows
        return Covered(tallies, gaps)

    def _steps(self) -> Iterator[Gap | None]:
        for part in self.channel.parts:
            yield None if part.label in self._labels else Gap("steps", part.label, "no case comes here")

    def _conditions(self) -> Iterator[Gap | None]:
        for part in self.channel.parts:
            for source in part.conditions:
                for outcome in (True, False):
                    is_reached = (part.label, source, outcome) in self._tested
                    text = f"{source} is never {str(outcome).lower()}"
                    yield None if is_reached else Gap("conditions", part.label, text)
            if part.is_lookup:
                yield None if part.label in self._missed else Gap("conditions", part.label, NO_MISS)

    def _routes(self) -> Iterator[Gap | None]:
        ways = self.channel.routes
        to = Counter(way.destination for way in ways)
        for number, way in enumerate(ways):
            # Several routes may lead to one destination: each has to be seen, not only that something came there.
            place = f"route to {way.destination}"
            if to[way.destination] > 1 and way.condition is not None:
                place += f" when {way.condition.source}"
            yield None if (number, True) in self._routed else Gap("routes", place, "no case takes it")
            if way.condition is not None:
                yield None if (number, False) in self._routed else Gap("routes", place, "every case takes it")


NO_MISS: Final = "every value has a row: no case shows what happens without one"


class _Watch:
    """Looks on while one message goes through, and notes only where it comes."""

    def __init__(self, coverage: Coverage) -> None:
        self._to = coverage
        self._open: list[str] = []
        self.message: Message | None = None
        """What the steps work on, and have left in the end; None where there are none."""

    def begin(self, label: str, message: Message, run: Run, condition: Condition | None) -> None:
        self.message = message
        self._open.append(label)
        if condition is not None:
            self.tested(condition, message)

    def end(self, message: Message, run: Run, stop: Stop | None, *, skipped: bool, seconds: float | None) -> None:
        label = self._open.pop()
        if not skipped:
            self._to._labels.add(label)

    def tested(self, condition: Condition, message: Message) -> None:
        try:
            outcome = condition(message)
        except (ValueTooLong, TooMuchWork):
            return  # the run comes upon it too, and holds the message
        self._to._tested.add((self._open[-1], condition.source, outcome))

    def looked_up(self, lookup: Lookup) -> None:
        if lookup.row is None:
            self._to._missed.add(self._open[-1])


def _lines(numbers: Sequence[int], most: int = 8) -> str:
    """`lines 2-5, 9`."""
    spans: list[tuple[int, int]] = []
    for number in numbers:
        if spans and spans[-1][1] == number - 1:
            spans[-1] = (spans[-1][0], number)
        else:
            spans.append((number, number))
    told = [str(first) if first == last else f"{first}-{last}" for first, last in spans[:most]]
    more = ", ..." if len(spans) > most else ""
    return ("line " if len(numbers) == 1 else "lines ") + ", ".join(told) + more
