import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config import source as source_module
from engine.config.node import Mapping, Scalar
from engine.config.reading import to_data
from engine.config.source import decode, load_yaml


def plain(text: str) -> Any:
    node, findings = load_yaml(text, "f.yaml")
    assert findings == []
    assert node is not None
    return to_data(node)


def codes(text: str) -> list[tuple[int, int, str]]:
    return [(f.line, f.column, f.code) for f in load_yaml(text, "f.yaml")[1]]


@pytest.mark.parametrize(
    "value", ["NO", "ON", "yes", "010", "08", "12:30:45", "20260101", "2026-01-01", "1e3", "~", "null", "0x1F"]
)
def test_a_value_stays_the_text_that_was_typed(value: str) -> None:
    assert plain(f"a: {value}\n") == {"a": value}


@pytest.mark.parametrize(
    "line",
    [
        'when: OBX-2 == "ED"',
        'filter: PV1-2 in ["I", "O", "E"]',
        'PID-2.1: =PID-3[5 == "MR"].1',
        "MSH-9.1: =MSH-9.1",
        'when: not (PID-8 == "F" and PV1 exists) or MSH-3 matches "A.*"',
        "host: ${RIS_HOST:-ris.local}",
        "accept: http://x",
    ],
)
def test_expressions_and_paths_need_no_quotes(line: str) -> None:
    key, _, value = line.partition(": ")
    assert plain(f"- {line}\n") == [{key: value}]


def test_every_value_knows_its_line_and_column() -> None:
    data = plain('a: 1\nb:\n  - "x": {k: v}\n')
    inner = data["b"][0]["x"]["k"]
    assert (inner.position().line, inner.position().column) == (3, 14)
    assert (data["b"][0].node.position.line, data["b"][0].node.position.column) == (3, 5)


def test_the_second_of_two_equal_keys_is_refused_and_the_first_named() -> None:
    _, (finding,) = load_yaml("a: 1\nb: 2\na: 3\n", "f.yaml")
    assert (finding.line, finding.column, finding.code) == (3, 1, "E111")
    assert "the first is in line 1" in finding.message


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a: &x 1\n", (1, 4)),
        ("a: *x\n", (1, 4)),
        ("a: !x y\n", (1, 4)),
        ("a: !!int 3\n", (1, 4)),
        ("<<: {b: 1}\n", (1, 1)),
        ("a: &x {b: 1}\n", (1, 4)),
    ],
)
def test_anchors_aliases_tags_and_merge_keys_are_refused(text: str, place: tuple[int, int]) -> None:
    assert codes(text) == [(*place, "E115")]


def test_an_alias_bomb_costs_what_its_text_costs() -> None:
    lines = ["a0: &a0 [x]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    node, findings = load_yaml("\n".join(lines), "f.yaml")
    assert isinstance(node, Mapping)
    assert {f.code for f in findings} == {"E115"}


def test_nesting_has_a_bound_and_the_rest_is_still_read() -> None:
    deep = "a: " + "[" * 200 + "]" * 200 + "\nb: 1\nb: 2\n"
    assert [c for _, _, c in codes(deep)] == ["E117", "E111"]


def test_a_second_document_is_refused() -> None:
    assert codes("a: 1\n---\nb: 1\n") == [(2, 1, "E117")]


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "\n\n"])
def test_an_empty_file_is_said_to_be_empty(text: str) -> None:
    assert codes(text) == [(1, 1, "E109")]


def test_a_key_without_a_value_is_refused_and_an_empty_text_is_not() -> None:
    assert codes("a:\nb: ''\nc: []\n") == [(1, 1, "E109")]
    assert codes("a: [1, ]\nb:\n  - x\n  -\n") == [(4, 3, "E109")]


def test_a_missing_space_after_a_colon_in_braces_is_named() -> None:
    _, (finding,) = load_yaml("m: {port:2575}\n", "f.yaml")
    assert finding.hint == "write port: 2575"


def test_what_a_hash_would_cut_off_an_expression_is_noticed() -> None:
    assert codes('when: PID-5 == "a #1"\n') == [(1, 19, "E114")]
    assert codes("""when: 'PID-5 == "a #1"'\n""") == []
    assert codes('when: PID-5 == "a" # "quoted" remark\n') == []


def test_a_byte_that_is_no_utf8_has_a_line_and_a_column() -> None:
    _, (finding,) = decode("a: 1\nb: ü".encode() + b"\xfc\n", "f.yaml")
    assert (finding.line, finding.column, finding.code) == (2, 5, "E116")
    for codec in ("utf-16", "utf-16-le", "utf-16-be"):
        _, (finding,) = decode("a: 1\n".encode(codec), "f.yaml")
        assert finding.message == "the file is UTF-16"


def test_a_byte_order_mark_moves_no_column() -> None:
    text, _ = decode(b"\xef\xbb\xbfa: 1\na: 2\n", "f.yaml")
    assert codes(text) == [(2, 1, "E111")]


def test_a_file_over_a_megabyte_is_not_read() -> None:
    _, (finding,) = decode(b"a" * 1_000_001, "f.yaml")
    assert finding.code == "E117"


def test_control_characters_are_named_and_the_rest_is_read() -> None:
    assert codes("a: x\x0by\nb: 1\nb: 2\n") == [(1, 5, "E116"), (3, 1, "E111")]


@given(st.text(max_size=200))
def test_no_text_brings_the_reader_down_and_every_place_is_in_the_file(text: str) -> None:
    _, findings = load_yaml(text, "f.yaml")
    lines = [*re.split(r"\r\n|\r|\n", text), ""]
    for finding in findings:
        assert 1 <= finding.line <= len(lines)
        assert 1 <= finding.column <= len(lines[finding.line - 1]) + 1


@given(st.text(alphabet="ab:-[]{}\"'#&*!|>%@ \n\t=?,${}", max_size=60))
def test_no_yaml_like_text_brings_the_reader_down(text: str) -> None:
    node, findings = load_yaml(text, "f.yaml")
    assert node is not None or findings


def test_repairs_are_bounded_in_number_and_so_in_time() -> None:
    text = "".join(f"k{i}: @x\nl{i}: 1\n" for i in range(3000))
    assert len(codes(text)) == source_module.MAX_TROUBLES


def test_a_scalar_is_its_typed_text_between_its_marks() -> None:
    node, _ = load_yaml("a: some text  # remark\n", "f.yaml")
    assert isinstance(node, Mapping)
    value = node.items[0][1]
    assert isinstance(value, Scalar)
    assert value.source.text[value.start : value.end] == "some text"


def test_a_tab_in_one_entry_of_a_list_is_told_once_and_not_as_a_mistake_of_all_below_it() -> None:
    text = "steps:\n\t- name: one\n    filter: a\n  - name: two\n    filter: b\n  - name: three\n    filter: c\nx: @y\n"
    _, findings = load_yaml(text, "f")
    assert [(one.code, one.line) for one in findings] == [("E118", 2), ("E113", 8)]
    _, several = load_yaml("a: 1\n\tb: 2\nc: 3\n\td: 4\n", "f")
    assert [(one.code, one.line) for one in several if one.message.startswith("a tab")] == [("E118", 2), ("E118", 4)]
