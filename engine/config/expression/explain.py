"""Why a condition came out as it did: its comparisons, one by one, with what stood on their sides."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from engine.config.expression import nodes as n
from engine.config.expression.evaluate import Evaluator
from engine.config.table import Table
from engine.hl7.message import Message

MAX_SHOWN = 20
"""Occurrences or segments of one quantifier that are shown."""


@dataclass(frozen=True, slots=True)
class Explained:
    """A piece of the expression and what it is in one message.

    `value` is an outcome, a text, or the texts that `any` or `all` went over (no more than MAX_SHOWN). `depth`
    is 0 for a comparison, 1 for its sides, and more inside a quantifier.
    """

    text: str
    column: int
    value: bool | str | tuple[str, ...]
    depth: int = 0


def explain(source: str, node: n.Node, message: Message, tables: Mapping[str, Table]) -> list[Explained]:
    """See `Condition.explain`."""
    return list(_Explainer(source).explain(node, Evaluator(message, tables), 0))


@dataclass(frozen=True, slots=True)
class _Explainer:
    source: str

    def explain(self, node: n.Node, at: Evaluator, depth: int) -> Iterator[Explained]:
        match node:
            case n.Not() if node.start == node.operand.start:  # PID-8 not in [...]: one comparison, not two
                yield self._piece(node, at.condition(node), depth)
                yield from self._sides(node.operand, at, depth + 1)
            case n.Not() | n.Junction():
                for operand in n.children(node):
                    yield from self.explain(operand, at, depth)
            case n.OverSegments():
                yield self._piece(node, at.condition(node), depth)
                for number, inside in enumerate(at.over(node)[:MAX_SHOWN], 1):
                    yield Explained(
                        f"{node.read.path.segment}[{number}]", node.read.start, inside.condition(node.test), depth + 1
                    )
                    yield from self.explain(node.test, inside, depth + 2)
            case n.OverValues():
                yield self._piece(node, at.condition(node), depth)
                texts = tuple(inside.occurrence for inside in at.over(node)[:MAX_SHOWN])
                yield self._piece(node.read, texts, depth + 1)
                yield from self._sides(node.test, at, depth + 1)
            case n.Text() | n.Number() | n.Read() | n.Occurrence() | n.Call():
                yield from self._side(node, at, depth)
            case _:
                yield self._piece(node, at.condition(node), depth)
                yield from self._sides(node, at, depth + 1)

    def _sides(self, comparison: n.Condition, at: Evaluator, depth: int) -> Iterator[Explained]:
        if isinstance(comparison, n.Not):
            comparison = comparison.operand
        for side in n.children(comparison):
            yield from self._side(side, at, depth)

    def _side(self, node: n.Node, at: Evaluator, depth: int) -> Iterator[Explained]:
        """A side of a comparison, and below it the arguments of a function; literals are known already."""
        if isinstance(node, n.Read) and node.path.field is not None:
            yield self._piece(node, at.text(node), depth)
        elif isinstance(node, n.Call):
            yield self._piece(node, at.text(node), depth)
            for argument in node.arguments:
                yield from self._side(argument, at, depth + 1)

    def _piece(self, node: n.Node, value: bool | str | tuple[str, ...], depth: int) -> Explained:
        return Explained(self.source[node.start : node.end], node.start, value, depth)
