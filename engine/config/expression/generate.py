"""From a tree to Python code objects, by way of Python's own syntax nodes.

The tree becomes one function of a message, plus one for each quantifier. Nodes come from here alone and only of the
kinds in `_ALLOWED`: no attribute, no import, no name but those that `_Names` gave out; what the expression's text
contributes are constants. The functions see no builtins.

Two things make it fast. `and`, `or` and `coalesce` become Python's own, and paths its calls to `Path.get`, whose None
for what is absent becomes '' only where that makes a difference. And what does not change from one round of a
quantifier to the next is worked out before its first round, which also bounds the time (see `limits`).
"""

import ast
from collections.abc import Callable, Mapping
from decimal import Decimal
from types import CodeType, FunctionType
from typing import Any, assert_never

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
from engine.config.table import Table
from engine.hl7 import NULL
from engine.hl7.message import Message

_ALLOWED = frozenset(
    {
        *(ast.Module, ast.FunctionDef, ast.arguments, ast.arg, ast.Assign, ast.For, ast.If, ast.Return),
        *(ast.Name, ast.Load, ast.Store, ast.Constant, ast.Set, ast.Call),
        *(ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not),
        *(ast.Compare, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In),
    }
)

_OPERATORS: Mapping[n.CompareOp, type[ast.cmpop]] = {
    "==": ast.Eq,
    "!=": ast.NotEq,
    "<": ast.Lt,
    "<=": ast.LtE,
    ">": ast.Gt,
    ">=": ast.GtE,
}
_MESSAGE, _FIELDS, _OCCURRENCE = "message", "fields", "value"
_MAIN = "expression"


def generate(node: n.Node, tables: Mapping[str, Table]) -> Callable[..., Any]:
    """The function of a message that works out `node`: a bool for a condition, a str for a value."""
    return _Generator(tables).main(node)


class _Scope:
    """A point in a generated function: what is at hand there.

    `level` 0 reads the message, 1 the segment at hand too, 2 the occurrence at hand too. What is below a scope's
    level is worked out in `outer`: the place before the loop, in the same function; or, for that place, the loop
    body that calls the function, whose results become `parameters`.
    """

    def __init__(self, level: int, outer: "_Scope | None" = None, *, same_function: bool = False) -> None:
        self.level = level
        self.outer = outer
        self.same_function = same_function
        self.prelude: list[ast.stmt] = []
        self.parameters: dict[str, None] = {}


