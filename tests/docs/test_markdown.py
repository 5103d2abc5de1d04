"""The reader of documentation blocks, which the other tests here rely on."""

from pathlib import Path

import pytest

from engine.testing.markdown import blocks, commands, prints


@pytest.fixture
def page(tmp_path: Path):
    def write(text: str) -> Path:
        path = tmp_path / "page.md"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_a_block_has_its_language_what_it_is_about_and_its_line(page):
    found = blocks(page("# Title\n\n```yaml channels/adt/channel.yaml\na: 1\n\nb: 2\n```\ntext\n```\nplain\n```\n"))
    assert [(b.language, b.about, b.line, b.text) for b in found] == [
        ("yaml", "channels/adt/channel.yaml", 4, "a: 1\n\nb: 2\n"),
        ("", "", 10, "plain\n"),
    ]


def test_a_language_may_have_digits(page):
    assert [(b.language, b.about) for b in blocks(page("```hl7 a.hl7\nMSH|\n```\n"))] == [("hl7", "a.hl7")]


def test_a_block_in_a_list_loses_its_indent(page):
    (found,) = blocks(page("1. one\n\n   ```yaml\n   a:\n     b: 1\n   ```\n"))
    assert found.text == "a:\n  b: 1\n"


def test_an_open_fence_is_an_error(page):
    with pytest.raises(ValueError, match=r"page\.md:2"):
        blocks(page("text\n```yaml\na: 1\n"))


def test_commands_come_with_what_they_print_and_their_exit_code(page):
    text = "```console\n$ one\nout\nmore\n(exits with 1)\n$ two \\\n> three\n$ four\n```\n"
    (block,) = blocks(page(text))
    assert [(c.text, c.output, c.exit_code) for c in commands(block)] == [
        ("one", "out\nmore", 1),
        ("two \\\nthree", "", 0),
        ("four", "", 0),
    ]


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("a b", "a b\n", True),
        ("took ... ms", "took 12 ms", True),
        ("first\n...\nlast", "first\n1\n2\nlast", True),
        ("a  b", "  a b", True),
        ("a", "a\nb", False),
        ("", "anything", False),
        ("...", "anything", True),
        ("a.c", "abc", False),
        ("took 16 us", "took 1,234 us", True),
        ("took 16 us", "took us", False),
        ("1 2026-01-02 03:04:05 AA", "1 2027-12-31 23:59:59 AA", True),
        ("2026-01-02 03:04:05,123 INFO x", "2026-11-26 05:07:30,001 INFO x", True),
        ("|20260102030405+0000||", "|20261126050730+0000||", True),
        ("|20260102030405+0100||", "|20261126050730+0100||", False),  # a message's own
        ("|ACK^A01^ACK|0AD564D94|P", "|ACK^A01^ACK|1BE67AE05|P", True),
        ("|ACK^A01^ACK|TRY1|P", "|ACK^A01^ACK|TRY2|P", False),
        ("59 answers/s", "1,234 answers/s", True),
        ("ana (uid 1000): reason", "root (uid 0): reason", True),
        ("3 queued, 9s", "3 queued, 12s", True),
        ("3 queued", "4 queued", False),
    ],
)
def test_output_is_compared_line_by_line_with_room_for_what_changes(shown, printed, same):
    assert prints(shown, printed) is same
