"""Python of a site as it is shown to people: with stars in the place of what is secret (ADR 57).

Read by its tokens, nothing of it runs. Secret are all texts and numbers of a value that is given to a secret name, as
in `password = "..."`, `connect(token="...")`, `{"api_key": "..."}` and `headers["X-Api-Key"] = "..."`; other texts and
comments are looked at line by line, as any file is. What is no Python is looked at so as a whole.
"""

import io
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from engine.config.secret_names import is_secret_key
from engine.config.secrets_shown import Span, hidden_lines, joined, secret_spans_of_lines, with_stars

MOST_LETTERS: Final = 512 * 1024
"""A longer text is looked at line by line: tokens take a second a megabyte."""
_OPENS, _CLOSES = "([{", ")]}"
_LITERALS = {tokenize.STRING, tokenize.NUMBER, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
_TEXTS = _LITERALS - {tokenize.NUMBER}
_ENDS = {tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}


def hidden_python(text: str) -> str:
    """The text with stars in the place of what is secret: as long, with its lines where they were."""
    if len(text) > MOST_LETTERS:
        return hidden_lines(text)
    try:
        return with_stars(text, joined(_spans(text)))
    except (tokenize.TokenError, SyntaxError, ValueError):
        return hidden_lines(text)


@dataclass(slots=True)
class _Part:
    """What stands between two commas, or of a line, within one pair of brackets. `is_secret`: the value in it is."""

    names: list[str] = field(default_factory=list)
    is_secret: bool = False
    is_of_secret: bool = False
    """The brackets stand in a value that is secret."""

    def begin(self) -> None:
        self.names, self.is_secret = [], False


def _spans(text: str) -> Iterator[Span]:
    starts = [0]
    for line in text.split("\n"):
        starts.append(starts[-1] + len(line) + 1)
    parts = [_Part()]
    for token in tokenize.generate_tokens(io.StringIO(text, newline="\n").readline):
        begin, end = (starts[row - 1] + column for row, column in (token.start, token.end))
        part, word = parts[-1], token.string
        is_secret = part.is_secret or part.is_of_secret
        if token.type in _LITERALS:
            if is_secret:
                yield _inside(word, begin, end)
            elif token.type in _TEXTS:
                yield from secret_spans_of_lines(word, begin)
            part.names.append(word.strip("rRbBuUfF\"'"))
        elif token.type == tokenize.COMMENT:
            yield from secret_spans_of_lines(word, begin)
        elif token.type == tokenize.NAME:
            part.names.append(word)
        elif token.type in _ENDS:
            if len(parts) == 1:
                part.begin()
        elif token.type == tokenize.OP:
            _take(word, parts)
        elif token.type == tokenize.ERRORTOKEN and word.strip():  # such as a quote that does not end
            raise SyntaxError("no Python")


def _take(sign: str, parts: list[_Part]) -> None:
    part = parts[-1]
    if sign in _OPENS:
        parts.append(_Part(is_of_secret=part.is_secret or part.is_of_secret))
    elif sign in _CLOSES and len(parts) > 1:
        inner = parts.pop()
        parts[-1].names += inner.names  # as in headers["X-Api-Key"]
    elif sign in (",", ";"):
        part.begin()
    elif sign in ("=", ":=", "+="):
        part.is_secret = part.is_secret or any(is_secret_key(name) for name in part.names)
    elif sign == ":":
        # Of a line it is an annotation where one name stands before it, and else what follows `if` or `def`.
        if part.names and (len(parts) > 1 or len(part.names) == 1):
            part.is_secret = is_secret_key(part.names[-1])
        else:
            part.begin()


def _inside(word: str, begin: int, end: int) -> Span:
    """Without the quotes, where it has some."""
    unmarked = word.lstrip("rRbBuUfF")
    for quote in ('"""', "'''", '"', "'"):
        if unmarked.startswith(quote) and unmarked.endswith(quote) and len(unmarked) >= 2 * len(quote):
            return begin + len(word) - len(unmarked) + len(quote), end - len(quote)
    return begin, end
