"""Findings as people and tools read them: text with the line and a caret, JSON, or GitHub annotations."""

import re
import unicodedata
from collections.abc import Callable, Iterable
from typing import Any, Final, Literal

from engine.config.finding import ConfigFinding
from engine.config.node import Source
from engine.config.secret_names import is_secret_key

Format = Literal["text", "json", "github"]
MAX_SHOWN: Final = 110
"""Columns of a source line that are shown; of a longer one the part around the caret."""

# One word after the other, each looked at once: a page shows text that somebody typed, of which a pattern that begins
# anew at every letter makes hours.
_WORD = re.compile(r"[\w-]++")
_COLON = re.compile(r"[\"']?\s*+:\s*+")
_KEY_AT = re.compile(r"[ -]*")
_REFERENCE = re.compile(r"[\"']?\$\{")


def render(finding: ConfigFinding, source_text: str) -> str:
    """A finding with the line before, the line and a caret, as lines without a last line end.

    `source_text` is the file's text; '' where it cannot be had, and then the hint has its own line.
    """
    lines = [title(finding)]
    source = Source(finding.file, source_text)
    if finding.line < 1 or not source_text or finding.line > len(source.starts):
        if finding.hint:
            lines.append(f"      = {finding.hint}")
        return "\n".join(lines)
    before = source.line(finding.line - 1)
    body, column = _window(hidden(source.line(finding.line)), finding.column)
    if finding.line > 1 and before.strip():
        lines.append(f"{finding.line - 1:5} | {printable(hidden(before))[:MAX_SHOWN]}".rstrip())
    lines.append(f"{finding.line:5} | {body}".rstrip())
    pad = "".join("\t" if c == "\t" else " " * _width(c) for c in body[: column - 1])
    marked = body[column - 1 : column - 1 + max(1, finding.length)]
    caret = "^" * max(1, sum(_width(c) for c in marked))
    lines.append(f"      | {pad}{caret} {finding.hint}".rstrip())
    return "\n".join(lines)


def title(finding: ConfigFinding) -> str:
    """Place, code and message in one line, as editors and CI find them."""
    place = finding.file
    if finding.line:
        place += f":{finding.line}:{finding.column}"
    return f"{place} {finding.code} {finding.message}".lstrip()


def as_json(finding: ConfigFinding) -> dict[str, Any]:
    """A finding for tools. `severity` is error or warning."""
    return {
        "code": finding.code,
        "severity": "error" if finding.is_error else "warning",
        "file": finding.file,
        "line": finding.line,
        "column": finding.column,
        "length": finding.length,
        "message": finding.message,
        "hint": finding.hint,
    }


def as_github(finding: ConfigFinding) -> str:
    """A workflow command of GitHub Actions, shown in the diff of a change."""
    kind = "error" if finding.is_error else "warning"
    places = {"file": finding.file}
    if finding.line:
        places |= {"line": str(finding.line), "col": str(finding.column)}
        places["endColumn"] = str(finding.column + finding.length)
    properties = ",".join(f"{key}={_escaped(value, ',:')}" for key, value in {**places, "title": finding.code}.items())
    text = finding.message + (f" ({finding.hint})" if finding.hint else "")
    return f"::{kind} {properties}::{_escaped(text)}"


def render_all(findings: Iterable[ConfigFinding], read: Callable[[str], str]) -> str:
    """Every finding as text, in order of file and place, with an empty line between; '' for none.

    `read` gives a file's text by the finding's name for it, '' where it cannot be read.
    """
    texts: dict[str, str] = {}
    parts = []
    for finding in sorted(findings, key=lambda one: one.sort_key):
        if finding.file not in texts:
            texts[finding.file] = read(finding.file) if finding.file else ""
        parts.append(render(finding, texts[finding.file]))
    return "\n\n".join(parts)


def _window(line: str, column: int) -> tuple[str, int]:
    """The part of a long line around a column, and the column in it."""
    start = max(0, column - 1 - MAX_SHOWN // 2) if len(line) > MAX_SHOWN else 0
    return printable(line[start : start + MAX_SHOWN]), column - start


def printable(text: str) -> str:
    """Character by character: what does not show, or turns the direction of the text behind it, is a question mark."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\t" else "?" for c in text)


def _width(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in ("W", "F") else 1


def hidden(line: str) -> str:
    """The line with the value of a password or token starred, at its length."""
    at = _secret_at(line)
    return line if at is None else line[:at] + "*" * (len(line) - at)


def secret_lines(lines: Iterable[str]) -> list[bool]:
    """Of YAML: which lines go on with the value of a password or token that an earlier line has the key of."""
    found: list[bool] = []
    deeper: int | None = None
    for line in lines:
        goes_on = deeper is not None and (not line.strip() or len(line) - len(line.lstrip(" ")) > deeper)
        found.append(goes_on)
        if not goes_on:
            key = _KEY_AT.match(line)
            deeper = key.end() if key is not None and _secret_at(line) is not None else None
    return found


def _secret_at(line: str) -> int | None:
    """Where the first value of a password or token begins, or would; None: there is none, or a reference."""
    if ":" not in line:
        return None
    for word in _WORD.finditer(line):
        colon = _COLON.match(line, word.end())
        if colon is not None and is_secret_key(word[0]) and not _REFERENCE.match(line, colon.end()):
            return colon.end()
    return None


def _escaped(text: str, more: str = "") -> str:
    for char in "%\r\n" + more:
        text = text.replace(char, f"%{ord(char):02X}")
    return text
