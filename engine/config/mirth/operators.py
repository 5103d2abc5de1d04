"""Operators, methods and places of a Mirth channel's JavaScript, each as the expression language says it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from engine.config.mirth import terms as t
from engine.config.mirth.terms import Condition, NotExpressible, Value

_PLAIN_PATTERN: Final = re.compile(r"(?:[^\\^$.|?*+()\[\]{}]|\\[^A-Za-z0-9])+")
_FIELD: Final = re.compile(r"[A-Z][A-Z0-9]{2}(?:\.[0-9]{1,3}){1,3}")
_SEGMENT: Final = re.compile(r"[A-Z][A-Z0-9]{2}")


@dataclass(slots=True, frozen=True)
class Measure:
    """`x.length`, or `x.indexOf(y)` with `searched`: good for a comparison and nothing else."""

    of: Value
    searched: Value | None = None


@dataclass(slots=True, frozen=True)
class Pattern:
    """A regular expression as JavaScript writes it: `/x/g`."""

    text: str
    flags: str

    @property
    def plain(self) -> str:
        """The text it stands for. Raises NotExpressible where it stands for more than one."""
        if not _PLAIN_PATTERN.fullmatch(self.text) or "i" in self.flags:
            raise NotExpressible("a regular expression")
        return re.sub(r"\\(.)", r"\1", self.text)


Node = Value | Condition | Measure


def as_value(node: Node) -> Value:
    """Raises NotExpressible where it is no text."""
    if isinstance(node, Measure):
        raise NotExpressible("a number that is worked out")
    if isinstance(node, Condition):
        raise NotExpressible("something true or false where a text must stand")
    return node


def as_condition(node: Node) -> Condition:
    """What JavaScript takes for true."""
    if isinstance(node, Condition):
        return node
    if isinstance(node, Measure):
        if node.searched is not None:
            raise NotExpressible("an indexOf that is not compared")
        return _not_empty(node.of)
    if node.is_xml:
        raise NotExpressible("a node of the message in place of a condition, which is always true: add .toString()")
    if node.is_number or node.literal is not None:
        raise NotExpressible("a fixed value in place of a condition")
    return _not_empty(node)


def _not_empty(value: Value) -> Condition:
    return t.tested(value, "is not empty", wish="X")


def as_text(value: Value) -> Value:
    """`.toString()`."""
    if value.is_number:
        assert value.literal is not None, "numbers are fixed"
        return t.literal(value.literal)
    return Value(value.text, value.reads, value.literal, value.path)


def compared(left: Node, right: Node, *, is_equal: bool) -> Condition:
    """`==` and `!=`, and the strict ones, which are the same for texts."""
    if isinstance(left, Condition) or isinstance(right, Condition):
        return _with_a_constant(left, right, is_equal=is_equal)
    if isinstance(left, Measure) or isinstance(right, Measure):
        return _measured(left, right, "==" if is_equal else "!=")
    if left.literal is not None and right.literal is None:
        left, right = right, left
    if left.literal is not None:
        raise NotExpressible("a comparison of two fixed values")
    if right.literal == "" and not right.is_number:
        return t.tested(left, "is empty", wish="") if is_equal else _not_empty(left)
    return t.tested(left, "==" if is_equal else "!=", right, right.literal if is_equal else None)


def _with_a_constant(left: Node, right: Node, *, is_equal: bool) -> Condition:
    if isinstance(left, Condition) and isinstance(right, Condition) and right.constant is not None:
        return left if right.constant is is_equal else t.negated(left)
    raise NotExpressible("a comparison of something true or false")


def ordered(left: Node, right: Node, operator: str) -> Condition:
    """`<` and its like: for lengths and places of a text; of texts JavaScript's order is another."""
    if isinstance(left, Measure) or isinstance(right, Measure):
        return _measured(left, right, operator)
    raise NotExpressible("a comparison by size")


def _measured(left: Node, right: Node, operator: str) -> Condition:
    if not isinstance(left, Measure) or not isinstance(right, Value) or not right.is_number:
        raise NotExpressible("a comparison of numbers that are worked out")
    number = right.literal
    if left.searched is None:
        if (operator, number) in ((">", "0"), ("!=", "0"), (">=", "1")):
            return _not_empty(left.of)
        if (operator, number) in (("==", "0"), ("<", "1")):
            return t.tested(left.of, "is empty", wish="")
        return Condition(f"length({left.of.text}) {operator} {number}", left.of.reads)
    found = _contains(left.of, left.searched)
    if (operator, number) in (("!=", "-1"), (">", "-1"), (">=", "0")):
        return found
    if (operator, number) in (("==", "-1"), ("<", "0")):
        return t.negated(found)
    if (operator, number) == ("==", "0"):
        return _text_test(left.of, "starts with", left.searched)
    raise NotExpressible("where in a text another stands")


def _contains(value: Value, searched: Value) -> Condition:
    return _text_test(value, "contains", searched)


def _text_test(value: Value, test: str, searched: Value) -> Condition:
    return t.tested(value, test, searched, searched.literal or None)


def concatenated(left: Value, right: Value) -> Value:
    """`+`, which joins texts; of two numbers it would add."""
    if left.is_number and right.is_number:
        raise NotExpressible("arithmetic")
    if left.is_xml and right.is_xml:
        raise NotExpressible("a sum of two nodes of the message: add .toString()")
    if left.literal is not None and right.literal is not None:
        return t.literal(left.literal + right.literal)
    if left.literal == "":
        return as_text(right)
    if right.literal == "":
        return as_text(left)
    return t.call("concat", as_text(left), as_text(right))