class _Generator:
    def __init__(self, tables: Mapping[str, Table]) -> None:
        self._tables = tables
        self._namespace: dict[str, Any] = {"__builtins__": {}}
        self._given: dict[int, str] = {}
        self._functions: list[ast.stmt] = []
        self._count = 0

    def main(self, node: n.Node) -> Callable[..., Any]:
        scope = _Scope(0)
        body = self._node(node, scope)
        self._function(_MAIN, [_MESSAGE], [ast.Return(body)])
        module = ast.Module(self._functions, [])
        for part in ast.walk(module):
            assert type(part) in _ALLOWED, type(part)
        code = compile(ast.fix_missing_locations(module), "<expression>", "exec")
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                self._namespace[constant.co_name] = FunctionType(constant, self._namespace)
        main: Callable[..., Any] = self._namespace[_MAIN]
        return main

    # -- nodes

    def _node(self, node: n.Node, scope: _Scope) -> ast.expr:
        if isinstance(node, n.Text | n.Number | n.Read | n.Occurrence | n.Call):
            return self._text(node, scope)
        return self._condition(node, scope)

    def _condition(self, node: n.Condition, scope: _Scope) -> ast.expr:
        if _level(node) < scope.level and not isinstance(node, n.Truth):
            return self._outside(node, scope)
        match node:
            case n.Truth():
                return ast.Constant(node.value)
            case n.Compare():
                return self._compare(node, scope)
            case n.Within():
                return self._within(node, scope)
            case n.Matches():
                return self._call(node.pattern, self._text(node.left, scope))
            case n.TextTest():
                left, right = self._text(node.left, scope), self._text(node.right, scope)
                if node.op == "contains":
                    if scope.level > _level(node.left) and not isinstance(node.left, n.Text):
                        return self._call(_contains_counted, _name(_MESSAGE), left, right)
                    return ast.Compare(right, [ast.In()], [left])
                return self._call(str.startswith if node.op == "starts with" else str.endswith, left, right)
            case n.Is():
                text = self._text_or_none(node.left, scope)
                if node.what == "empty":
                    return ast.UnaryOp(ast.Not(), text)
                return ast.Compare(text, [ast.Eq()], [ast.Constant(NULL)])
            case n.Exists():
                if isinstance(node.left, n.Read) and node.left.path.field is None:
                    return self._call(reading.segment_exists(node.left.path), _name(_MESSAGE))
                return _is_something(self._text_or_none(node.left, scope))
            case n.Not():
                return ast.UnaryOp(ast.Not(), self._condition(node.operand, scope))
            case n.Junction():
                operands = [self._condition(operand, scope) for operand in node.operands]
                return ast.BoolOp(ast.And() if node.word == "and" else ast.Or(), operands)
            case n.OverSegments():
                return self._over_segments(node, scope)
            case n.OverValues():
                return self._over_values(node, scope)
            case _:
                assert_never(node)

    def _compare(self, node: n.Compare, scope: _Scope) -> ast.expr:
        operator = _OPERATORS[node.op]()
        if not node.numeric:
            return self._compare_text(node, operator, scope)
        left, right = self._number(node.left, scope), self._number(node.right, scope)
        if node.op in ("==", "!=") and isinstance(node.right, n.Number):
            return ast.Compare(left, [operator], [right])  # None, for no number, equals no number
        return self._call(_NUMERIC[node.op], left, right)

    def _compare_text(self, node: n.Compare, operator: ast.cmpop, scope: _Scope) -> ast.expr:
        if node.op in ("==", "!=") and isinstance(node.right, n.Text):
            text = self._text_or_none(node.left, scope)
            if node.right.value:
                return ast.Compare(text, [operator], [ast.Constant(node.right.value)])
            return ast.UnaryOp(ast.Not(), text) if node.op == "==" else _is_something(text)
        return ast.Compare(self._text(node.left, scope), [operator], [self._text(node.right, scope)])

    def _within(self, node: n.Within, scope: _Scope) -> ast.expr:
        if not node.numbers:
            texts = ast.Set([ast.Constant(text) for text in sorted(node.texts)])  # becomes one constant
            left = self._text(node.left, scope) if "" in node.texts else self._text_or_none(node.left, scope)
            return ast.Compare(left, [ast.In()], [texts])
        if not node.texts:
            return ast.Compare(self._number(node.left, scope), [ast.In()], [self._given_name(node.numbers)])
        items = (self._given_name(node.texts), self._given_name(node.numbers))
        return self._call(_within_both, self._text(node.left, scope), *items)

    # -- values

    def _text(self, node: n.Value, scope: _Scope) -> ast.expr:
        match node:
            case n.Text():
                return ast.Constant(node.value)
            case n.Number():
                return ast.Constant(number_text(node.value))
            case n.Occurrence():
                return _name(_OCCURRENCE)
            case n.Read() | n.Call() if _level(node) < scope.level:
                return self._outside(node, scope)
            case n.Read():
                return self._read(node)
            case n.Call():
                return self._function_call(node, scope)
            case _:
                assert_never(node)

    def _number(self, node: n.Value, scope: _Scope) -> ast.expr:
        if isinstance(node, n.Number):
            return self._given_name(node.value)
        if isinstance(node, n.Call) and node.name == "number":
            return self._number(node.arguments[0], scope)
        if isinstance(node, n.Call) and node.name == "length":
            return self._call(len, self._text(node.arguments[0], scope))
        return self._call(to_number, self._text(node, scope))

    def _function_call(self, node: n.Call, scope: _Scope) -> ast.expr:
        match node.name:
            case "number" | "length":
                return self._call(number_text, self._number(node, scope))
            case "coalesce":
                # The last operand of Python's `or` is its result, so this is '' where all are.
                made = [self._text(argument, scope) for argument in node.arguments]
                return made[0] if len(made) == 1 else ast.BoolOp(ast.Or(), made)
            case "table" | "back":
                assert isinstance(node.arguments[0], n.Text)
                table = looked_into(node.name, self._tables[node.arguments[0].value])
                key = self._text(node.arguments[1], scope)
                default = self._text(node.arguments[2], scope) if len(node.arguments) > 2 else ast.Constant("")
                if table.is_dated:
                    return self._call(_dated_lookup(table), _name(_MESSAGE), key, default)
                return self._call(_lookup(table), key, default)
            case name:
                kinds = FUNCTIONS[name].kinds(len(node.arguments))
                is_again = scope.level > 0  # once a round, perhaps of a long text that is the same in each
                return self._call(
                    _COUNTED[name] if is_again else IMPLEMENTATIONS[name],
                    *((_name(_MESSAGE),) if is_again else ()),
                    *(
                        ast.Constant(int(argument.value))
                        if kind in COUNTS and isinstance(argument, n.Number)
                        else self._text(argument, scope)
                        for kind, argument in zip(kinds, node.arguments, strict=True)
                    ),
                )

    def _read(self, node: n.Read) -> ast.expr:
        if node.bound:
            return self._call(reading.field_reader(node.path.spec), _name(_FIELDS), _name(_MESSAGE))
        return ast.BoolOp(ast.Or(), [self._get(node), ast.Constant("")])

    def _get(self, node: n.Read) -> ast.expr:
        return self._call(node.path.get, _name(_MESSAGE))

    def _text_or_none(self, node: n.Value, scope: _Scope) -> ast.expr:
        """As `_text`, where None will do as well as ''."""
        if isinstance(node, n.Read) and not node.bound and scope.level == 0:
            return self._get(node)
        return self._text(node, scope)

    # -- quantifiers

    def _over_segments(self, node: n.OverSegments, scope: _Scope) -> ast.expr:
        before = _Scope(0, scope if scope.level else None)
        body = _Scope(1, before, same_function=True)
        rounds = self._call(reading.segments(node.read.path), _name(_MESSAGE))
        return self._loop(node, before, body, _FIELDS, rounds, [_MESSAGE])

    def _over_values(self, node: n.OverValues, scope: _Scope) -> ast.expr:
        before = _Scope(scope.level, scope if scope.level else None)
        body = _Scope(2, before, same_function=True)
        path = node.read.path
        if node.read.bound:
            rounds = self._call(reading.occurrences_in(path.spec), _name(_FIELDS), _name(_MESSAGE))
            return self._loop(node, before, body, _OCCURRENCE, rounds, [_MESSAGE, _FIELDS])
        rounds = self._call(reading.occurrences(path), _name(_MESSAGE))
        return self._loop(node, before, body, _OCCURRENCE, rounds, [_MESSAGE])

    def _loop(
        self,
        node: n.OverSegments | n.OverValues,
        before: _Scope,
        body: _Scope,
        variable: str,
        rounds: ast.expr,
        arguments: list[str],
    ) -> ast.expr:
        """A function that goes over `rounds` until the test settles the quantifier, and the call to it."""
        test = self._condition(node.test, body)
        settled = node.word == "any"
        check = ast.If(test if settled else ast.UnaryOp(ast.Not(), test), [ast.Return(ast.Constant(settled))], [])
        loop = ast.For(ast.Name(variable, ast.Store()), rounds, [check], [])
        name = self._new("over")
        arguments = [*arguments, *before.parameters]
        done = ast.Return(ast.Constant(not settled))
        self._function(name, arguments, [*before.prelude, loop, done])
        return ast.Call(_name(name), [_name(argument) for argument in arguments], [])

    def _outside(self, node: n.Node, scope: _Scope) -> ast.expr:
        """`node` worked out before the loop that `scope` is in: a local, or a parameter, from there on."""
        outer = scope.outer
        assert outer is not None
        made = self._node(node, outer)
        if scope.same_function and isinstance(made, ast.Name):
            return made
        if isinstance(made, ast.Name):
            name = made.id
        else:
            name = self._new("before")
            outer.prelude.append(_assign(name, made))
        if not scope.same_function:
            scope.parameters[name] = None
        return _name(name)

    # -- names

    def _given_name(self, thing: object) -> ast.Name:
        """The name of an object that the functions see."""
        name = self._given.get(id(thing))
        if name is None:
            name = self._given[id(thing)] = self._new("given")
            self._namespace[name] = thing  # keeps the object, and so its id
        return _name(name)

    def _call(self, function: Callable[..., object], *arguments: ast.expr) -> ast.Call:
        return ast.Call(self._given_name(function), list(arguments), [])

    def _new(self, kind: str) -> str:
        self._count += 1
        return f"{kind}_{self._count}"

    def _function(self, name: str, arguments: list[str], body: list[ast.stmt]) -> None:
        signature = ast.arguments([], [ast.arg(argument) for argument in arguments], None, [], [], None, [])
        self._functions.append(ast.FunctionDef(name, signature, body, []))


