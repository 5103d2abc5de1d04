"""What each node means, worked out one by one: for constants at compile time, and for `explain`.

`compile` makes the fast form of the same; tests hold the two together.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import assert_never

from engine.config.expression import nodes as n
from engine.config.expression import reading
from engine.config.expression.functions import (
    COUNTS,
    FUNCTIONS,
    IMPLEMENTATIONS,
    looked_into,
    number_text,
    to_number,
)
from engine.config.expression.reading import Fields
from engine.config.table import Table
from engine.hl7 import NULL
from engine.hl7.message import Message

_TEXT_TESTS = {"contains": str.__contains__, "starts with": str.startswith, "ends with": str.endswith}


@dataclass(frozen=True, slots=True)
class Evaluator:
    """A message to read from, None for constants; inside a quantifier, its segment's fields or its value too."""

    message: Message | None
    tables: Mapping[str, Table]
    bound: Fields | None = None
    occurrence: str = ""

    def condition(self, node: n.Condition) -> bool:
        match node:
            case n.Truth():
                return node.value
            case n.Compare():
                return self._compare(node)
            case n.Within():
                if not n.is_number(node.left) and self.text(node.left) in node.texts:
                    return True
                return bool(node.numbers) and self.number(node.left) in node.numbers
            case n.Matches():
                return node.pattern(self.text(node.left))
            case n.TextTest():
                return _TEXT_TESTS[node.op](self.text(node.left), self.text(node.right))
            case n.Is():
                return self.text(node.left) == (NULL if node.what == "null" else "")
            case n.Exists():
                if isinstance(node.left, n.Read) and node.left.path.field is None:
                    return reading.segment_exists(node.left.path)(self._message)
                return self.text(node.left) != ""
            case n.Not():
                return not self.condition(node.operand)
            case n.Junction():
                outcomes = (self.condition(operand) for operand in node.operands)
                return all(outcomes) if node.word == "and" else any(outcomes)
            case n.OverValues() | n.OverSegments():
                outcomes = (inside.condition(node.test) for inside in self.over(node))
                return all(outcomes) if node.word == "all" else any(outcomes)
            case _:
                assert_never(node)

    def over(self, node: n.OverValues | n.OverSegments) -> "Sequence[Evaluator]":
        """One evaluator for every occurrence or segment that the quantifier goes over."""
        message, path = self._message, node.read.path
        if isinstance(node, n.OverSegments):
            return [Evaluator(message, self.tables, fields) for fields in reading.segments(path)(message)]
        if node.read.bound:
            values = reading.occurrences_in(path.spec)(self.bound or [], message)
        else:
            values = reading.occurrences(path)(message)
        return [Evaluator(message, self.tables, self.bound, value) for value in values]

    def text(self, node: n.Value) -> str:
        match node:
            case n.Text():
                return node.value
            case n.Number():
                return number_text(node.value)
            case n.Occurrence():
                return self.occurrence
            case n.Read():
                if node.bound:
                    return reading.field_reader(node.path.spec)(self.bound or [], self._message)
                return node.path.get(self._message) or ""
            case n.Call():
                return self._call(node)
            case _:
                assert_never(node)

    def number(self, node: n.Value) -> Decimal | None:
        """The value as a number; None when it is none."""
        if isinstance(node, n.Number):
            return node.value
        if isinstance(node, n.Call) and node.name == "length":
            return Decimal(len(self.text(node.arguments[0])))
        if isinstance(node, n.Call) and node.name == "number":
            return self.number(node.arguments[0])
        return to_number(self.text(node))

    def _call(self, node: n.Call) -> str:
        match node.name:
            case "number" | "length":
                return number_text(self.number(node))
            case "coalesce":
                return next((text for argument in node.arguments if (text := self.text(argument))), "")
            case "table" | "back":
                assert isinstance(node.arguments[0], n.Text)
                table = looked_into(node.name, self.tables[node.arguments[0].value])
                key = self.text(node.arguments[1])
                row = table.lookup_at(key, self._message.received_at) if table.is_dated else table.lookup(key)
                if row is not None:
                    return row.value
                return self.text(node.arguments[2]) if len(node.arguments) > 2 else ""
            case name:
                parameters = FUNCTIONS[name].kinds(len(node.arguments))
                plain = [
                    int(argument.value) if kind in COUNTS and isinstance(argument, n.Number) else self.text(argument)
                    for kind, argument in zip(parameters, node.arguments, strict=True)
                ]
                return IMPLEMENTATIONS[name](*plain)

    def _compare(self, node: n.Compare) -> bool:
        if node.numeric:
            left, right = self.number(node.left), self.number(node.right)
            if left is None or right is None:
                return node.op == "!="
            return _holds(node.op, (left > right) - (left < right))
        first, second = self.text(node.left), self.text(node.right)
        return _holds(node.op, (first > second) - (first < second))

    @property
    def _message(self) -> Message:
        assert self.message is not None, "constants read no message"
        return self.message


def _holds(op: n.CompareOp, order: int) -> bool:
    """Whether `left op right`, where `order` is -1, 0 or 1 as left is below, equal to or above right."""
    match op:
        case "==":
            return order == 0
        case "!=":
            return order != 0
        case "<":
            return order < 0
        case "<=":
            return order <= 0
        case ">":
            return order > 0
        case ">=":
            return order >= 0
        case _:
            assert_never(op)