def method(value: Value, name: str, arguments: Sequence[Value | Pattern]) -> Node:
    """`value.name(arguments)`."""
    if name in ("toString", "text") and not arguments:
        return as_text(value)
    if value.is_xml:
        raise NotExpressible(f".{t.shown(name)}() of a node of the message: add .toString() before it")
    plain = {"trim": "trim", "toUpperCase": "upper", "toLowerCase": "lower"}
    if name in plain and not arguments:
        return t.call(plain[name], value)
    if name in ("indexOf", "search"):
        return Measure(value, _only_text(name, arguments))
    if name in ("substring", "substr", "slice"):
        return _part(value, name, arguments)
    if name in ("replace", "replaceAll"):
        return _replaced(value, name, arguments)
    tests = {"startsWith": "starts with", "endsWith": "ends with", "contains": "contains", "includes": "contains"}
    if name in tests:
        return _text_test(value, tests[name], _only_text(name, arguments))
    if name == "equals":
        return compared(value, _only_text(name, arguments), is_equal=True)
    if name == "equalsIgnoreCase":
        wanted = _only_text(name, arguments)
        if wanted.literal is None:
            return compared(t.call("lower", value), t.call("lower", wanted), is_equal=True)
        found = compared(t.call("lower", value), t.literal(wanted.literal.lower()), is_equal=True)
        wishes = (t.Wish(value.path, wanted.literal),) if value.path else ()
        return Condition(found.text, found.reads, wishes=wishes)
    if name == "isEmpty" and not arguments:
        return t.tested(value, "is empty", wish="")
    raise NotExpressible(f".{t.shown(name)}()")


def _only_text(name: str, arguments: Sequence[Value | Pattern]) -> Value:
    if len(arguments) != 1 or isinstance(arguments[0], Pattern) or arguments[0].is_number:
        raise NotExpressible(f".{t.shown(name)}() with anything but one text")
    return as_text(arguments[0])


def _part(value: Value, name: str, arguments: Sequence[Value | Pattern]) -> Value:
    numbers: list[int] = []
    for argument in arguments:
        digits = argument.literal if isinstance(argument, Value) and argument.is_number else None
        if digits is None or not digits.isdigit():
            raise NotExpressible(f".{name}() with a place that is worked out")
        numbers.append(int(digits))
    if len(numbers) not in (1, 2):
        raise NotExpressible(f".{name}() with {len(numbers)} places")
    start = t.number(str(numbers[0] + 1))
    if len(numbers) == 1:
        return t.call("substring", value, start)
    length = numbers[1] if name == "substr" else numbers[1] - numbers[0]
    if length < 0:
        raise NotExpressible(f".{name}() with an end before its beginning")
    return t.call("substring", value, start, t.number(str(length)))


def _replaced(value: Value, name: str, arguments: Sequence[Value | Pattern]) -> Value:
    if len(arguments) != 2:
        raise NotExpressible(f".{name}() with anything but two texts")
    old, new = arguments
    if isinstance(new, Pattern) or new.is_number:
        raise NotExpressible(f".{name}() with anything but two texts")
    if isinstance(old, Pattern):
        if "g" not in old.flags:
            raise NotExpressible(".replace() of the first only")
        searched = old.plain
    elif name == "replaceAll" and old.literal is not None:
        searched = Pattern(old.literal, "g").plain  # Java's replaceAll takes a pattern
    else:
        raise NotExpressible(".replace() of the first only")
    if new.literal is None or "$" in new.literal:
        raise NotExpressible(".replace() with a text that is worked out")
    return t.call("replace", value, t.literal(searched), t.literal(new.literal))


def path_of(steps: Sequence[tuple[str, str]]) -> str:
    """An HL7 path of the brackets behind msg: ("name", "PID.3"), ("index", "0"), ("focus", "OBX")."""
    if not steps or steps[0][0] != "name" or not _SEGMENT.fullmatch(steps[0][1]):
        raise NotExpressible("a place that does not begin with a segment, as msg['PID'] does")
    segment = steps[0][1]
    path, numbers = segment, [segment]
    for position, (kind, text) in enumerate(steps[1:], 1):
        behind = steps[position - 1][0]
        if kind == "name":
            parts = text.split(".")
            if not _FIELD.fullmatch(text) or parts[:-1] != numbers or len(parts) > 4:
                raise NotExpressible(f"a place that is none of HL7's: {t.shown(text)} in {t.shown('.'.join(numbers))}")
            path += f"{'-' if len(parts) == 2 else '.'}{int(parts[-1])}"
            numbers = parts
        elif behind != "name":
            raise NotExpressible("two indexes one behind the other")
        elif kind == "focus":
            if len(numbers) != 1 or text != segment:
                raise NotExpressible("an index of an iterator over something else")
        elif len(numbers) <= 2:
            path += _index(path, int(text), position == len(steps) - 1, is_segment=len(numbers) == 1)
        elif text != "0":
            raise NotExpressible("a second one of a component")
    return path


def _index(path: str, index: int, is_last: bool, *, is_segment: bool) -> str:
    """`[1]` only where it says more than the path does without it: the first is read in any case."""
    return f"[{index + 1}]" if index or is_last or is_segment else ""


def writable(path: str) -> str:
    """The path as one that can be set. Raises NotExpressible."""
    if "-" not in path:
        raise NotExpressible("a whole segment that is written")
    if path in ("MSH-1", "MSH-2"):
        raise NotExpressible("the delimiters in MSH-1 and MSH-2")
    return path
