"""Makes a condition true of a message, by changing the message: the way back from what is asked to what would do.

For invented messages only. What it cannot do (a function's result that has to be something) it leaves; whoever calls
it asks the condition again.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from engine.config.expression import nodes as n
from engine.config.expression.grammar import Parser
from engine.config.expression.patterns import Pattern
from engine.config.table import Table
from engine.hl7 import NULL
from engine.hl7.errors import EditError
from engine.hl7.grammar import Every, Nth, Spec, Where
from engine.hl7.message import Message
from engine.hl7.path import Path

OTHER = "OTHER"
"""What stands where anything but some values may."""


@dataclass(slots=True, frozen=True)
class Ways:
    """How values are found. `pick` chooses one of several, always the same; `sample` makes a text that a pattern
    matches, None where it cannot; `segments` makes the segments of a name; `fill` gives a place that is empty some
    value."""

    pick: Callable[[Sequence[str]], str]
    sample: Callable[[Pattern], str | None]
    segments: Callable[[str], list[str]]
    fill: Callable[[Path, Message], None]


def satisfy(
    text: str, message: Message, ways: Ways, *, tables: Mapping[str, Table], focus: str | None = None, index: int = -1
) -> None:
    """Change `message` so that the condition `text` is true of it, as far as it can be done.

    `focus` and `index` are the segment that `each` is about. Raises ExpressionError for what is no condition.
    """
    node = Parser(text, focus=focus, tables=tables.keys()).condition()
    _Way(message, ways, tables, index).make(node, True)


class _Way:
    def __init__(self, message: Message, ways: Ways, tables: Mapping[str, Table], index: int) -> None:
        self._message = message
        self._ways = ways
        self._tables = tables
        self._index = index
        self._bound = -1
        """The segment that an `any SEG (...)` is looking at."""
        self._occurrence: Path | None = None

    def make(self, node: n.Condition, wanted: bool) -> None:
        match node:
            case n.Not():
                self.make(node.operand, not wanted)
            case n.Junction():
                self._junction(node, wanted)
            case n.OverValues():
                self._over_values(node, wanted)
            case n.OverSegments():
                self._over_segments(node, wanted)
            case n.Truth():
                return
            case _:
                self._test(node, wanted)

    def _junction(self, node: n.Junction, wanted: bool) -> None:
        if (node.word == "and") == wanted:
            for operand in node.operands:
                self.make(operand, wanted)
        else:
            # One of them is enough: the first that can be had by writing something.
            self.make(next((one for one in node.operands if self._target(one) is not None), node.operands[0]), wanted)

    def _over_values(self, node: n.OverValues, wanted: bool) -> None:
        every = (node.word == "all") == wanted
        places = self._places(node.read)
        if not places and not every:
            self._insert(node.read.path.segment)
            places = self._places(node.read)
        for place in places if every else places[:1]:
            self._occurrence = place
            self.make(node.test, wanted)
        self._occurrence = None

    def _over_segments(self, node: n.OverSegments, wanted: bool) -> None:
        every = (node.word == "all") == wanted
        name = node.read.path.segment
        if not self._message.indexes(name) and not every:
            self._insert(name)
        there = list(node.read.path.segments(self._message))
        for index in there if every else there[:1]:
            self._bound = index
            self.make(node.test, wanted)
        self._bound = -1

    # -- one test -------------------------------------------------------------------------------

    def _test(self, node: n.Condition, wanted: bool) -> None:
        if isinstance(node, n.Exists) and isinstance(node.left, n.Read) and node.left.path.field is None:
            self._segment(node.left.path, wanted)
            return
        target = self._target(node)
        if target is None:
            return
        now = target.get(self._message) or ""
        match node:
            case n.Compare():
                self._compare(node, target, now, wanted)
            case n.Within():
                self._within(node, target, now, wanted)
            case n.Matches() if node.pattern(now) != wanted:
                self._put(target, (self._ways.sample(node.pattern) or now) if wanted else "")
            case n.TextTest():
                self._text(node, target, now, wanted)
            case n.Is(what="null") if (now == NULL) != wanted:
                self._put(target, NULL if wanted else "")
            case n.Is(what="empty") if (not now) != wanted:
                self._empty(target, wanted)
            case n.Exists() if bool(now) != wanted:
                self._empty(target, not wanted)
            case _:
                return

    def _compare(self, node: n.Compare, target: Path, now: str, wanted: bool) -> None:
        other = self._other_side(node)
        if other is None:
            return
        turned = isinstance(node.left, n.Text | n.Number)
        op = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}.get(node.op, node.op) if turned else node.op
        if not wanted:
            op = {"==": "!=", "!=": "==", "<": ">=", "<=": ">", ">": "<=", ">=": "<"}[op]
        if op == "==":
            if now != other:
                self._put(target, other)
        elif op == "!=":
            if now == other:
                self._put(target, OTHER if not node.numeric else _moved(other, 1))
        elif node.numeric:
            self._put(target, other if "=" in op else _moved(other, -1 if op == "<" else 1))
        elif op in (">", ">="):
            self._put(target, other + ("" if op == ">=" else "1"))
        else:
            self._put(target, other if op == "<=" else "")

    def _within(self, node: n.Within, target: Path, now: str, wanted: bool) -> None:
        allowed = sorted(node.texts) + [f"{number:f}" for number in sorted(node.numbers)]
        if (now in allowed) != wanted:
            self._put(target, self._ways.pick(allowed) if wanted else OTHER)

    def _text(self, node: n.TextTest, target: Path, now: str, wanted: bool) -> None:
        other = node.right.value if isinstance(node.right, n.Text) else None
        if other is None:
            return
        holds = {"contains": other in now, "starts with": now.startswith(other), "ends with": now.endswith(other)}
        if holds[node.op] != wanted:
            self._put(target, other if wanted else "")

    def _other_side(self, node: n.Compare) -> str | None:
        """What the place is compared with, as a text; the value of another place, too."""
        sides = (node.left, node.right)
        for side in sides:
            if isinstance(side, n.Text):
                return side.value
            if isinstance(side, n.Number):
                return f"{side.value:f}"
        if isinstance(node.right, n.Read):
            return self._path(node.right).get(self._message) or ""
        return None

    # -- places ---------------------------------------------------------------------------------

    def _target(self, node: n.Node) -> Path | None:
        """The place that a test is about."""
        match node:
            case n.Read():
                return self._path(node) if node.path.field is not None else None
            case n.Occurrence():
                return self._occurrence
            case n.Call() if node.name in ("upper", "lower", "trim", "number", "date") and node.arguments:
                return self._target(node.arguments[0])
            case n.Compare():
                return self._target(node.left) or self._target(node.right)
            case n.Within() | n.Matches() | n.TextTest() | n.Is() | n.Exists():
                return self._target(node.left)
            case n.Not():
                return self._target(node.operand)
            case n.OverValues() | n.OverSegments():
                return node.read.path
            case n.Junction():
                return next((found for one in node.operands if (found := self._target(one)) is not None), None)
            case _:
                return None

    def _path(self, read: n.Read) -> Path:
        """The place as it can be written from outside: with the number of the segment that is looked at."""
        index = self._bound if read.bound else self._index if read.path.focus else -1
        if index < 0 or index not in self._message.indexes(read.path.segment):
            return read.path
        number = self._message.indexes(read.path.segment).index(index) + 1
        return Path(read.path.text, read.path.spec._replace(segment_selector=Nth(number)), None)

    def _places(self, read: n.Read) -> list[Path]:
        spec = read.path.spec
        number_of = {index: number for number, index in enumerate(self._message.indexes(spec.segment), 1)}
        return [
            Path(read.path.text, spec._replace(segment_selector=Nth(number_of[index]), field_selector=_one(spec)), None)
            for index in read.path.segments(self._message)
        ]

    def _segment(self, path: Path, wanted: bool) -> None:
        there = path.segments(self._message)
        if wanted and not there:
            self._insert(path.segment)
        elif not wanted and there and 0 not in there:
            self._message.delete_segments(there)

    def _insert(self, name: str) -> None:
        for line in self._ways.segments(name) or [name]:
            self._message.insert_segment(len(self._message), line)

    def _empty(self, target: Path, wanted: bool) -> None:
        if wanted:
            self._put(target, "")
        else:
            self._find(target)
            self._ways.fill(target, self._message)

    def _put(self, target: Path, text: str) -> None:
        self._find(target)
        try:
            target.set(self._message, text)
        except EditError:
            return  # a place that nothing can be written to: the condition is asked again and tells

    def _find(self, target: Path) -> None:
        find_selected(target.spec, self._message)


def find_selected(spec: Spec, message: Message) -> None:
    """See to it that a place chosen by what stands beside it is there: `PID-3[5 == "MR"]` gets such a repetition."""
    where = spec.field_selector
    if not isinstance(where, Where) or where.negated or not where.values:
        return
    whole = Path("", spec._replace(field_selector=None, component=0, subcomponent=0), None)
    if Path("", spec._replace(component=0, subcomponent=0), None).raw(message) is not None:
        return
    text = whole.raw(message) or ""
    number = text.count(message.delimiters.cut_repetition) + 2 if text else 1
    place = spec._replace(
        field_selector=Nth(number), component=max(where.component, 1), subcomponent=where.subcomponent
    )
    Path("", place, None).set(message, min(where.values))


def _one(spec: Spec) -> Nth | Where | Every | None:
    return Nth(1) if isinstance(spec.field_selector, Every) else spec.field_selector


def _moved(number: str, by: int) -> str:
    return f"{Decimal(number) + by:f}"
