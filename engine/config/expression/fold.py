"""Constant folding: what no message can change is worked out once.

A pass over the tree from the leaves up. Conditions that are settled become `Truth`, calls on literals become
literals, and settled operands leave `and` and `or`. Reading a message has no effect, so what is not asked for may go.
"""

from collections.abc import Mapping
from dataclasses import replace

from engine.config.expression import nodes as n
from engine.config.expression.errors import ExpressionError, ValueTooLong
from engine.config.expression.evaluate import Evaluator
from engine.config.expression.functions import LOOKUPS
from engine.config.table import Table


def fold_condition(node: n.Condition, tables: Mapping[str, Table]) -> n.Condition:
    """`node` with its constant parts settled. Raises ExpressionError for a constant that grows too long."""
    match node:
        case n.Truth() | n.Exists():
            return node
        case n.Not():
            operand = fold_condition(node.operand, tables)
            if isinstance(operand, n.Truth):
                return n.Truth(node.start, node.end, not operand.value)
            return replace(node, operand=operand)
        case n.Junction():
            return _junction(node, tables)
        case n.OverValues() | n.OverSegments():
            return replace(node, test=fold_condition(node.test, tables))
        case n.Compare() | n.TextTest():
            folded: n.Condition = replace(
                node, left=fold_value(node.left, tables), right=fold_value(node.right, tables)
            )
        case n.Within() | n.Matches() | n.Is():
            folded = replace(node, left=fold_value(node.left, tables))
    if all(isinstance(child, n.Text | n.Number) for child in n.children(folded)):
        return n.Truth(node.start, node.end, Evaluator(None, tables).condition(folded))
    return folded


def fold_value(node: n.Value, tables: Mapping[str, Table]) -> n.Value:
    """As `fold_condition`, for a value."""
    if not isinstance(node, n.Call):
        return node
    call = replace(node, arguments=tuple(fold_value(argument, tables) for argument in node.arguments))
    if not all(isinstance(argument, n.Text | n.Number) for argument in call.arguments):
        return call
    if call.name in LOOKUPS and isinstance(call.arguments[0], n.Text):
        table = tables[call.arguments[0].value]
        if table.is_dated or not table.is_settled:
            return call  # what it is depends on when a message comes, or somebody looks on
    evaluator = Evaluator(None, tables)
    if n.is_number(call):
        number = evaluator.number(call)
        return n.Text(node.start, node.end, "") if number is None else n.Number(node.start, node.end, number)
    try:
        return n.Text(node.start, node.end, evaluator.text(call))
    except ValueTooLong as exc:
        raise ExpressionError(str(exc), node.start, "", node.end - node.start) from exc


def _junction(node: n.Junction, tables: Mapping[str, Table]) -> n.Condition:
    settles = node.word == "or"
    left: list[n.Condition] = []
    for operand in (fold_condition(operand, tables) for operand in node.operands):
        if not isinstance(operand, n.Truth):
            left.append(operand)
        elif operand.value == settles:
            return n.Truth(node.start, node.end, settles)
    if not left:
        return n.Truth(node.start, node.end, not settles)
    return left[0] if len(left) == 1 else replace(node, operands=tuple(left))
