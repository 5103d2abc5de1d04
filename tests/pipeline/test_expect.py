"""`expect.yaml`: what it asks for is held, what it does not name is not looked at, and its own mistakes are told."""

import pytest

from engine.pipeline.cases import check_case, to_file
from engine.pipeline.expect import read_expectations

STEPS = "- map: {PID-8: t.csv}"
TABLE = {"t.csv": "from,to\nF,2\nM,1\n"}


@pytest.fixture(scope="module")
def sexes(channel):
    return channel(STEPS, files=TABLE).compiled


def render(compiled, raw: bytes, expect: str, **more: bytes) -> str:
    return check_case(compiled, {"in.hl7": to_file([raw]), "expect.yaml": expect.encode(), **more}).render()


GOOD = """\
state: processed
ack: {MSA-1: AA, MSH-9.1: {equals: ACK}}
out.out:
  PID-8: "2"
  PID-5.1: {matches: "Test.*"}
  PID-5.2: {contains: nn}
  PID-19: {empty: true}
  PID-19.2: ""
  PID-3: {empty: false}
  PID: {count: 1}
findings: []
"""


def test_what_is_as_expected_is_good_and_no_other_file_is_needed(sexes, adt):
    outcome = check_case(sexes, {"in.hl7": to_file([adt()]), "expect.yaml": GOOD.encode()})
    assert outcome.render() == ""
    assert outcome.files == {} and outcome.stale == [], "--update writes no file that the case does not have"


@pytest.mark.parametrize(
    ("expect", "told"),
    [
        ("state: held", "expect.yaml:1 state: expected held, got processed"),
        ("ack:\n  MSA-1: AE", 'expect.yaml:2 ack MSA-1: expected "AE", got "AA"'),
        ('out.out:\n  PID-8: F\n  PID-7: ""', 'expect.yaml:2 out.out PID-8: expected "F", got "2"'),
        ("out.out: {PID-8: {matches: '[MF]'}}", 'expect.yaml:1 out.out PID-8: expected a match of [MF], got "2"'),
        ("out.out: {PID-8: {contains: x}}", 'expect.yaml:1 out.out PID-8: expected something with "x" in it, got "2"'),
        ("out.out: {PID-8: {empty: true}}", 'expect.yaml:1 out.out PID-8: expected nothing, got "2"'),
        ("out.out: {ZXX-1: {empty: false}}", "expect.yaml:1 out.out ZXX-1: expected something, got nothing"),
        ("out.out: {PID: {count: 2}}", "expect.yaml:1 out.out PID: expected 2, got 1"),
        ("out.out: nothing", "expect.yaml:1 out.out: expected nothing, got 1 message"),
        ("out.other:\n  PID-8: F", "expect.yaml:1 out.other: expected 1 message, got nothing"),
        ("out.out:\n- PID-8: '2'\n- PID-8: '2'", "expect.yaml:1 out.out: expected 2 messages, got 1 message"),
        ("findings: [E214 PID-8]", "expect.yaml:1 findings: expected E214 PID-8, got none"),
    ],
)
def test_what_is_not_as_expected_is_told_with_its_line(sexes, adt, expect, told):
    assert told in render(sexes, adt(), expect).split("\n")


def test_findings_are_asked_for_by_code_or_by_code_and_place_and_an_empty_list_wants_none(sexes, adt):
    assert render(sexes, adt(sex="X"), "state: held\nfindings: [E214]\nout.out: nothing") == ""
    assert render(sexes, adt(sex="X"), "findings: E214 PID-8") == ""
    assert "expected E214 PID-7, got E214 PID-8" in render(sexes, adt(sex="X"), "findings: [E214 PID-7]")
    assert render(sexes, adt(sex="X"), "findings: []") == "expect.yaml findings: expected none, got E214 PID-8"


