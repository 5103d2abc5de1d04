"""What each built-in step does to a message, in the words of the channel's author."""

import pytest

from engine.pipeline.answer import AnswerSettings, decide
from engine.testing import messages

TABLE = {"tables/sex.csv": "from,to\nF,2\nM,1\n"}


def note(*texts: str) -> list[str]:
    return [f"NTE|{number}||{text}" for number, text in enumerate(texts, 1)]


# -- filter ---------------------------------------------------------------------------------------


def test_a_message_that_passes_the_filter_goes_on_unchanged(channel, adt):
    assert channel('- filter: PV1-2 == "I"').run(adt()).deliveries[0].body is None


def test_a_message_that_does_not_pass_is_filtered_and_delivered_nowhere(channel, adt):
    result = channel('- filter: PV1-2 == "I"').run(adt(patient_class="O"))
    assert (result.state, result.deliveries) == ("filtered", [])
    assert [(f.code, f.severity) for f in result.findings] == [("W201", "information")]


def test_steps_behind_a_filter_do_not_run(channel, adt):
    steps = channel('- filter: PV1-2 == "I"\n- python: steps.py:fail', files={"steps.py": "def fail(m, c): 1/0"})
    assert steps.run(adt(patient_class="O")).state == "filtered"


# -- set ------------------------------------------------------------------------------------------


def test_set_writes_text_as_it_stands(channel, adt):
    assert channel("- set: {MSH-5: RIS}").lines(adt())[0].split("|")[4] == "RIS"


def test_set_writes_the_value_of_an_expression(channel, adt):
    assert "|TESTPERSON^Anna|" in channel("- set: {PID-5.1: =upper(PID-5.1)}").lines(adt())[2]


def test_a_later_value_sees_what_an_earlier_one_wrote(channel, adt):
    out = channel("- set:\n    PID-2: X1\n    PID-4: =PID-2").lines(adt())
    assert out[2].startswith("PID|1|X1|900001^^^NORTH^MR|X1|")


def test_delimiters_in_an_expressions_value_are_escaped(channel, adt):
    assert channel("- set: {PID-2: '=\"R&D|A^B\"'}").lines(adt())[2].startswith("PID|1|R\\T\\D\\F\\A\\S\\B|")


def test_delimiters_in_plain_text_make_structure(channel, adt):
    assert channel("- set: {MSH-9: ADT^A08}").lines(adt())[0].split("|")[8] == "ADT^A08"


def test_structure_is_written_in_the_delimiters_of_the_message(channel):
    raw = b"MSH*$%/!*HIS****20260102**ADT$A01*1*P*2.5\rPID*1\r"
    out = channel(r"- set: {MSH-9: ADT^A08, PID-2: 'a&b~c$d\T\e'}").lines(raw)
    assert out == ["MSH*$%/!*HIS****20260102**ADT$A08*1*P*2.5", "PID*1*a!b%c/S/d&e"]


def test_structure_that_a_message_has_no_delimiter_for_holds_it(channel):
    raw = b"MSH|^|HIS||||20260102||ADT^A01|1|P|2.5\rPID|1\r"
    assert channel("- set: {PID-3: A~B}").findings(raw) == [("E203", "PID-3")]


def test_a_text_the_charset_does_not_have_holds_the_message(channel, adt):
    raw = adt(charset="8859/1")
    assert channel("- set: {PID-5.1: Łódź}").findings(raw) == [("E202", "PID-5")]


@pytest.mark.parametrize(
    ("steps", "place"),
    [
        ("- set: {PID: X}", (3, 11)),
        ("- set: {MSH-2: X}", (3, 11)),
        ("- set: {PID-3.1: A^B}", (3, 20)),
        ("- set: {PID-3: A|B}", (3, 18)),
        ("- set: {'PID-3[2]': A~B}", (3, 23)),
        ('- set: {PID-3: "A\\nB"}', (3, 18)),
    ],
)
def test_what_set_can_never_write_is_found_at_check(mistakes, steps, place):
    assert [found[:3] for found in mistakes(steps)] == [("E107", *place)]


