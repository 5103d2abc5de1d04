"""The functions of the language: what each takes, and what each does.

Every function is total: any text in, some text out, '' where there is nothing to say. Only one thing can stop
them, ValueTooLong, when a text grows past MAX_BUILT_CHARS.
"""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from engine.config.expression.dates import format_date
from engine.config.expression.errors import ValueTooLong
from engine.config.expression.limits import MAX_ARGUMENTS, MAX_BUILT_CHARS, MAX_NUMBER_CHARS
from engine.config.table import Table
from engine.hl7.values import parse_number

Parameter = Literal["text", "whole from 0", "whole from 1", "width", "format", "character", "side", "table", "searched"]

COUNTS = frozenset({"whole from 0", "whole from 1", "width"})
"""Parameters that are whole numbers as they stand in the expression."""


@dataclass(frozen=True, slots=True)
class Function:
    """`usage` is shown in errors and in the reference; the last parameter repeats when `repeats`."""

    usage: str
    summary: str
    parameters: tuple[Parameter, ...]
    required: int
    repeats: bool = False

    @property
    def most(self) -> int:
        return MAX_ARGUMENTS if self.repeats else len(self.parameters)

    def parameter(self, position: int) -> Parameter:
        """What stands at `position`, from 0."""
        return self.parameters[min(position, len(self.parameters) - 1)]

    def kinds(self, count: int) -> list[Parameter]:
        """What each of `count` arguments is."""
        return [self.parameter(position) for position in range(count)]


FUNCTIONS: dict[str, Function] = {
    "upper": Function("upper(x)", "in capital letters", ("text",), 1),
    "lower": Function("lower(x)", "in small letters", ("text",), 1),
    "trim": Function("trim(x)", "without white space at either end", ("text",), 1),
    "length": Function("length(x)", "the number of characters", ("text",), 1),
    "substring": Function(
        "substring(x, start[, length])",
        "the part that starts at character `start`, counted from 1, to the end or `length` characters long",
        ("text", "whole from 1", "whole from 0"),
        2,
    ),
    "replace": Function(
        'replace(x, "a", "b")', 'every "a" replaced by "b", from left to right', ("text", "searched", "text"), 3
    ),
    "concat": Function("concat(x, y, ...)", "the texts joined", ("text",), 1, repeats=True),
    "coalesce": Function("coalesce(x, y, ...)", "the first that is not empty, or ''", ("text",), 1, repeats=True),
    "date": Function(
        "date(x[, format])",
        "an HL7 date or time as 2026-11-22, 2026-11 or 2026, as precise as it is; or by a format of "
        "%Y %y %m %d %j %H %M %S %%; '' when it is none, or not as precise as the format asks",
        ("text", "format"),
        1,
    ),
    "number": Function(
        "number(x)",
        "an HL7 number (NM), as text without plus sign and leading zeros; '' when it is none",
        ("text",),
        1,
    ),
    "table": Function(
        'table("tables/x.csv", x[, default])',
        "the value of the row whose key is exactly `x`; without such a row the default, or ''",
        ("table", "text", "text"),
        2,
    ),
    "back": Function(
        'back("tables/x.csv", x[, default])',
        "the way back: the key of the row whose value is exactly `x`; without such a row the default, or ''",
        ("table", "text", "text"),
        2,
    ),
    "pad": Function(
        'pad(x, width[, "0"[, "left"]])',
        "filled up to `width` characters, with blanks on the left unless said otherwise; a longer text stays whole",
        ("text", "width", "character", "side"),
        2,
    ),
}


LOOKUPS = ("table", "back")
"""Functions whose first argument names a code table: from key to value, and from value to key."""


def looked_into(name: str, table: Table) -> Table:
    """The table in the direction of a function. That the way back is not ambiguous is checked with the file (E168)."""
    return table.back()[0] if name == "back" else table


def to_number(text: str) -> Decimal | None:
    """An HL7 NM as it stands, or None when it is none (hl7.md item 49) or too long to be meant as one."""
    return parse_number(text) if len(text) <= MAX_NUMBER_CHARS else None


def number_text(number: Decimal | int | None) -> str:
    """The plain notation, decimals kept as they are: +007.50 is 7.50, -0 is 0; '' for None."""
    if number is None:
        return ""
    return format(number if number else number.copy_abs(), "f") if isinstance(number, Decimal) else str(number)


def substring(text: str, start: int, length: int | None = None) -> str:
    return text[start - 1 :] if length is None else text[start - 1 : start - 1 + length]


def replace(text: str, old: str, new: str) -> str:
    if not old:
        return text
    if len(new) > len(old):
        _check("replace", len(text) + text.count(old) * (len(new) - len(old)), len(text))
    return text.replace(old, new)


def concat(*texts: str) -> str:
    _check("concat", sum(map(len, texts)), max(map(len, texts)))
    return "".join(texts)


def pad(text: str, width: int, fill: str = " ", side: str = "left") -> str:
    return text.rjust(width, fill) if side == "left" else text.ljust(width, fill)


def date(text: str, template: str | None = None) -> str:
    return format_date(text, template)


def _check(name: str, size: int, longest: int) -> None:
    # A text may stay as long as it came, 20 MB of a PDF included; only growing is bounded.
    if size > MAX_BUILT_CHARS and size > longest:
        raise ValueTooLong(f"{name}(...) would make a text of {size} characters; {MAX_BUILT_CHARS} are allowed")


IMPLEMENTATIONS: dict[str, Callable[..., str]] = {
    "upper": str.upper,
    "lower": str.lower,
    "trim": str.strip,
    "substring": substring,
    "replace": replace,
    "concat": concat,
    "pad": pad,
    "date": date,
}
"""All but number, length, coalesce, table and back, which `compile` writes out itself."""