def test_states_of_several_messages_are_a_list_and_one_word_is_for_all(sexes, adt):
    files = {"in.1.hl7": to_file([adt()]), "in.2.hl7": to_file([adt()])}

    def of(expect: str) -> str:
        return check_case(sexes, {**files, "expect.yaml": expect.encode()}).render()

    assert of("state: [processed, duplicate]\nout.out: {PID-8: '2'}\nack: [{MSA-1: AA}, {MSA-1: AA}]") == ""
    assert of("state: processed") == "expect.yaml:1 state: expected processed, got processed, duplicate"


def test_the_clock_of_the_case_can_be_set(channel, adt):
    stamped = channel("- python: steps.py:stamp", files={"steps.py": STAMP}).compiled
    expect = 'now: 2026-03-29T01:30:00+01:00\nout.out: {ZTM-1: "2026-03-29T01:30:00+01:00"}\n'
    assert render(stamped, adt(), expect) == ""
    assert render(stamped, adt(), 'out.out: {ZTM-1: "2026-01-02T03:04:05+00:00"}') == ""


STAMP = 'def stamp(message, context):\n    message.set("ZTM-1", context.now.isoformat())\n'


def test_whole_files_beside_it_must_be_right_all_the_same(sexes, adt):
    right = check_case(sexes, {"in.hl7": to_file([adt()])}).files["out.out.hl7"]
    assert render(sexes, adt(), "state: processed", **{"out.out.hl7": right}) == ""
    wrong = right.replace(b"Anna", b"Bert")
    assert "PID-5.2" in render(sexes, adt(), "state: processed", **{"out.out.hl7": wrong})


@pytest.mark.parametrize(
    ("expect", "line", "told"),
    [
        ("", 1, "there is nothing in the file"),
        ("{}", 1, "nothing is expected here"),
        ("[a]", 1, "keys with values are expected"),
        ("state: done", 1, "'done' is no state"),
        ("state: [processed, helt]", 1, "did you mean 'held'?"),
        ("stat: processed", 1, "unknown key 'stat': did you mean 'state'?"),
        ("now: 2026-01-01 12:00", 1, "now is a time with its zone"),
        ("now: noon", 1, "now is a time with its zone"),
        ("out.out: processed", 1, "out.out is `nothing`, places"),
        ("ack:\n  PID5: x", 2, "PID5"),
        ("ack:\n  PID-5: {equal: x}", 2, "'equal' is no way to compare: did you mean 'equals'?"),
        ("ack:\n  PID-5:\n    matches: '('", 3, "PID-5"),
        ("ack:\n  PID-5: {empty: yes}", 2, "empty is true or false"),
        ("ack:\n  PID: {count: many}", 2, "count is a whole number"),
        ("ack:\n  PID-5: [a]", 2, "a text is expected"),
        ("ack:\n  PID-5: x\n  PID-5: y", 3, "PID-5"),
        ("out.: nothing", 1, "unknown key 'out.'"),
        ("ack: {MSA-1: \x00}", 1, "control character"),
    ],
)
def test_a_mistake_in_the_file_fails_the_case_at_its_line(sexes, adt, expect, line, told):
    wrong = read_expectations(expect.encode()).wrong
    assert any(number == line and told in sentence for number, sentence in wrong), wrong
    assert render(sexes, adt(), expect).startswith("expect.yaml")


def test_bytes_that_are_no_utf8_are_told(sexes):
    assert "is not UTF-8" in read_expectations(b"ack: {PID-5: \xe4}").wrong[0][1]


def test_a_body_without_places_is_told(channel, adt):
    rest = "routes: [{to: out}]\ndestinations: {out: {anywhere: {}}}\n"
    made = channel("- convert: json", rest=rest).compiled
    assert render(made, adt(), "out.out: {PID-8: F}") == "", "JSON that we wrote has places as well"


def test_a_destination_that_the_channel_does_not_have_is_told(sexes, adt):
    told = render(sexes, adt(), "out.uot: nothing")
    assert told.startswith("expect.yaml:1 out.uot: expected a destination of the channel, got no such one")
    assert "out.out" in told
    assert render(sexes, adt(), "out.app_ack: nothing") == ""
