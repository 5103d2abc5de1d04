"""From text to something that runs: parse, fold, generate, and hand the result out with what it reads."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from engine.config.expression import nodes as n
from engine.config.expression.explain import Explained, explain
from engine.config.expression.fold import fold_condition, fold_value
from engine.config.expression.functions import LOOKUPS
from engine.config.expression.generate import generate
from engine.config.expression.grammar import Parser
from engine.config.table import Table
from engine.hl7.message import Message
from engine.hl7.path import Path

_NO_TABLES: Mapping[str, Table] = MappingProxyType({})


class _Compiled:
    """What a condition and a value have in common.

    `source` is the text, `paths` what it reads of a message, in order and each once, `tables` the names of
    the tables that it looks into, `ways_back` of those that it looks up from value to key.
    """

    __slots__ = ("_node", "_tables", "paths", "source", "tables", "ways_back")

    def __init__(self, source: str, node: n.Node, tables: Mapping[str, Table]) -> None:
        self.source = source
        self._node = node
        self._tables = tables
        below = list(_walk(node))
        self.paths: list[Path] = list(dict.fromkeys(child.path for child in below if isinstance(child, n.Read)))
        self.tables: tuple[str, ...] = tuple(dict.fromkeys(name for child in below for name in _table_names(child)))
        self.ways_back: tuple[str, ...] = tuple(
            dict.fromkeys(name for child in below for name in _table_names(child, ("back",)))
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.source!r})"

    def explain(self, message: Message) -> list[Explained]:
        """Every comparison, in the order of the text, each followed by what its sides are in `message`.

        Holds field values: for the terminal of someone who may see the message, never for a log.
        """
        return explain(self.source, self._node, message, self._tables)


class OneOf(NamedTuple):
    """That the first match of a path, '' for none, is one of some texts."""

    path: Path
    texts: frozenset[str]


class Condition(_Compiled):
    """A compiled condition: call it with a message. `run` is the same as a bare function, for the hot path.

    `constant` is its outcome where no message can change it, else None. `one_of` is what it says where it says no
    more than that, so that several conditions on one path can be decided by a single look.
    """

    __slots__ = ("constant", "one_of", "run")

    def __init__(self, source: str, node: n.Condition, tables: Mapping[str, Table]) -> None:
        super().__init__(source, node, tables)
        folded = fold_condition(node, tables)
        self.constant: bool | None = folded.value if isinstance(folded, n.Truth) else None
        self.one_of = _one_of(folded)
        self.run: Callable[[Message], bool] = generate(folded, tables)

    def __call__(self, message: Message) -> bool:
        return self.run(message)


class Value(_Compiled):
    """A compiled value: call it with a message; '' for what is absent. `run` is the same as a bare function."""

    __slots__ = ("constant", "run")

    def __init__(self, source: str, node: n.Value, tables: Mapping[str, Table]) -> None:
        super().__init__(source, node, tables)
        folded = fold_value(node, tables)
        self.constant: str | None = folded.value if isinstance(folded, n.Text) else None
        self.run: Callable[[Message], str] = generate(folded, tables)

    def __call__(self, message: Message) -> str:
        return self.run(message)


def compile_condition(text: str, *, focus: str | None = None, tables: Mapping[str, Table] = _NO_TABLES) -> Condition:
    """The condition that `text` says. Raises ExpressionError, with the column.

    `focus` is the segment that `each` goes over; `tables` are those that table(..) may name.
    """
    return Condition(text, Parser(text, focus=focus, tables=tables.keys()).condition(), tables)


def compile_value(text: str, *, focus: str | None = None, tables: Mapping[str, Table] = _NO_TABLES) -> Value:
    """The value that `text` says. Raises ExpressionError, with the column. See `compile_condition`."""
    return Value(text, Parser(text, focus=focus, tables=tables.keys()).value(), tables)


def _one_of(node: n.Condition) -> OneOf | None:
    match node:
        case n.Within(left=n.Read(path=path), texts=texts) if not node.numbers:
            return OneOf(path, texts)
        case n.Compare(op="==", left=n.Read(path=path), right=n.Text(value=text)) if not node.numeric:
            return OneOf(path, frozenset((text,)))
        case _:
            return None


def _walk(node: n.Node) -> Iterator[n.Node]:
    yield node
    for child in n.children(node):
        yield from _walk(child)


def _table_names(node: n.Node, functions: Sequence[str] = LOOKUPS) -> list[str]:
    if isinstance(node, n.Call) and node.name in functions and isinstance(node.arguments[0], n.Text):
        return [node.arguments[0].value]
    return []