def _name(name: str) -> ast.Name:
    return ast.Name(name, ast.Load())


def _is_something(text: ast.expr) -> ast.expr:
    return ast.UnaryOp(ast.Not(), ast.UnaryOp(ast.Not(), text))


def _assign(name: str, value: ast.expr) -> ast.Assign:
    return ast.Assign([ast.Name(name, ast.Store())], value)


def _lookup(table: Table) -> Callable[[str, str], str]:
    find = table.lookup

    def look(key: str, default: str) -> str:
        row = find(key)
        return default if row is None else row.value

    return look


def _dated_lookup(table: Table) -> Callable[[Message, str, str], str]:
    find = table.lookup_at

    def look(message: Message, key: str, default: str) -> str:
        row = find(key, message.received_at)
        return default if row is None else row.value

    return look


def _contains_counted(message: Message, text: str, part: str) -> bool:
    message.spend(1 + (len(text) >> _COUNT_SHIFT))
    return part in text


def _counted(function: Callable[..., str]) -> Callable[..., str]:
    def call(message: Message, *arguments: str | int) -> str:
        message.spend(1 + (sum([len(text) for text in arguments if isinstance(text, str)]) >> _COUNT_SHIFT))
        return function(*arguments)

    return call


_COUNT_SHIFT = 5
_COUNTED = {name: _counted(function) for name, function in IMPLEMENTATIONS.items()}