# -- copy -----------------------------------------------------------------------------------------


def test_copy_takes_all_repetitions_and_their_parts_along(channel, adt):
    out = channel("- copy: {PID-2: PID-3}").lines(adt(national_id="N7"))
    assert out[2].startswith("PID|1|N7^^^NATION^NI~900001^^^NORTH^MR|N7^^^NATION^NI~900001^^^NORTH^MR|")


def test_copy_keeps_escapes_as_they_stand(channel, adt):
    assert "|A\\T\\B|A\\T\\B" in channel("- copy: {NTE-4: NTE-3}").lines(adt(more=["NTE|1||A\\T\\B"]))[4]


def test_copy_chooses_a_repetition_by_its_content(channel, adt):
    out = channel("- copy: {PID-3: 'PID-3[5 == \"MR\"]'}").lines(adt(national_id="N7"))
    assert out[2].startswith("PID|1||900001^^^NORTH^MR||")


def test_an_absent_source_leaves_an_empty_target(channel, adt):
    assert channel("- copy: {PID-5: PID-9}").lines(adt())[2].startswith("PID|1||900001^^^NORTH^MR||||")


@pytest.mark.parametrize(
    "steps",
    [
        "- copy: {PID: PV1}",
        "- copy: {PID-2: PID}",
        "- copy: {PID-2.1: PID-3}",
        "- copy: {'PID-2[1]': PID-3}",
        "- copy: {PID-2.1.1: PID-3.1}",
        "- copy: {PID-2: 'PID-3[*]'}",
        "- copy: {PID-2: MSH-2}",
    ],
)
def test_a_copy_that_could_never_fit_is_found_at_check(mistakes, steps):
    assert [found[0] for found in mistakes(steps)] == ["E107"]


# -- delete ---------------------------------------------------------------------------------------


def test_delete_removes_all_segments_of_a_name(channel, adt):
    out = channel("- delete: [NTE]").lines(adt(more=note("a", "b")))
    assert [line[:3] for line in out] == ["MSH", "EVN", "PID", "PV1"]


def test_segments_are_chosen_before_any_is_removed(channel, adt):
    out = channel('- delete: ["NTE[1]", "NTE[2]"]').lines(adt(more=note("a", "b", "c")))
    assert out[4:] == ["NTE|3||c"]


def test_delete_empties_a_field_of_every_segment(channel, oru):
    out = channel("- delete: [OBX-8]").lines(oru(observations=[messages.HAEMOGLOBIN] * 2))
    assert [line.split("|")[8] for line in out if line.startswith("OBX")] == ["", ""]


def test_deleting_what_is_not_there_leaves_every_byte(channel, adt):
    assert channel("- delete: [NTE, PID-19, ZZZ-3, 'OBX[*]-17']").run(adt()).deliveries[0].body is None


@pytest.mark.parametrize("path", ["MSH", "MSH-1", "MSH-2", "'MSH[1]'"])
def test_what_a_message_needs_cannot_be_deleted(mistakes, path):
    assert [found[0] for found in mistakes(f"- delete: [{path}]")] == ["E107"]


# -- map ------------------------------------------------------------------------------------------


def test_map_writes_what_stands_beside_the_value(channel, adt):
    assert channel("- map: {PID-8: tables/sex.csv}", files=TABLE).lines(adt())[2].split("|")[8] == "2"


def test_a_value_without_a_row_is_held_unless_said_otherwise(channel, adt):
    result = channel("- map: {PID-8: tables/sex.csv}", files=TABLE).run(adt(sex="X"))
    assert (result.state, result.deliveries) == ("held", [])
    assert [(f.code, f.location, f.hl7_code) for f in result.findings] == [("E214", "PID-8", "103")]


def test_a_finding_never_says_the_value(channel, adt):
    result = channel("- map: {PID-5.1: tables/sex.csv}", files=TABLE).run(adt(family="SECRETNAME"))
    assert "SECRETNAME" not in repr(result.findings)


