"""`matches` patterns: RE2 only, so that a match takes time linear in the value (reliability.md E2, section 4.3).

RE2 knows no lookaround, no backreference, no atomic group and no possessive repeat; each is refused by name and place.
"""

import re2

from engine.config.expression.errors import ExpressionError
from engine.config.expression.limits import MAX_PATTERN_BYTES, MAX_PATTERN_CHARS

# Longest first where one begins another. Only outside of escapes and character classes.
_CONSTRUCTS = (
    ("(?=", "lookahead"),
    ("(?!", "negative lookahead"),
    ("(?<=", "lookbehind"),
    ("(?<!", "negative lookbehind"),
    ("(?>", "an atomic group"),
    ("(?P=", "a backreference"),
    ("(?P>", "a subroutine call"),
    ("(?&", "a subroutine call"),
    ("(?R", "recursion"),
    ("(?(", "a conditional group"),
    ("(?|", "a branch reset"),
    ("(?#", "a comment"),
    ("*+", "a possessive repeat"),
    ("++", "a possessive repeat"),
    ("?+", "a possessive repeat"),
    ("}+", "a possessive repeat"),
)
_ESCAPES = {
    **dict.fromkeys("123456789", "a backreference"),
    "k": "a backreference",
    "g": "a backreference",
    "Z": r"the anchor \Z",
    "G": r"the anchor \G",
    "K": r"the escape \K",
    "R": r"the escape \R",
    "h": r"the escape \h",
    "X": r"the escape \X",
    "u": r"the escape \u",
}
_INSTEAD = {
    "lookahead": "write two conditions joined by and",
    "negative lookahead": "write two conditions joined by and not",
    "lookbehind": "write two conditions joined by and",
    "negative lookbehind": "write two conditions joined by and not",
    r"the anchor \Z": "matches is for the whole value already",
    r"the escape \u": r"write the character itself, or \x{00E9}",
    r"the escape \h": r"write [ \t]",
}


class Pattern:
    """A compiled pattern; calling it tells whether the whole of a value matches."""

    __slots__ = ("_fullmatch", "text")

    def __init__(self, text: str) -> None:
        """Raises re2.error or UnicodeEncodeError; use `compile_pattern`."""
        options = re2.Options()
        options.max_mem = MAX_PATTERN_BYTES
        options.log_errors = False
        options.never_capture = True
        options.dot_nl = True  # "." is any character: a value with a line break is still one value
        self.text = text
        self._fullmatch = re2.compile(text, options).fullmatch

    def __call__(self, value: str) -> bool:
        try:
            data = value.encode()
        except UnicodeEncodeError:
            # Bytes that its charset did not know stand in the text as lone surrogates: one unknown character each.
            data = value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()
        return self._fullmatch(data) is not None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pattern) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)


def compile_pattern(text: str, column: int) -> Pattern:
    """`text` compiled; `column` is where it starts in the expression. Raises ExpressionError."""
    if len(text) > MAX_PATTERN_CHARS:
        raise ExpressionError(f"the pattern has {len(text)} characters; {MAX_PATTERN_CHARS} are allowed", column)
    _refuse_constructs(text, column)
    try:
        return Pattern(text)
    except UnicodeEncodeError as exc:
        raise ExpressionError("the pattern holds half a character", column + exc.start) from exc
    except re2.error as exc:
        raise _error(text, column, exc) from exc


def _refuse_constructs(text: str, column: int) -> None:
    at, in_class = 0, False
    while at < len(text):
        if text[at] == "\\":
            name = _ESCAPES.get(text[at + 1 : at + 2])
            if text.startswith("\\Q", at):  # RE2 takes all up to \E as it stands
                end = text.find("\\E", at)
                at = len(text) if end < 0 else end + 2
                continue
            if name and not in_class:
                raise _unsupported(name, text[at : at + 2], column + at)
            at += 2
            continue
        if in_class:
            in_class = text[at] != "]"
        elif text[at] == "[":
            in_class = True
            at += 1 + text.startswith("^", at + 1)
            at += text.startswith("]", at)  # []...] and [^]...]: the first ] is a member
            continue
        else:
            for construct, name in _CONSTRUCTS:
                if text.startswith(construct, at):
                    raise _unsupported(name, construct, column + at)
        at += 1


def _unsupported(name: str, construct: str, column: int) -> ExpressionError:
    return ExpressionError(
        f"patterns know no {name.removeprefix('a ').removeprefix('an ').removeprefix('the ')} ({construct})",
        column,
        _INSTEAD.get(name, "patterns are RE2, so that none can take long: https://github.com/google/re2/wiki/Syntax"),
        len(construct),
    )


def _error(text: str, column: int, exc: Exception) -> ExpressionError:
    """RE2's message names the piece that is wrong behind a colon; point at it where it is found only once."""
    reason = exc.args[0] if exc.args else "not understood"
    if isinstance(reason, bytes):
        reason = reason.decode("utf-8", "replace")
    what, _, piece = reason.partition(": ")
    place = text.find(piece) if piece and text.count(piece) == 1 else -1
    if "too large" in what:
        return ExpressionError("the pattern needs more memory than one may have", column, "make its repeats smaller")
    return ExpressionError(
        f"this pattern does not compile: {what}" + (f" at {piece}" if piece else ""),
        column + max(0, place),
        "" if "\\" not in piece else r"in matches \d is written \d, without doubling the backslash",
        len(piece) if place >= 0 else max(1, len(text)),
    )
