"""A text that a newcomer meant as an expression: told, as no message could show it."""

import pytest

FILE = """\
listen: {{mllp: {{port: 2575}}}}
steps:
  - set:
      PID-2: {value}
routes:
  - {{to: out}}
destinations:
  out:
    file: {{folder: out}}
"""


@pytest.fixture
def told(load):
    def of(value: str) -> list[tuple[int, int, str, str]]:
        found = [f for f in load(FILE.format(value=value)).findings if f.code == "W190"]
        return [(f.line, f.column, f.message, f.hint) for f in found]

    return of


@pytest.mark.parametrize("value", ["PID-3.1", "OBX-5", "upper(PID-5.1)", "coalesce(PID-3.1,PID-2)"])
def test_a_path_or_a_call_without_its_sign_is_told(told, value):
    expected = f"write ={value} for its value"
    assert told(value) == [(4, 14, f"'{value}' is written as this very text", expected)]


def test_where_quotes_would_be_needed_the_hint_does_not_spell_it_out(told):
    ((_, _, _, hint),) = told("PID-3[2].1")
    assert hint == "put = before it for its value"


@pytest.mark.parametrize(
    "value",
    ["=PID-3.1", "RIS", "PID", "ABC-1", "PID-3x", "UB-12-C", "see PID-3.1", "upper", "shout(PID-5)", '"(none)"', "A-1"],
)
def test_other_texts_are_texts(told, value):
    assert told(value) == []