@pytest.mark.parametrize(
    ("otherwise", "state", "code", "value"),
    [
        ("reject", "rejected", "E214", None),
        ("keep", "processed", "W204", "X"),
        ("default(9)", "processed", "W204", "9"),
        ("default()", "processed", "W204", ""),
    ],
)
def test_otherwise_says_what_a_value_without_a_row_comes_to(channel, adt, otherwise, state, code, value):
    made = channel(f"- map: {{PID-8: tables/sex.csv, otherwise: {otherwise}}}", files=TABLE)
    result = made.run(adt(sex="X"))
    assert (result.state, [f.code for f in result.findings]) == (state, [code])
    if value is not None:
        assert made.lines(adt(sex="X"))[2].split("|")[8] == value


@pytest.mark.parametrize(
    ("rule", "location", "hl7_code"),
    [
        ("MSH-11: [T]", "MSH-11", "202"),
        ("MSH-11.1: [T]", "MSH-11.1", "202"),
        ('MSH-12.1: ["2.3"]', "MSH-12.1", "203"),
        ("MSH-9.1: [ORU]", "MSH-9.1", "200"),
        ("MSH-9.2: [A02]", "MSH-9.2", "201"),
        ("MSH-3: [LAB]", "MSH-3", "103"),
    ],
)
def test_a_header_that_is_not_taken_is_rejected_with_its_own_code(channel, adt, rule, location, hl7_code):
    result = channel(f"- validate: {{values: {{{rule}}}}}").run(adt())
    assert [(f.code, f.location, f.hl7_code) for f in result.findings] == [("E212", location, hl7_code)]
    decision, errors = decide(result, AnswerSettings())
    assert (decision, errors[0].hl7_code) == ("error" if hl7_code == "103" else "reject", hl7_code)


@pytest.mark.parametrize("sex", ["", '""'])
def test_empty_values_and_the_delete_marker_are_left_as_they_are(channel, adt, sex):
    assert channel("- map: {PID-8: tables/sex.csv}", files=TABLE).run(adt(sex=sex)).deliveries[0].body is None


def test_a_star_maps_every_place_and_names_each_miss(channel, oru):
    codes = [messages.HAEMOGLOBIN._replace(flags=flag) for flag in ("F", "X", "M", "Y")]
    made = channel("- map: {'OBX[*]-8': tables/sex.csv}", files=TABLE)
    assert made.findings(oru(observations=codes)) == [("E214", "OBX[2]-8"), ("E214", "OBX[4]-8")]
    out = made.lines(oru(observations=[codes[0], codes[2]]))
    assert [line.split("|")[8] for line in out if line.startswith("OBX")] == ["2", "1"]


def test_a_star_maps_every_repetition(channel, adt):
    out = channel("- map: {'PID-3[*].5': t.csv}", files={"t.csv": "from,to\nNI,NAT\nMR,MRN\n"}).lines(
        adt(national_id="N7")
    )
    assert out[2].split("|")[3] == "N7^^^NATION^NAT~900001^^^NORTH^MRN"


def test_every_miss_of_a_step_is_told(channel, adt):
    made = channel("- map: {PID-8: tables/sex.csv, PV1-2: tables/sex.csv}", files=TABLE)
    assert made.findings(adt(sex="X")) == [("E214", "PID-8"), ("E214", "PV1-2")]


@pytest.mark.parametrize(
    ("steps", "code"),
    [
        ("- map: {PID-8: tables/sex.csv, otherwise: drop}", "E105"),
        ("- map: {PID-8: tables/sex.csv}\n  otherwise: hold", "E101"),
        ("- map: {PID: tables/sex.csv}", "E107"),
        ("- map: {PID-8: tables/none.csv}", "E132"),
        ("- map: {otherwise: hold}", "E106"),
    ],
)
def test_a_map_that_cannot_work_is_found_at_check(mistakes, steps, code):
    assert [found[0] for found in mistakes(steps, files=TABLE)] == [code]


