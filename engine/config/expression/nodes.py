"""The parsed expression: a tree of frozen values, each with its columns in the text.

A node is a *condition* (true or false), or a *value*: text, or a number. `[start, end)` are 0-based columns.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from engine.config.expression.patterns import Pattern
from engine.hl7.path import Path

CompareOp = Literal["==", "!=", "<", "<=", ">", ">="]
TextOp = Literal["contains", "starts with", "ends with"]
Quantifier = Literal["any", "all"]


@dataclass(frozen=True, slots=True)
class Text:
    start: int
    end: int
    value: str


@dataclass(frozen=True, slots=True)
class Number:
    start: int
    end: int
    value: Decimal


@dataclass(frozen=True, slots=True)
class Read:
    """What a path holds. `bound`: it reads the segment that the `any` or `all` around it is looking at."""

    start: int
    end: int
    path: Path
    bound: bool = False


@dataclass(frozen=True, slots=True)
class Occurrence:
    """The value that the `any PATH ...` or `all PATH ...` around it is looking at."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Call:
    start: int
    end: int
    name: str
    arguments: "tuple[Value, ...]"


@dataclass(frozen=True, slots=True)
class Truth:
    """A condition whose outcome no message can change; made by folding only."""

    start: int
    end: int
    value: bool


@dataclass(frozen=True, slots=True)
class Compare:
    """`numeric`: both sides are taken as numbers."""

    start: int
    end: int
    op: CompareOp
    left: "Value"
    right: "Value"
    numeric: bool


@dataclass(frozen=True, slots=True)
class Within:
    """`left in [...]`: equal to one of `texts` as text, or to one of `numbers` as a number."""

    start: int
    end: int
    left: "Value"
    texts: frozenset[str]
    numbers: frozenset[Decimal]


@dataclass(frozen=True, slots=True)
class Matches:
    start: int
    end: int
    left: "Value"
    pattern: Pattern


@dataclass(frozen=True, slots=True)
class TextTest:
    start: int
    end: int
    op: TextOp
    left: "Value"
    right: "Value"


@dataclass(frozen=True, slots=True)
class Is:
    start: int
    end: int
    left: "Value"
    what: Literal["empty", "null"]


@dataclass(frozen=True, slots=True)
class Exists:
    """For a segment: there is one. Otherwise: the place holds something, if only NULL."""

    start: int
    end: int
    left: Read | Occurrence


@dataclass(frozen=True, slots=True)
class Not:
    start: int
    end: int
    operand: "Condition"


@dataclass(frozen=True, slots=True)
class Junction:
    start: int
    end: int
    word: Literal["and", "or"]
    operands: "tuple[Condition, ...]"


@dataclass(frozen=True, slots=True)
class OverValues:
    """`any PATH test`, `all PATH test`: `test` holds for one, for every occurrence of `read`."""

    start: int
    end: int
    word: Quantifier
    read: Read
    test: "Condition"


@dataclass(frozen=True, slots=True)
class OverSegments:
    """`any SEG (test)`, `all SEG (test)`: `test` holds with one, with every such segment bound."""

    start: int
    end: int
    word: Quantifier
    read: Read
    test: "Condition"


Value = Text | Number | Read | Occurrence | Call
Condition = Truth | Compare | Within | Matches | TextTest | Is | Exists | Not | Junction | OverValues | OverSegments
Node = Value | Condition


def is_number(node: Node) -> bool:
    """Whether the value is a number: a number literal, number(..) or length(..)."""
    return isinstance(node, Number) or (isinstance(node, Call) and node.name in ("number", "length"))


def children(node: Node) -> "tuple[Node, ...]":
    """The nodes right below `node`, from left to right."""
    match node:
        case Call():
            return node.arguments
        case Compare() | TextTest():
            return (node.left, node.right)
        case Within() | Matches() | Is() | Exists():
            return (node.left,)
        case Not():
            return (node.operand,)
        case Junction():
            return node.operands
        case OverValues() | OverSegments():
            return (node.read, node.test)
        case _:
            return ()
