from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config.node import Mapping, Scalar, SourceText
from engine.config.source import load_yaml


def scalar(text: str) -> Scalar:
    node, findings = load_yaml(dedent(text), "f.yaml")
    assert findings == []
    assert isinstance(node, Mapping)
    value = node.items[0][1]
    assert isinstance(value, Scalar)
    return value


def place(text: str, part: str) -> tuple[int, int]:
    value = scalar(text)
    found = SourceText(value.text, value).position(value.text.index(part), len(part))
    assert found is not None
    assert found.length == len(part)
    return found.line, found.column


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("when: PID-8 == BAD\n", (1, 16)),
        ("when: 'PID-8 == BAD'\n", (1, 17)),
        ("when: 'it''s == BAD'\n", (1, 17)),
        ('when: "PID-8 \\"x\\" BAD"\n', (1, 20)),
        ('when: "\\x41\\u0042\\U00000043 BAD"\n', (1, 29)),
        ("when: PID-8 ==\n  BAD\n", (2, 3)),
        ("when: PID-8 ==\n\n\n    BAD\n", (4, 5)),
        ('when: "PID-8 ==\n   BAD"\n', (2, 4)),
        ('when: "PID-8 \\\n   == BAD"\n', (2, 7)),
        ("when: >\n  PID-8 ==\n  BAD\n", (3, 3)),
        ("when: |\n  PID-8 ==\n    BAD\n", (3, 5)),
        ("when: >-\n\n   PID-8 ==\n\n   BAD\n", (5, 4)),
        ("when: ö😀 BAD\n", (1, 10)),
    ],
)
def test_a_part_of_a_value_is_found_where_it_stands_in_the_file(text: str, where: tuple[int, int]) -> None:
    assert place(text, "BAD") == where


def test_what_is_behind_the_end_of_a_value_is_marked_there() -> None:
    value = scalar("when: 'PID-8 =='\n")
    found = SourceText(value.text, value).position(len(value.text), 1)
    assert found is not None
    assert (found.line, found.column) == (1, 16)


@given(st.text(alphabet="ab'\" \\é😀", min_size=1, max_size=30), st.sampled_from("'\""))
def test_every_character_of_a_quoted_value_is_found(text: str, quote: str) -> None:
    body = text.replace("'", "''") if quote == "'" else text.replace("\\", "\\\\").replace('"', '\\"')
    source = f"when: {quote}{body}{quote}\n"
    value = scalar(source)
    assert value.text == text
    for index, char in enumerate(text):
        found = SourceText(text, value).position(index, 1)
        assert found is not None
        shown = source[found.column - 1]
        assert shown == char or (shown == "\\" and char in '\\"')