@pytest.mark.parametrize(
    ("path", "before", "after"),
    [
        ("ZZZ-1", "F^text^sys~G", "2^text^sys~G"),
        ("ZZZ-1", "F&x^text", "2&x^text"),
        ("ZZZ-1.1", "F&x^text", "2&x^text"),
        ("'ZZZ-1[2]'", "a~F^text", "a~2^text"),
        ("'ZZZ-1[*]'", "F^a~M&x", "2^a~1&x"),
        ("ZZZ-1.2", "a^F&x^b", "a^2&x^b"),
    ],
)
def test_what_stands_beside_the_mapped_value_stays(channel, adt, path, before, after):
    made = channel(f"- map: {{{path}: tables/sex.csv}}", files=TABLE)
    assert made.lines(adt(more=[f"ZZZ|{before}"]))[-1] == f"ZZZ|{after}"


# -- each -----------------------------------------------------------------------------------------


def three(*types: str) -> list[messages.Observation]:
    return [messages.HAEMOGLOBIN._replace(value_type=name, value=f"v{n}") for n, name in enumerate(types, 1)]


def obx(lines: list[str], field: int) -> list[str]:
    return [line.split("|")[field] for line in lines if line.startswith("OBX")]


def test_each_runs_its_steps_for_every_segment(channel, oru):
    out = channel("- each: OBX\n  do:\n    - set: {OBX-5: '=concat(OBX-2, OBX-5)'}").lines(
        oru(observations=three("NM", "ST", "NM"))
    )
    assert obx(out, 5) == ["NMv1", "STv2", "NMv3"]


def test_when_chooses_among_the_segments(channel, oru):
    out = channel('- each: OBX\n  when: OBX-2 == "ST"\n  do:\n    - set: {OBX-5: X}').lines(
        oru(observations=three("NM", "ST", "NM"))
    )
    assert obx(out, 5) == ["v1", "X", "v3"]


def test_a_segment_can_remove_itself(channel, oru):
    out = channel('- each: OBX\n  do:\n    - delete: [OBX]\n      when: OBX-2 == "ST"\n    - set: {OBX-6: seen}').lines(
        oru(observations=three("ST", "ST", "NM", "ST", "NM"))
    )
    assert obx(out, 5) == ["v3", "v5"]


def test_a_finding_inside_names_the_segment_by_its_number(channel, oru):
    steps = "- each: OBX\n  do:\n    - map: {OBX-2: t.csv}"
    made = channel(steps, files={"t.csv": "from,to\nNM,N\n"})
    assert made.findings(oru(observations=three("NM", "ED"))) == [("E214", "OBX[2]-2")]


def test_steps_behind_each_see_the_whole_message_again(channel, oru):
    out = channel("- each: OBX\n  do:\n    - set: {OBX-6: x}\n- set: {OBX-7: first}").lines(
        oru(observations=three("NM", "NM"))
    )
    assert obx(out, 7) == ["first", "12.0-16.0"]


def test_each_inside_each_keeps_both_in_order(channel, oru):
    steps = "- each: OBX\n  do:\n    - each: OBR\n      do:\n        - set: {OBR-30: X}\n    - set: {OBX-6: done}"
    out = channel(steps).lines(oru(observations=three("NM", "NM")))
    assert obx(out, 6) == ["done", "done"]


def test_steps_that_end_a_message_alone_cannot_stand_inside_each(mistakes):
    files = {"steps.py": "def f(m, c): pass\n"}
    found = mistakes('- each: OBX\n  do:\n    - filter: OBX-2 == "NM"\n    - python: steps.py:f', files=files)
    assert [(code, line) for code, line, *_ in found] == [("E107", 5), ("E107", 6)]


# -- validate -------------------------------------------------------------------------------------

RULES = """
- validate:
    required: [PID-3.1, PID-19, ZPI]
    pattern: {PID-7: "[0-9]{8}"}
    values: {PID-8: [M, F, U], PV1-2: tables/sex.csv}
    length: {PID-5.1: 1..5, PID-5.2: 8..20}
"""


def test_every_broken_rule_is_told_with_its_place_and_code(channel, adt):
    result = channel(RULES, files=TABLE).run(adt(sex="X").replace(b"|19700101|", b"|1970-01-01|"))
    assert result.state == "rejected"
    assert [(f.code, f.location, f.hl7_code) for f in result.findings] == [
        ("E210", "PID-19", "101"),
        ("E210", "ZPI", "101"),
        ("E211", "PID-7", "102"),
        ("E212", "PID-8", "103"),
        ("E212", "PV1-2", "103"),
        ("E213", "PID-5.1", "104"),
        ("E213", "PID-5.2", "102"),
    ]