def _within_both(text: str, texts: frozenset[str], numbers: frozenset[Decimal]) -> bool:
    return text in texts or to_number(text) in numbers


_Number = Decimal | int | None


def _equal(left: _Number, right: _Number) -> bool:
    return left is not None and right is not None and left == right


def _unequal(left: _Number, right: _Number) -> bool:
    return not _equal(left, right)


def _less(left: _Number, right: _Number) -> bool:
    return left is not None and right is not None and left < right


def _at_most(left: _Number, right: _Number) -> bool:
    return left is not None and right is not None and left <= right


def _more(left: _Number, right: _Number) -> bool:
    return _less(right, left)


def _at_least(left: _Number, right: _Number) -> bool:
    return _at_most(right, left)


_NUMERIC: Mapping[n.CompareOp, Callable[[_Number, _Number], bool]] = {
    "==": _equal,
    "!=": _unequal,
    "<": _less,
    "<=": _at_most,
    ">": _more,
    ">=": _at_least,
}


def _level(node: n.Node) -> int:
    """What `node` needs at hand: 2 the occurrence, 1 the segment, of the quantifiers around it; 0 only the message."""
    match node:
        case n.Occurrence():
            return 2
        case n.Read():
            return 1 if node.bound else 0
        case n.OverValues():
            return _level(node.read)
        case n.OverSegments():
            return 0
        case _:
            return max((_level(child) for child in n.children(node)), default=0)
