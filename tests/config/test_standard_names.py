"""Slips in names of the standard's things: said where they stand, with what was probably meant."""

import pytest

FILE = """\
description: To the RIS
listen: {{mllp: {{port: 2575, host: 127.0.0.1}}}}
accept: [ADT^A01]
{top}
steps:
  - filter: PV1-2 == "I"
{steps}
routes:
  - {{to: ris}}
destinations:
  ris:
    mllp: {{host: ris.example, port: 1}}
{destination}
"""


@pytest.fixture
def found(load):
    def of(top: str = "", steps: str = "", destination: str = "") -> list[tuple[str, str, str]]:
        loaded = load(FILE.format(top=top, steps=steps, destination=destination))
        return [(f.code, f.message, f.hint) for f in loaded.findings if f.code in ("W105", "W130", "W131")]

    return of


NO_PIX = ("W131", "no version of HL7 has a segment PIX", "did you mean PID? a segment of your own begins with Z")


@pytest.mark.parametrize(
    "where",
    [
        {"destination": "    order_by: PIX-3.1"},
        {"destination": '    order_by: PID-3.1\n    priority: PIX-27.6 == "S"'},
        {"destination": "    order_by: coalesce(PIX-3.1, PID-3.1)"},
        {"top": 'from: PIX-3.1 == "HIS"'},
        {"steps": "  - set: {PIX-5: A}"},
        {"steps": "  - set: {PID-5: =upper(PIX-5)}"},
        {"steps": "  - delete: [PIX]"},
        {"steps": "  - each: PIX\n    do:\n      - delete: [PID-3]"},
        {"steps": '  - filter: any PIX (PIX-1 == "A")'},
    ],
)
def test_a_segment_that_no_version_has_is_told_with_the_nearest(found, where):
    assert found(**where) == [NO_PIX]


def test_the_place_is_that_of_the_name(load):
    text = FILE.format(top="", steps="  - set: {PID-5: =upper(PIX-5)}", destination="")
    (finding,) = [f for f in load(text).findings if f.code == "W131"]
    line = text.splitlines()[finding.line - 1]
    assert line[finding.column - 1 :][: finding.length] == "PIX"


@pytest.mark.parametrize(
    "name", ["ZDS-1", "ZZZ-99", "PD1-4", "MSA-2", "PID-40", "OBX[1]-5.3", "QRD-8", "UB1-2", "DRG-1"]
)
def test_what_some_version_has_and_what_is_the_sites_own_passes(found, name):
    assert found(steps=f"  - set: {{PID-5: ={name}}}") == []


def test_a_field_beyond_the_last_of_its_segment_is_told(found):
    ((code, message, _),) = found(destination="    order_by: PID-99")
    assert (code, message) == ("W131", "PID has no field 99 in any version of HL7; its last is PID-40")


def test_each_name_is_told_once_a_text(found):
    assert found(steps='  - filter: PIX-1 == "A" or PIX-1 == "B"') == [NO_PIX]


@pytest.mark.parametrize(("text", "word"), [('\'"I" == "I"\'', "true"), ('\'"PV1-2" == "I"\'', "false")])
def test_a_condition_that_no_message_can_change_is_told(found, text, word):
    ((code, message, _),) = found(steps=f"  - filter: {text}")
    assert (code, message) == ("W130", f"the condition is {word} of every message")


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ("{999: skip}", ["did you mean 199? 'ERR 999' is a code of the receiver's own"]),
        ("{'240, 204': skip}", ["did you mean 204? 'ERR 240' is a code of the receiver's own"]),
        ("{ERR 999: skip, ERR X: hold}", []),
        ("{100: hold, 199: hold, 206: hold, 207: hold, AE: skip, otherwise: hold}", []),
    ],
)
def test_a_number_that_no_table_has_is_told_unless_it_is_said_to_be_the_receivers_own(found, rules, expected):
    assert [hint for _, _, hint in found(destination=f"    on_refused: {rules}")] == expected


def test_what_is_told_of_a_code_does_not_undo_its_rule(load):
    loaded = load(FILE.format(top="", steps="", destination="    on_refused: {999: skip}"))
    assert list(loaded.channels[0].file.destinations["ris"].policy.on_refused.by_code) == ["999"]
