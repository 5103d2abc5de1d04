"""Tokens to a tree: a recursive descent that checks types as it goes, so that what it returns can be compiled.

The grammar stands in the package's docstring. No quantifier over segments may stand inside another quantifier, and one
over values may stand inside one over segments only for the segment bound there: loops in loops would let a
message of a few megabytes run for hours.
"""

import re
from collections.abc import Collection
from decimal import Decimal
from typing import Literal, NoReturn, cast

from engine.config.expression import advice, lexer
from engine.config.expression import nodes as n
from engine.config.expression.dates import check_format
from engine.config.expression.errors import ExpressionError
from engine.config.expression.functions import COUNTS, FUNCTIONS, Function, Parameter, to_number
from engine.config.expression.lexer import Token, tokens
from engine.config.expression.limits import MAX_CALLS_IN_A_VALUE, MAX_DEPTH, MAX_LIST_ITEMS, MAX_PAD_WIDTH
from engine.config.expression.patterns import compile_pattern
from engine.config.expression.reading import several
from engine.hl7.errors import PathError
from engine.hl7.path import compile_path

_COMPARISONS = frozenset({"==", "!=", "<", "<=", ">", ">="})


class Parser:
    """Reads one expression. Use `condition` or `value`, once; both raise ExpressionError."""

    def __init__(self, source: str, *, focus: str | None, tables: Collection[str]) -> None:
        self._source = source
        self._focus = focus
        self._tables = tables
        self._tokens = tokens(source)
        self._at = 0
        self._depth = 0
        self._calls = self._call_depth = 0
        self._bound: str | None = None
        self._inside: str | None = None  # the quantifier around, for the error that forbids a second one

    # -- entry

    def condition(self) -> n.Condition:
        return self._condition_only(self._whole(), "this is a value, not a condition")

    def value(self) -> n.Value:
        return self._text_only(self._whole())

    def _whole(self) -> n.Node:
        if len(self._tokens) == 1:
            raise ExpressionError("there is no expression here", 0)
        node = self._or()
        if self._peek.kind != "end":
            self._unexpected("after a complete expression")
        return node

    # -- conditions

    def _or(self) -> n.Node:
        return self._junction("or")

    def _and(self) -> n.Node:
        return self._junction("and")

    def _junction(self, word: Literal["and", "or"]) -> n.Node:
        operand = self._not if word == "and" else self._and
        first = operand()
        if not self._is_word(word):
            return first
        operands = [self._condition_only(first, f"'{word}' joins conditions, and this is a value")]
        while self._is_word(word):
            self._next()
            operands.append(self._condition_only(operand(), f"'{word}' joins conditions, and this is a value"))
        return n.Junction(operands[0].start, operands[-1].end, word, tuple(operands))

    def _not(self) -> n.Node:
        if not self._is_word("not"):
            return self._quantified() if self._is_word("any", "all") else self._tested()
        token = self._next()
        self._enter(token)
        operand = self._condition_only(self._not(), "'not' needs a condition, and this is a value")
        self._depth -= 1
        return n.Not(token.start, operand.end, operand)

    def _tested(self) -> n.Node:
        left = self._primary()
        return self._test(left) if self._starts_test(self._peek) else left

    def _starts_test(self, token: Token) -> bool:
        return (token.kind == "symbol" and token.text in _COMPARISONS) or (
            token.kind == "word"
            and token.text in ("in", "not", "matches", "contains", "starts", "ends", "is", "exists")
        )

    def _test(self, left: n.Node) -> n.Condition:
        """The operator at hand and its right side, applied to `left`."""
        token = self._next()
        if token.text == "exists":
            return self._exists(left, token)
        if token.text == "not":
            if not self._is_word("in", "exists", "matches", "contains", "starts", "ends"):
                self._unexpected("after 'not'", 'write not before the condition: not PID-8 == "F"')
            inner = self._test(left)
            return n.Not(left.start, inner.end, inner)
        value = self._value_only(left, f"'{token.text}' compares values, and this is a condition")
        match token.text:
            case "in":
                condition: n.Condition = self._within(value, token)
            case "matches":
                pattern = self._expect_string("matches", 'a pattern in quotes: matches "[A-Z]+[0-9]*"')
                compiled = compile_pattern(pattern.text[1:-1], pattern.start + 1)
                condition = n.Matches(value.start, pattern.end, value, compiled)
            case "is":
                condition = self._is(value)
            case "contains":
                right = self._text_only(self._primary())
                condition = n.TextTest(value.start, right.end, "contains", self._text_only(value), right)
            case "starts" | "ends" as word:
                if not self._is_word("with"):
                    self._unexpected(f"after '{word}'", f"did you mean {word} with?")
                self._next()
                right = self._text_only(self._primary())
                op = cast("n.TextOp", f"{word} with")
                condition = n.TextTest(value.start, right.end, op, self._text_only(value), right)
            case _:
                condition = self._compare(value, token)
        if self._starts_test(self._peek):
            self._unexpected("after a comparison", "join two comparisons with and")
        return condition

    def _compare(self, left: n.Value, token: Token) -> n.Compare:
        if self._peek.text == "[":
            raise ExpressionError(
                f"'{token.text}' compares with one value, and this is a list",
                self._peek.start,
                "did you mean in [...]?" if token.text == "==" else "did you mean not in [...]?",
            )
        right = self._value_only(self._primary(), f"'{token.text}' compares values, and this is a condition")
        numeric = n.is_number(left) or n.is_number(right)
        if numeric:
            for side in (left, right):
                if isinstance(side, n.Text):
                    self._text_against_number(side)
        return n.Compare(left.start, right.end, cast("n.CompareOp", token.text), left, right, numeric)

    def _text_against_number(self, text: n.Text) -> NoReturn:
        hint = "a number stands without quotes" if to_number(text.value) is not None else "compare text with text"
        raise ExpressionError("this compares a number with a text", text.start, hint, text.end - text.start)

    def _within(self, left: n.Value, token: Token) -> n.Within:
        if self._peek.text != "[":
            self._unexpected("after 'in'", 'a list stands in [ ], as in ["A", "B"]')
        opening = self._next()
        texts: set[str] = set()
        numbers: set[Decimal] = set()
        for count in range(1, MAX_LIST_ITEMS + 2):
            if count > MAX_LIST_ITEMS:
                raise ExpressionError(
                    f"a list has at most {MAX_LIST_ITEMS} items",
                    opening.start,
                    'use a table: table("tables/x.csv", PID-8) is not empty',
                )
            item = self._peek
            if item.kind == "string":
                text = n.Text(item.start, item.end, lexer.unquote(item))
                if n.is_number(left):
                    self._text_against_number(text)
                texts.add(text.value)
            elif item.kind == "number":
                numbers.add(Decimal(item.text))
            else:
                if item.kind == "end":
                    raise ExpressionError("this '[' is not closed", opening.start, "add ]")
                what = "is empty" if item.text == "]" and count == 1 else "is neither"
                raise ExpressionError(
                    f"a list holds texts and numbers as they stand, and this {what}",
                    item.start,
                    self._advice(item) or 'as in ["A", "B"]',
                    len(item.text),
                )
            self._next()
            if self._peek.text == "]":
                return n.Within(left.start, self._next().end, left, frozenset(texts), frozenset(numbers))
            self._expect(",", opening, "add ]")
        raise AssertionError  # the loop ends inside

    def _is(self, left: n.Value) -> n.Condition:
        negated = self._is_word("not")
        if negated:
            self._next()
        if not self._is_word("empty", "null"):
            hint = "it is: is empty, is not empty, is null, is not null"
            if self._peek.text == "in":
                hint = "did you mean in?"
            elif self._peek.kind in ("string", "number", "path"):
                hint = "did you mean !=?" if negated else "did you mean ==?"
            self._unexpected("after 'is'", hint)
        word = self._next()
        what = cast(Literal["empty", "null"], word.text)
        condition = n.Is(left.start, word.end, self._text_only(left), what)
        return n.Not(left.start, word.end, condition) if negated else condition

    def _exists(self, left: n.Node, token: Token) -> n.Exists:
        if not isinstance(left, n.Read | n.Occurrence):
            raise ExpressionError(
                "'exists' asks about a path, and this is none", left.start, "is not empty asks about a value"
            )
        return n.Exists(left.start, token.end, left)

    # -- quantifiers

    def _quantified(self) -> n.Condition:
        token = self._next()
        word = cast("n.Quantifier", token.text)
        if self._peek.kind != "path":
            self._unexpected(
                f"after '{word}'",
                f'a path follows, as in {word} OBX-8 == "H", or a segment: {word} OBX (...)',
                insist=self._peek.text in FUNCTIONS,
            )
        self._enter(token)
        named = self._next()
        read = self._read(named, over=self._peek.text == "(")
        condition = (
            self._over_segments(token, word, read) if read.path.field is None else self._over_values(token, word, read)
        )
        self._depth -= 1
        return condition

    def _over_segments(self, token: Token, word: n.Quantifier, read: n.Read) -> n.OverSegments:
        segment = read.path.segment
        if self._inside is not None:
            self._refuse_nesting(token)
        if self._peek.text != "(":
            self._unexpected(
                f"after '{word} {segment}'", f"conditions about one {segment} stand in brackets: {word} {segment} (...)"
            )
        opening = self._next()
        self._bound, self._inside = segment, f"{word} {read.path}"
        test = self._condition_only(self._or(), "brackets after a segment hold a condition")
        self._bound = self._inside = None
        closing = self._expect(")", opening, "add )")
        return n.OverSegments(token.start, closing.end, word, read, test)

    def _over_values(self, token: Token, word: n.Quantifier, read: n.Read) -> n.OverValues:
        if self._inside is not None and not read.bound:
            self._refuse_nesting(token)
        if self._peek.text == "(":
            self._unexpected(
                f"after '{word} {read.path}'",
                f"an operator follows; conditions about one {read.path.segment}: {word} {read.path.segment} (...)",
            )
        if not self._starts_test(self._peek):
            self._unexpected(f"after '{word} {read.path}'", f'an operator follows, as in {word} {read.path} == "H"')
        outer, self._inside = self._inside, f"{word} {read.path}"
        test = self._test(n.Occurrence(read.start, read.end))
        self._inside = outer
        return n.OverValues(token.start, test.end, word, read, test)

    def _refuse_nesting(self, token: Token) -> NoReturn:
        hint = f"inside '{self._inside}' only a field of {self._bound} may be quantified" if self._bound else ""
        raise ExpressionError(
            f"'{token.text}' inside '{self._inside}' would go through the message again for every one",
            token.start,
            hint,
            len(token.text),
        )

    # -- values

    def _primary(self) -> n.Node:
        token = self._peek
        match token.kind:
            case "string":
                self._next()
                return n.Text(token.start, token.end, lexer.unquote(token))
            case "number":
                self._next()
                if len(token.text) > 100:
                    raise ExpressionError("this number is too long", token.start, "", len(token.text))
                return n.Number(token.start, token.end, Decimal(token.text))
            case "path":
                read = self._read(self._next())
                return read if read.path.field is None else self._check_single(read)
            case "word" if self._tokens[self._at + 1].text == "(" and token.text not in advice.KEYWORDS:
                return self._call(self._next())
            case "symbol" if token.text == "(":
                self._enter(self._next())
                node = self._or()
                self._depth -= 1
                self._expect(")", token, "add )")
                return node
        return self._unexpected("" if self._at == 0 else f"after '{self._tokens[self._at - 1].text[:20]}'")

    def _read(self, token: Token, *, over: bool = False) -> n.Read:
        bound = self._bound is not None and token.text.startswith(self._bound) and token.text[3:4] in ("", "-")
        try:
            # Bound reads have their segment given, and a segment that is gone over is any of the message.
            path = compile_path(token.text, focus=None if bound or over else self._focus)
        except PathError as exc:
            raise _path_error(exc, token) from exc
        return n.Read(token.start, token.end, path, bound and path.field is not None)

    def _call(self, token: Token) -> n.Call:
        function = FUNCTIONS.get(token.text)
        if function is None:
            raise ExpressionError(
                f"there is no function '{token.text[:40]}'",
                token.start,
                advice.for_function(token.text, FUNCTIONS),
                len(token.text),
            )
        self._calls = 1 if self._call_depth == 0 else self._calls + 1
        if self._calls > MAX_CALLS_IN_A_VALUE:
            raise ExpressionError(f"one value may hold {MAX_CALLS_IN_A_VALUE} calls", token.start)
        self._enter(token)
        self._call_depth += 1
        arguments = self._arguments(token, function)
        closing = self._tokens[self._at - 1]
        self._call_depth -= 1
        self._depth -= 1
        return n.Call(token.start, closing.end, token.text, arguments)

    def _arguments(self, token: Token, function: Function) -> tuple[n.Value, ...]:
        opening = self._next()
        arguments: list[n.Value] = []
        while self._peek.text != ")" or arguments:
            if len(arguments) == function.most:
                raise ExpressionError(
                    f"{token.text} takes {function.most} value{'s' * (function.most > 1)}",
                    self._peek.start,
                    f"it is {function.usage}",
                )
            arguments.append(self._argument(token.text, function.parameter(len(arguments))))
            if self._peek.text == ")":
                break
            self._expect(",", opening, "add )")
        closing = self._next()
        if len(arguments) < function.required:
            raise ExpressionError(
                f"{token.text} needs {function.required} value{'s' * (function.required > 1)}",
                closing.start,
                f"it is {function.usage}",
            )
        return tuple(arguments)

    def _argument(self, name: str, parameter: Parameter) -> n.Value:
        node = self._value_only(self._or(), f"{name} takes values, and this is a condition")
        length = node.end - node.start
        if parameter in COUNTS:
            least, most = {"whole from 0": (0, 10**9), "whole from 1": (1, 10**9), "width": (1, MAX_PAD_WIDTH)}[
                parameter
            ]
            if not isinstance(node, n.Number) or node.value % 1 or not least <= node.value <= most:
                raise ExpressionError(
                    f"{name} takes a whole number from {least} to {most} here",
                    node.start,
                    "characters are counted from 1"
                    if parameter == "whole from 1"
                    else f"it is {FUNCTIONS[name].usage}",
                    length,
                )
            return node
        node = self._text_only(node)
        if parameter == "text":
            if name == "number" and isinstance(node, n.Text) and to_number(node.value) is None:
                raise ExpressionError("this text is no number", node.start, "digits with at most one point", length)
            return node
        if parameter == "searched":
            if isinstance(node, n.Text) and not node.value:
                raise ExpressionError("an empty text cannot be replaced", node.start, "", length)
            return node
        if not isinstance(node, n.Text):
            raise ExpressionError(
                f"{name} takes a text in quotes here", node.start, f"it is {FUNCTIONS[name].usage}", length
            )
        self._check_literal(node, name, parameter)
        return node

    def _check_literal(self, node: n.Text, name: str, parameter: Parameter) -> None:
        length = node.end - node.start
        if parameter == "format":
            check_format(node.value, node.start + 1)
        elif parameter == "character" and len(node.value) != 1:
            raise ExpressionError("pad fills with one character", node.start, 'as in pad(x, 8, "0")', length)
        elif parameter == "side" and node.value not in ("left", "right"):
            raise ExpressionError('pad fills on the "left" or on the "right"', node.start, "", length)
        elif parameter == "table" and node.value not in self._tables:
            near = advice.nearest(node.value, self._tables)
            known = near or (
                f"there are {', '.join(sorted(self._tables)[:5])}" if self._tables else "there are no tables"
            )
            raise ExpressionError(f"there is no table '{node.value[:80]}'", node.start, known, length)

    # -- types

    def _condition_only(self, node: n.Node, complaint: str) -> n.Condition:
        if isinstance(node, n.Text | n.Number | n.Read | n.Occurrence | n.Call):
            shown = self._source[node.start : node.end]
            if isinstance(node, n.Read) and node.path.field is None:
                hint = f"did you mean {shown} exists?"
            else:
                hint = f"compare it, or: {shown} is not empty" if len(shown) < 40 else "compare it with something"
            raise ExpressionError(complaint, node.start, hint, node.end - node.start)
        return node

    def _value_only(self, node: n.Node, complaint: str) -> n.Value:
        if not isinstance(node, n.Text | n.Number | n.Read | n.Occurrence | n.Call):
            raise ExpressionError(complaint, node.start, "", node.end - node.start)
        if isinstance(node, n.Read) and node.path.field is None:
            segment = node.path.segment
            raise ExpressionError(
                f"{segment} is a segment and has no value of its own",
                node.start,
                f"name a field, as in {segment}-1; or: {segment} exists, any {segment} (...)",
                node.end - node.start,
            )
        return node

    def _text_only(self, node: n.Node) -> n.Value:
        value = self._value_only(node, "a value is needed here, and this is a condition")
        if isinstance(value, n.Number):
            shown = self._source[value.start : value.end]
            raise ExpressionError(
                "a text is needed here, and this is a number", value.start, f'did you mean "{shown}"?', len(shown)
            )
        return value

    def _check_single(self, read: n.Read) -> n.Read:
        if several(read.path):
            shown = self._source[read.start : read.end]
            raise ExpressionError(
                f"{shown} stands for several values",
                read.start,
                f"write any {shown} ..., all {shown} ..., or [1] for the first",
                len(shown),
            )
        return read

    # -- tokens

    @property
    def _peek(self) -> Token:
        return self._tokens[self._at]

    def _next(self) -> Token:
        token = self._tokens[self._at]
        self._at += token.kind != "end"
        return token

    def _is_word(self, *words: str) -> bool:
        return self._peek.kind == "word" and self._peek.text in words

    def _expect(self, symbol: str, opening: Token, hint: str) -> Token:
        """The next token, which must be `symbol`; `opening` is the bracket that waits for its end."""
        if self._peek.kind == "symbol" and self._peek.text == symbol:
            return self._next()
        if self._peek.kind == "end":
            raise ExpressionError(f"this '{opening.text}' is not closed", opening.start, hint)
        return self._unexpected(f"where '{symbol}' should be")

    def _expect_string(self, word: str, hint: str) -> Token:
        if self._peek.kind != "string":
            self._unexpected(f"after '{word}'", hint)
        return self._next()

    def _enter(self, token: Token) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ExpressionError(
                f"brackets, calls and 'not' may stand {MAX_DEPTH} deep", token.start, "split it into steps"
            )

    def _unexpected(self, where: str, hint: str = "", *, insist: bool = False) -> NoReturn:
        """The error for the token at hand. What the token itself suggests goes before `hint`, unless that `insist`s."""
        token = self._peek
        if token.kind == "end":
            raise ExpressionError(f"the expression ends too early{' ' * bool(where)}{where}", token.start, hint)
        raise ExpressionError(
            f"'{token.text[:40]}' is not expected{' ' * bool(where)}{where}",
            token.start,
            hint if insist else self._advice(token) or hint,
            len(token.text),
        )

    def _advice(self, token: Token) -> str:
        """What the writer of `token` may have meant, where only the token itself can tell."""
        before = self._tokens[self._at - 1] if self._at else None
        if token.kind == "word":
            if before is not None and before.text in ("==", "!=") and token.text in ("null", "empty", "None", "NULL"):
                return (
                    f"did you mean is {'not ' * (before.text == '!=')}{'empty' if token.text == 'empty' else 'null'}?"
                )
            if token.text in advice.KEYWORDS:
                return ""
            known = advice.for_word(token.text, FUNCTIONS)
            return known or f'a text stands in quotes: "{token.text[:40]}"'
        if token.kind == "symbol":
            if token.text == "[" and before is not None and before.kind == "path" and before.end < token.start:
                return "no space inside a path: PID-3[1]"
            if token.text in (")", "]"):
                return f"there is no open {'(' if token.text == ')' else '['} for it"
            if token.text == "," and before is not None:
                return "a list stands in [ ]"
        if (
            token.kind in ("string", "path", "number")
            and before is not None
            and before.kind in ("string", "path", "number")
        ):
            return "an operator is missing, as ==, in, contains, and, or"
        return ""


def _path_error(exc: PathError, token: Token) -> ExpressionError:
    column = min(max(0, exc.column), len(token.text) - 1)
    hint = ""
    if dashed := re.fullmatch(r"(.+-[0-9]+(?:\[.*\])?)-([0-9]+)(?:[-.]([0-9]+))?", token.text):
        hint = f"did you mean {'.'.join(part for part in dashed.groups() if part)}?"
    elif re.match(r" *=(?!=)", token.text[column:]):
        hint = "did you mean ==?"
    return ExpressionError(str(exc), token.start + column, hint)
