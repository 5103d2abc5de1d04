"""Mistakes in the YAML itself, in words that help someone who does not know YAML, and how to read on after one."""

import re
from dataclasses import dataclass, replace
from typing import Final

import yaml

from engine.config.finding import ConfigFinding, at
from engine.config.node import Source

_LINE_WITH_KEY = re.compile(r"(?P<lead>\s*(?:- +)*)(?P<key>[^\s#:'\"\[\]{}&*!|>%@`,-][^:'\"#\[{]*?)\s*:(?=\s|$)")
_LINE_OF_LIST = re.compile(r"(?P<lead>\s*(?:- +)+)\S")
_GLUED = re.compile(r"\s*(?:- +)*(?P<name>[A-Za-z_][\w.-]*):(?P<rest>[^\s:/].*)")
_APART = re.compile(r"\s*(?:- +)*(?P<name>[A-Za-z_][\w.-]*) +(?P<rest>[^\s:]+)\s*")
_ODD_BLANK = re.compile(r"^[^:]*:(?P<blank>[^\S \t])")
TAB: Final = "a tab cannot indent a line"
_IN_SINGLE_QUOTES = "put the whole value in single quotes: '...'"


@dataclass(slots=True, frozen=True)
class Trouble:
    """One mistake, and the lines (from 1) that cannot be read because of it. `is_column`: it begins in another column
    than what stands above."""

    finding: ConfigFinding
    lines: tuple[int, ...]
    is_column: bool = False


def explain(source: Source, readable: str, error: yaml.MarkedYAMLError) -> Trouble:
    """What the parser's error means for the person who typed the line. `readable`: the text that was parsed.

    Decided by what stands in the file at the error's place, not by the parser's words: PyYAML's two
    parsers word them differently.
    """
    mark = error.problem_mark or error.context_mark
    if not source.text:
        return Trouble(ConfigFinding("E110", source.file, 1, 1, 1, "this cannot be read"), ())
    index = min(mark.index if mark else 0, len(source.text) - 1)
    context = error.context or ""
    begun = min(error.context_mark.index, index) if error.context_mark else index
    if "quoted scalar" in context:
        return _in_quotes(source, error, begun, index)
    if (begins := _left_open(readable, source, index)) is not None:
        return _not_closed(source, begins)
    if "simple key" in context or "expected ':'" in (error.problem or ""):
        return _without_colon(source, begun)
    if "flow" in context:
        return _in_brackets(source, begun, index)
    if "block scalar" in context:
        sign = source.text[begun]
        return _trouble(source, begun, "E113", f"a value that begins with {sign} must be in quotes", _IN_SINGLE_QUOTES)
    if "alias" in context or "anchor" in context or "tag" in context or "directive" in context:
        sign = source.text[begun]
        return _trouble(source, begun, "E113", f"a value that begins with {sign} must be in quotes", f'write "{sign}"')
    return _in_a_line(source, error, index)


def repair(text: str, trouble: Trouble, aside: set[int]) -> str | None:
    """The text with the trouble's lines set aside, every other character where it was; None where that is no use.

    A line that is still in the way becomes a comment.
    """
    source = Source("", text)
    for number in trouble.lines:
        start, body = source.starts[number - 1], source.line(number)
        mended = _as_comment(body) if number in aside else _set_aside(body)
        if mended == body:
            return None
        text = text[:start] + mended + text[start + len(body) :]
    return text if trouble.lines else None


def _set_aside(line: str) -> str:
    """The same number of characters, with an empty text for a value; a comment where there is no key."""
    plain = line.replace("\t", " ")
    if "\t" in line and plain.rstrip().endswith(":") and _LINE_WITH_KEY.fullmatch(plain.rstrip()):
        return plain  # what stands below it is read as its own
    glued = _GLUED.match(plain)
    if glued is not None and len(glued["rest"]) >= 3:
        kept = plain[: glued.start("rest")]
        return kept + " ''" + " " * (len(plain) - len(kept) - 3)
    for pattern in (_LINE_WITH_KEY, _LINE_OF_LIST):
        found = pattern.match(plain)
        if found is None:
            continue
        kept = found.group() if pattern is _LINE_WITH_KEY else found.group("lead")
        room = len(plain) - len(kept)
        if room >= 3:
            return kept.replace("\t", " ") + " " + "''" + " " * (room - 3)
        if pattern is _LINE_OF_LIST and room >= 2:
            return kept + "''" + " " * (room - 2)
    return _as_comment(line)


def _as_comment(line: str) -> str:
    return "#" * len(line)


def _trouble(
    source: Source, index: int, code: str, message: str, hint: str, *, length: int = 1, lines: tuple[int, ...] = ()
) -> Trouble:
    place = source.position(index, length)
    return Trouble(at(place, code, message, hint), lines or (place.line,))


def _in_quotes(source: Source, error: yaml.MarkedYAMLError, begun: int, index: int) -> Trouble:
    if "escape" in (error.problem or ""):
        if source.text[index] != "\\":
            index -= 1
        hint = "in double quotes write \\\\ for \\, or put the value in single quotes"
        return _trouble(source, index, "E113", "a backslash begins an escape here", hint, length=2)
    return _not_closed(source, begun)


def _not_closed(source: Source, begun: int) -> Trouble:
    quote = source.text[begun]
    line = source.position(begun).line
    return _trouble(source, begun, "E112", f"the quote {quote} is not closed", f"add {quote} at its end", lines=(line,))


