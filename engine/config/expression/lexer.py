"""Expression text to tokens.

```text
STRING   "..." or '...'; escapes \\\\ \\" \\' \\n \\r \\t \\uXXXX
NUMBER   [+-]?digits[.digits], ASCII digits
PATH     an HL7 path as the standard writes it, with no space outside its brackets: PID-3[5 == "MR"].1
WORD     letters, digits and _ : keywords and function names
others   == != < <= > >= ( ) [ ] ,
```

A path starts with a segment name (a capital letter, then two capitals or digits) that no letter, digit or _
follows, and takes every `[...]`, `-`, `.`, digit and letter that touches it; `engine.hl7.path` judges it.
"""

import re
from dataclasses import dataclass
from typing import Literal, NoReturn

from engine.config.expression import advice
from engine.config.expression.errors import ExpressionError
from engine.config.expression.limits import MAX_TEXT_CHARS

Kind = Literal["string", "number", "path", "word", "symbol", "end"]

SPACE = " \t\r\n"

_SEGMENT = re.compile(r"[A-Z][A-Z0-9]{2}(?![A-Za-z0-9_])")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LOWER_PATH = re.compile(r"[A-Za-z][A-Za-z0-9]{2}[-.]\d+(?:[.-]\d+){0,2}(?![A-Za-z0-9_])")
_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?(?![A-Za-z0-9_.])")
_PATH_TAIL = re.compile(r"[-.][A-Za-z0-9_*]*")
_SYMBOL = re.compile(r"==(?!=)|!=(?!=)|<=|>=|<(?!>)|>|[()\[\],]")
_ESCAPES = {"\\": "\\", '"': '"', "'": "'", "n": "\n", "r": "\r", "t": "\t"}
_SHOUTED = frozenset({"AND", "NOT", "ANY", "ALL"})


@dataclass(frozen=True, slots=True)
class Token:
    """`text` is the source as written, `[start, end)` its columns."""

    kind: Kind
    text: str
    start: int
    end: int


def tokens(source: str) -> list[Token]:
    """All tokens of `source`, an `end` token last. Raises ExpressionError."""
    if len(source) > MAX_TEXT_CHARS:
        raise ExpressionError(
            f"the expression has {len(source)} characters; {MAX_TEXT_CHARS} are allowed",
            MAX_TEXT_CHARS,
            "put long lists into a table",
        )
    found: list[Token] = []
    at = 0
    while True:
        while at < len(source) and source[at] in SPACE:
            at += 1
        if at == len(source):
            found.append(Token("end", "", at, at))
            return found
        token = _token(source, at)
        found.append(token)
        at = token.end


def unquote(token: Token) -> str:
    """The text that a STRING token means. Raises ExpressionError for an escape that is none."""
    body = token.text[1:-1]
    if "\\" not in body:
        return body
    out: list[str] = []
    at = 0
    while at < len(body):
        if body[at] != "\\":
            out.append(body[at])
            at += 1
            continue
        letter = body[at + 1]  # never past the end: a string does not end in an odd backslash
        code = body[at + 2 : at + 6]
        if letter in _ESCAPES:
            out.append(_ESCAPES[letter])
            at += 2
        elif letter == "u" and re.fullmatch("[0-9A-Fa-f]{4}", code) and not 0xD800 <= int(code, 16) <= 0xDFFF:
            out.append(chr(int(code, 16)))
            at += 6
        else:
            raise ExpressionError(
                "this backslash starts no known escape",
                token.start + 1 + at,
                r"a backslash itself is written \\; the escapes are \\ \" \' \n \r \t \u00e9",
                2,
            )
    return "".join(out)


def _token(source: str, at: int) -> Token:
    character = source[at]
    if character in "\"'":
        return _string(source, at)
    if _SEGMENT.match(source, at) and not (
        source[at : at + 3] in _SHOUTED and source[at + 3 : at + 4] not in ("-", "[", ".")
    ):
        return _path(source, at)
    if lower := _LOWER_PATH.match(source, at):
        wrong = lower.group()
        raise ExpressionError(f"'{wrong}' is no path", at, f"did you mean {_as_path(wrong)}?", len(wrong))
    for kind, pattern in (("word", _WORD), ("number", _NUMBER), ("symbol", _SYMBOL)):
        if match := pattern.match(source, at):
            return Token(kind, match.group(), at, match.end())  # type: ignore[arg-type]  # the three literals above
    return _refuse(source, at)


def _string(source: str, at: int) -> Token:
    end = at + 1
    while end < len(source):
        if source[end] == source[at]:
            return Token("string", source[at : end + 1], at, end + 1)
        end += 2 if source[end] == "\\" else 1
    raise ExpressionError(
        "this text has no closing quote", at, f"end it with {source[at]}; a quote inside is written \\{source[at]}"
    )


def _path(source: str, at: int) -> Token:
    end = at + 3
    if source[end : end + 1] == ".":
        while tail := _PATH_TAIL.match(source, end):
            end = tail.end()
        text = source[at:end]
        raise ExpressionError(f"'{text}' is no path", at, f"did you mean {_as_path(text)}?", len(text))
    while end < len(source):
        if source[end] == "[":
            end = _bracket(source, end)
        elif tail := _PATH_TAIL.match(source, end):
            end = tail.end()
        else:
            break
    return Token("path", source[at:end], at, end)


def _bracket(source: str, at: int) -> int:
    """The column behind the `]` that closes the `[` at `at`; brackets in texts do not count."""
    depth = 0
    here = at
    while here < len(source):
        if source[here] in "\"'":
            here = _string(source, here).end
            continue
        depth += {"[": 1, "]": -1}.get(source[here], 0)
        here += 1
        if depth == 0:
            return here
    raise ExpressionError("this bracket is not closed", at, "add ]")


def _as_path(wrong: str) -> str:
    numbers = re.split("[-.]", wrong[4:].rstrip(".-")) if len(wrong) > 4 else []
    return wrong[:3].upper() + ("-" + ".".join(numbers) if numbers and numbers[0] else "-1")


def _refuse(source: str, at: int) -> NoReturn:
    for wrong, hint in advice.SYMBOLS:
        if source.startswith(wrong, at):
            raise ExpressionError(f"'{wrong}' means nothing here", at, hint, len(wrong))
    if source[at].isdigit() or source[at] in "+-":
        end = at + 1
        while end < len(source) and (source[end].isalnum() or source[end] in "._"):
            end += 1
        raise ExpressionError(
            "this is no number",
            at,
            "a number is digits with at most one point, as in -7.5; there is no arithmetic; text stands in quotes",
            end - at,
        )
    shown = f"'{source[at]}'" if source[at].isprintable() else f"the character U+{ord(source[at]):04X}"
    raise ExpressionError(f"{shown} means nothing here", at, "text stands in quotes")