@pytest.mark.parametrize(("mode", "state"), [("reject", "rejected"), ("hold", "held"), ("warn", "processed")])
def test_the_mode_says_what_a_broken_rule_comes_to(channel, adt, mode, state):
    result = channel(f"- validate: {{required: [PID-19], mode: {mode}}}").run(adt())
    assert (result.state, [f.code for f in result.findings]) == (state, ["E210"])
    assert result.findings[0].severity == ("warning" if mode == "warn" else "error")


@pytest.mark.parametrize("sex", ["", '""'])
def test_rules_of_values_ask_nothing_of_an_empty_place_or_the_delete_marker(channel, adt, sex):
    made = channel('- validate: {values: {PID-8: [M]}, pattern: {PID-8: "[A-Z]"}, length: {PID-8: 1}}')
    assert made.run(adt(sex=sex)).state == "processed"


def test_the_delete_marker_is_no_value_where_one_is_required(channel, adt):
    assert channel("- validate: {required: [PID-8]}").findings(adt(sex='""')) == [("E210", "PID-8")]


@pytest.mark.parametrize(
    ("path", "name", "is_missing"),
    [
        ("PID-5", "^Anna", False),
        ("PID-5.1", "^Anna", True),
        ("PID-5", "^^", True),
        ("PID-5", "", True),
        ("PID-5", "~Later", False),
        ("PID-5.1", "&sub", False),
    ],
)
def test_a_place_has_a_value_where_anything_but_delimiters_stands(channel, adt, path, name, is_missing):
    raw = adt().replace(b"Testperson^Anna", name.encode())
    assert bool(channel(f"- validate: {{required: [{path}]}}").findings(raw)) is is_missing


def test_a_star_asks_every_segment(channel, oru):
    made = channel('- validate: {required: ["OBX[*]-5"]}')
    observed = [messages.HAEMOGLOBIN, messages.HAEMOGLOBIN._replace(value="")]
    assert made.findings(oru(observations=observed)) == [("E210", "OBX[2]-5")]


@pytest.mark.parametrize(
    ("rules", "code"),
    [
        ("{pattern: {PID-7: '(a'}}", "E107"),
        ("{pattern: {PID-7: '(?=a)'}}", "E107"),
        ("{length: {PID-7: many}}", "E106"),
        ("{length: {PID-7: 5..2}}", "E106"),
        ("{values: {PID-7: {a: b}}}", "E104"),
        ("{values: {PID: [a]}}", "E107"),
        ("{required: PID-3}", "E104"),
        ("{mode: never}", "E105"),
        ("{requires: [PID-3]}", "E101"),
    ],
)
def test_rules_that_cannot_be_asked_are_found_at_check(mistakes, rules, code):
    assert [found[0] for found in mistakes(f"- validate: {rules}")] == [code]


# -- when and name --------------------------------------------------------------------------------


def test_when_lets_a_step_run_for_some_messages_only(channel, adt):
    made = channel('- set: {MSH-5: RIS}\n  when: PV1-2 == "I"')
    assert made.run(adt(patient_class="O")).deliveries[0].body is None
    assert made.lines(adt())[0].split("|")[4] == "RIS"


def test_a_finding_names_its_step_by_number_kind_and_line(channel, adt):
    made = channel("- set: {MSH-5: RIS}\n- map: {PID-8: tables/sex.csv}", files=TABLE)
    assert made.run(adt(sex="X")).findings[0].step == "2 map PID-8, channel.yaml:4"


def test_a_step_is_called_by_its_own_name_where_it_has_one(channel, adt):
    made = channel("- map: {PID-8: tables/sex.csv}\n  name: sex of the RIS", files=TABLE)
    assert made.run(adt(sex="X")).findings[0].step == "1 sex of the RIS, channel.yaml:3"