def _left_open(readable: str, source: Source, index: int) -> int | None:
    """Where the quote begins that swallowed lines up to a quote of another value in this one; None: there is none.

    Without this the mistake would be told at every quote below it, and not where it is.
    """
    line = source.position(index).line
    found = None
    try:
        for token in yaml.scan(readable, Loader=yaml.SafeLoader):
            if token.start_mark.index > index:
                break
            if isinstance(token, yaml.ScalarToken) and token.style in ("'", '"') and token.end_mark.line + 1 == line:
                found = token.start_mark.index if token.start_mark.line < token.end_mark.line else None
    except yaml.MarkedYAMLError:
        pass  # the error that is being explained
    return found


def _in_brackets(source: Source, begun: int, index: int) -> Trouble:
    text = source.text
    opened = text[begun]
    begun_line, line = source.position(begun).line, source.position(index).line
    if opened not in "[{":
        begun = index
        opened = text[index]
    if text[max(0, index - 1) : index + 1] == "${" or (text[index] == "{" and text[index - 1 : index] == "$"):
        hint = 'inside braces and brackets put it in quotes: "${NAME}"'
        return _trouble(source, index - 1, "E113", "${...} must be in quotes here", hint, length=2)
    if (line != begun_line or index >= len(text) - 1) and opened in "[{":
        hint = "add ]" if opened == "[" else "add }"
        return _trouble(source, begun, "E112", f"the bracket {opened} is not closed", hint, lines=(begun_line,))
    if text[index] in "[]{},":
        hint = "inside braces and brackets put a value with any of [ ] { } , in quotes: '...'"
        return _trouble(source, index, "E113", f"the {text[index]} does not fit here", hint)
    if text[index] == ":":
        return _trouble(source, index, "E114", "a colon does not fit here", "put the value in single quotes: '...'")
    return _trouble(source, index, "E112", "a comma or a closing bracket is missing before this", "")


def _without_colon(source: Source, begun: int) -> Trouble:
    place = source.position(begun)
    line = source.line(place.line)
    found = _GLUED.match(line)
    if found is not None:
        column = found.start("rest")
        hint = f"write {found['name']}: {found['rest'].strip()[:40]}"
        start = begun - (place.column - 1) + column
        return _trouble(source, start, "E110", "a space is missing after the colon", hint)
    if (odd := _ODD_BLANK.search(line)) is not None:
        message = f"the blank after the colon is not a plain one (U+{ord(odd['blank']):04X})"
        hint = "type a space in its place; such blanks come with text copied from documents and web pages"
        return _trouble(source, begun - (place.column - 1) + odd.start("blank"), "E110", message, hint)
    length = len(line.strip())
    return _trouble(source, begun, "E110", "a key without a value", "write it as key: value", length=length)


def _in_a_line(source: Source, error: yaml.MarkedYAMLError, index: int) -> Trouble:
    text = source.text
    place = source.position(index)
    line = source.line(place.line)
    before = line[: place.column - 1]
    char = text[index] if index < len(text) else ""
    if ("\t" in before and not before.strip()) or char == "\t":
        tab = index - (place.column - 1) + line.index("\t")
        return _trouble(source, tab, "E118", TAB, "use spaces")
    value = re.match(r"\s*(?:- +)*(?:[^\s:]+: +)?(?P<value>.*)", before)
    begins = value["value"][:1] if value else ""
    if begins and begins in "\"'[{" and value is not None:
        start = index - (place.column - 1) + value.start("value")
        if begins in "\"'":
            other = "'" if begins == '"' else '"'
            hint = f"put the whole value in quotes of the other kind: {other}...{other}"
            return _trouble(source, index, "E113", f"text follows the closing {begins}", hint)
        return _trouble(
            source, start, "E113", f"a value that begins with {begins} must be in quotes", "put it in quotes: '...'"
        )
    if char in "@`%" and char:
        return _trouble(source, index, "E113", f"a value that begins with {char} must be in quotes", _IN_SINGLE_QUOTES)
    if char == ":":
        return _second_colon(source, index, before)
    if char in "]}":
        return _trouble(source, index, "E112", f"the bracket {char} was never opened", "")
    if char == "-" and before.strip():
        return _trouble(source, index, "E113", "a value that begins with '- ' must be in quotes", "or begin a new line")
    hint = "keys of one mapping, and entries of one list, begin in the same column"
    length = len(line.strip()) or 1
    found = _trouble(source, index, "E118", "this line is indented differently from those above", hint, length=length)
    return replace(found, is_column=True)


def _second_colon(source: Source, index: int, before: str) -> Trouble:
    if ":" in before.rstrip() and re.search(r":\s", before):
        hint = "put the whole value in single quotes: '...'"
        return _trouble(source, index, "E114", "': ' inside a value makes it a key to YAML", hint)
    if (above := _above(source, source.position(index).line)) is not None:
        return above
    start = index - len(before.lstrip())
    hint = "check its indentation, and whether the line above is complete"
    return _trouble(source, start, "E118", "a key cannot begin here", hint, length=len(before.strip()))


def _above(source: Source, line_number: int) -> Trouble | None:
    """`host:ris.local` and `host ris.local` are texts to YAML; it stumbles over the key in the next line only."""
    for number in range(line_number - 1, 0, -1):
        line = source.line(number)
        if not line.strip():
            continue
        found = _GLUED.match(line)
        missing = "a space is missing after the colon"
        if found is None:
            found = _APART.fullmatch(line)
            missing = "a colon is missing after the key"
        if found is None:
            return None
        hint = f"write {found['name']}: {found['rest'].strip()[:40]}"
        start = source.starts[number - 1] + found.start("name")
        return _trouble(source, start, "E110", missing, hint, length=len(found["name"]))
    return None
