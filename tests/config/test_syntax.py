"""Mistakes in the YAML itself: each with its place, its code and the words that help."""

import pytest
import yaml

from engine.config import source as source_module
from engine.config.source import load_yaml

MISTAKES = [
    # text, line, column, code, a part of the message, a part of the hint
    ("a:\n  b: @x\n  c: 1\n", 2, 6, "E113", "begins with @", "single quotes"),
    ("a: %x\nc: 1\n", 1, 4, "E113", "begins with %", "single quotes"),
    ("a: `x`\nc: 1\n", 1, 4, "E113", "begins with `", "single quotes"),
    ("accept: [*]\n", 1, 10, "E113", "begins with *", 'write "*"'),
    ("a: *\nb: 1\n", 1, 4, "E113", "begins with *", 'write "*"'),
    ("name: {date(MSH-7)}/{MSH-10}.hl7\nc: 1\n", 1, 7, "E113", "begins with {", "quotes"),
    ("mllp: {host: ${HOST}, port: 1}\nc: 2\n", 1, 14, "E113", "${...} must be in quotes", '"${NAME}"'),
    ('when: PID-5 == "a: b"\nc: 1\n', 1, 18, "E114", "': ' inside a value", "single quotes"),
    ('when: "HIS" == MSH-3\nc: 1\n', 1, 13, "E113", 'text follows the closing "', "other kind: '...'"),
    ("when: 'HIS' == MSH-3\nc: 1\n", 1, 13, "E113", "text follows the closing '", 'other kind: "..."'),
    ("set: [1] == 2\nc: 1\n", 1, 6, "E113", "begins with [", "quotes"),
    ('a: "abc\nb: 1\nc: 2\n', 1, 4, "E112", 'the quote " is not closed', 'add "'),
    ("a: 'abc\nb: 1\n", 1, 4, "E112", "the quote ' is not closed", "add '"),
    ("accept: [ADT^A01, ADT^A02\nfrom: x\nc: 1\n", 1, 9, "E112", "the bracket [ is not closed", "add ]"),
    ("mllp: {port: 1\nfrom: x\nc: 1\n", 1, 7, "E112", "the bracket { is not closed", "add }"),
    ("a: ]\nb: 1\n", 1, 4, "E112", "the bracket ] was never opened", ""),
    ("a:\n\tb: 1\nc: 1\n", 2, 1, "E118", "a tab cannot indent", "use spaces"),
    ("a:\n  - b: 1\n\t- c: 1\n", 3, 1, "E118", "a tab cannot indent", "use spaces"),
    ("a: 1\nport:2575\nc: 1\n", 2, 6, "E110", "a space is missing", "write port: 2575"),
    ("a: 1\nport:2575\n", 2, 6, "E110", "a space is missing", "write port: 2575"),
    ("a: 1\nlonely\nb: 1\n", 2, 1, "E110", "a key without a value", "key: value"),
    ("a: 1\n   b: 2\nc: 1\n", 2, 4, "E118", "a key cannot begin here", "indentation"),
    ("a:\n  host:ris.local\n  port: 1\nc: 1\n", 2, 3, "E110", "a space is missing", "write host: ris.local"),
    ("a:\n  - host:ris.local\n\n    port: 1\nc: 1\n", 2, 5, "E110", "a space is missing", "write host: ris"),
    ("a:\n  MSH-5 RIS\n  MSH-6: X\nc: 1\n", 2, 3, "E110", "a colon is missing", "write MSH-5: RIS"),
    ("a:\n    b: 2\n  c: 1\nd: 1\n", 3, 3, "E118", "indented differently", "same column"),
    ("a:\n  - x: 1\n - y: 2\nd: 1\n", 3, 2, "E118", "indented differently", "same column"),
    ("a: > 5\nb: 2\n", 1, 4, "E113", "begins with >", "single quotes"),
    ("a: |x\nb: 2\n", 1, 4, "E113", "begins with |", "single quotes"),
    ("a: - b\nc: 1\n", 1, 4, "E113", "begins with '- '", "new line"),
    ('a: "\\d+"\nb: 1\n', 1, 5, "E113", "a backslash begins an escape", "single quotes"),
    ("a: [1 2, ,3]\n", 1, 10, "E113", "the , does not fit", "quotes"),
    ('a: {PID-2.1: =PID-3[5 == "MR"].1}\nb: 1\n', 1, 20, "E113", "the [ does not fit", "quotes"),
    ("a: 1\nfrom:\u00a0x\nc: 1\n", 2, 6, "E110", "not a plain one (U+00A0)", "type a space"),
    ('a: "b\nb: 1\nc: "d"\ne: "f"\ng: [1]\n', 1, 4, "E112", 'the quote " is not closed', 'add "'),
    ("a: 'b\nb: 1\nc: 'd'\ne: 'f'\ng: [1]\n", 1, 4, "E112", "the quote ' is not closed", "add '"),
    ("a:\n  - n: 1\n    f: 2\n   - n: 3\n    f: 4\nc: 1\n", 4, 4, "E118", "indented differently", "same column"),
    ("{a: 1}: 2\n", 1, 1, "E110", "a key must be a text", "quotes"),
    ('ä: "ö😀" x\n', 1, 9, "E113", "text follows the closing", ""),
]


@pytest.fixture(params=["C", "Python"], autouse=True)
def _parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyYAML has two parsers with words of their own; what we say is the same."""
    if request.param == "Python":
        monkeypatch.setattr(source_module, "_LOADER", yaml.SafeLoader)
    elif not yaml.__with_libyaml__:
        pytest.skip("PyYAML has no C parser here")


@pytest.mark.parametrize(("text", "line", "column", "code", "message", "hint"), MISTAKES)
def test_a_mistake_has_one_finding_with_its_place_and_what_to_do(
    text: str, line: int, column: int, code: str, message: str, hint: str
) -> None:
    _, findings = load_yaml(text, "f.yaml")
    assert [(f.line, f.column, f.code) for f in findings] == [(line, column, code)]
    assert message in findings[0].message
    assert hint in findings[0].hint


@pytest.mark.parametrize(("text", "line", "column", "code"), [m[:4] for m in MISTAKES])
def test_a_mistake_does_not_hide_another_further_down(text: str, line: int, column: int, code: str) -> None:
    if text.startswith(("a: 'abc", 'a: "abc', "{a: 1}")):
        return  # an open quote takes the rest of the file, and nothing can follow a mapping that is the file
    more = text.rstrip("\n") + "\nfirst: 1\nzz: 1\nzz: 2\n"
    _, findings = load_yaml(more, "f.yaml")
    places = [(f.line, f.column, f.code) for f in findings]
    assert places == [(line, column, code), (more.count("\n"), 1, "E111")]


def test_an_unclosed_quote_is_reported_once_and_the_lines_below_are_read() -> None:
    node, findings = load_yaml('a: "x\nb: 1\nb: 2\n', "f.yaml")
    assert [(f.line, f.code) for f in findings] == [(1, "E112"), (3, "E111")]
    assert node is not None


def test_nothing_is_said_of_a_value_that_could_not_be_read() -> None:
    _, findings = load_yaml("mllp:\n\tport: 1\nport: @x\n", "f.yaml")
    assert [(f.line, f.code) for f in findings] == [(2, "E118"), (3, "E113")]
