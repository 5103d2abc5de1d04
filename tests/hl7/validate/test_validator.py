"""What is wrong with a message by the standard: fields, types, tables, lengths, places, and nothing ever raised."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.hl7.errors import UnreadableMessage
from engine.hl7.message import Message
from engine.hl7.profile import NO_PROFILE, Profile, Standard
from engine.hl7.validate import STANDARD_RULES, Validation, Validator
from tests.hl7.validate.conftest import ADT, ORU, Check, found, parsed
from tests.hl7.validate.messages import messages


def adt(**changes: str) -> list[str]:
    """The ADT with other lines, by segment name."""
    return [changes.get(line[:3], line) for line in ADT]


def oru(*obx: str) -> list[str]:
    return [*ORU[:3], *obx]


def test_a_message_by_the_book_has_nothing_wrong(check: Check) -> None:
    assert check(*ADT) == []
    assert check(*ORU) == []


def test_a_required_field_that_is_empty_is_told_where_it_would_be() -> None:
    message = parsed(*adt(PID="PID|1||||Example^Erika"))
    (violation,) = Validator().validate(message).violations
    assert (violation.location, violation.rule, violation.hl7_code) == ("PID-3", "required", "101")
    assert (violation.severity, violation.mode) == ("error", "warn")
    assert violation.text == "PID-3 (Patient Identifier List) is required and empty"
    assert violation.start == violation.end
    assert message.raw[: violation.start].endswith(b"PID|1||")


@pytest.mark.parametrize("text", ["", '""', "^^^", "~", " ", "&"])
def test_what_has_no_value_does_not_count_as_there(check: Check, text: str) -> None:
    assert check(*adt(PID=f"PID|1||{text}||Example^Erika")) == [("PID-3", "required")]


def test_a_field_that_repeats_too_often_is_told_at_the_first_that_is_too_many(check: Check) -> None:
    assert check(*adt(PV1="PV1|1|I~O~E")) == [("PV1-2[2]", "cardinality")]
    assert check(*adt(PV1="PV1|1|I~~")) == []


def test_repetitions_and_occurrences_have_their_number_only_where_there_are_several(check: Check) -> None:
    lines = [*oru("OBX|1|NM|718-7^Hb^LN||13||||||F", "OBX|x|NM|718-7^Hb^LN||13||||||F")]
    assert check(*lines) == [("OBX[2]-1", "datatype.SI")]
    two = check(*adt(PID="PID|1||1^^^A^MR~2^^^B^MR&x||Example^Erika"))
    assert two == [("PID-3[2].5.2", "component.unknown")]


@pytest.mark.parametrize(
    ("data_type", "value", "rule"),
    [
        *[("NM", value, None) for value in ("1", "-1", "+1.5", ".5", "1.", "007")],
        *[("NM", value, "datatype.NM") for value in (">5", "1,5", "<0.1", "1e3", "nan", "1_0", "²", "positive")],
        ("NM", " 5 ", "datatype.blank"),
        *[("SI", value, None) for value in ("0", "1", "007")],
        *[("SI", value, "datatype.SI") for value in ("-1", "1.5", "a")],
        *[("DT", value, None) for value in ("1980", "198001", "19800131", "20240229")],
        *[("DT", value, "datatype.DT") for value in ("1980-01-31", "19800231", "19801301", "20230229", "198")],
        ("DT", "00000000", "datatype.blank"),
        *[("TM", value, None) for value in ("08", "0830", "083015", "083015.1234", "0830+0100")],
        *[("TM", value, "datatype.TM") for value in ("2400", "08:30", "0860")],
        *[
            ("TS", value, None)
            for value in (
                "1980",
                "1980010108",
                "198001010830",
                "19800101083015.1234-0500",
                "20240229",
                "202402290000+0545",
            )
        ],
        *[
            ("TS", value, "datatype.TS")
            for value in (
                "2026-11-22",
                "20261122T10",
                "202613",
                "202611222400",
                "20230229",
                "20260101000000Z",
                "20260101+05",
            )
        ],
        ("TS", "0000", "datatype.blank"),
        ("DTM", "x", "datatype.DTM"),
        ("ST", "anything: <at> all", None),
        ("TX", "a^b", None),
    ],
)
def test_obx_5_is_looked_at_by_its_own_obx_2(check: Check, data_type: str, value: str, rule: str | None) -> None:
    assert check(*oru(f"OBX|1|{data_type}|718-7^Hb^LN||{value}||||||F")) == [
        *([("OBX-2", "table.0125")] if data_type == "SI" else []),
        *([("OBX-5", rule)] if rule else []),
    ]


def test_obx_5_without_a_type_is_text_and_told(check: Check) -> None:
    assert check(*oru("OBX|1||718-7^Hb^LN||13||||||F")) == [("OBX-5", "datatype.OBX-5")]
    assert check(*oru("OBX|1||718-7^Hb^LN||||||||X")) == []


def test_obx_5_of_a_composite_type_is_looked_at_by_its_components(check: Check) -> None:
    assert check(*oru("OBX|1|SN|718-7^Hb^LN||>^5||||||F")) == []
    assert check(*oru("OBX|1|SN|718-7^Hb^LN||>^five||||||F")) == [("OBX-5.2", "datatype.NM")]
    assert check(*oru("OBX|1|ED|PDF^Report^L||^AP^^Base64^JVBERi0=||||||F")) == []


def test_an_obx_2_that_is_no_type_is_told_and_obx_5_is_text(check: Check) -> None:
    assert check(*oru("OBX|1|QQ|718-7^Hb^LN||13||||||F")) == [("OBX-2", "table.0125")]


def test_codes_of_hl7s_own_tables_are_errors_and_suggested_ones_are_information() -> None:
    lines = adt(MSH=ADT[0].replace("|P|", "|Q|"), PID=ADT[2][:-1] + "W")
    by_rule = {v.rule: v for v in Validator().validate(parsed(*lines)).violations}
    assert (by_rule["table.0103"].severity, by_rule["table.0103"].hl7_code) == ("error", "103")
    assert (by_rule["table.0001"].severity, by_rule["table.0001"].mode) == ("information", "observe")


def test_a_table_that_an_old_version_borrows_is_no_more_than_a_warning() -> None:
    lines = [ORU[0].replace("|2.5", "|2.3"), *ORU[1:3], "OBX|1|NM|718-7^Hb^LN||13||||||Q"]
    (violation,) = [v for v in Validator().validate(parsed(*lines)).violations if v.rule.startswith("table")]
    assert (violation.location, violation.rule, violation.severity) == ("OBX-11", "table.0085", "warning")


def test_codes_with_a_coding_system_of_their_own_are_left_alone(check: Check) -> None:
    assert check(*adt(PID=ADT[2] + "||2106-3^White^HL70005")) == []
    assert check(*adt(PID=ADT[2] + "||W^White^HL70005")) == [("PID-10", "table.0005")]
    assert check(*adt(PID=ADT[2] + "||W^White^99LOCAL")) == []


def test_events_of_a_site_are_codes_too(check: Check) -> None:
    lines = adt(MSH=ADT[0].replace("ADT^A01^ADT_A01", "ZAD^Z01^ZAD_Z01"))
    assert check(*lines) == []


def test_lengths_are_warnings_and_end_with_2_6(check: Check) -> None:
    long = adt(MSH=ADT[0].replace("M1", "M" * 30))
    (violation,) = Validator().validate(parsed(*long)).violations
    assert (violation.location, violation.rule, violation.severity) == ("MSH-10", "length", "warning")
    newer = [long[0].replace("|2.5", "|2.7"), *long[1:]]
    assert ("MSH-10", "length") not in check(*newer)


def test_a_length_is_that_of_the_value_not_of_its_escapes(check: Check) -> None:
    assert check(*adt(MSH=ADT[0].replace("M1", "\\T\\" * 20))) == []
    assert check(*adt(MSH=ADT[0].replace("M1", "\\T\\" * 21))) == [("MSH-10", "length")]


def test_values_are_compared_unescaped(check: Check) -> None:
    assert check(*oru("OBX|1|NM|718-7^Hb^LN||1\\X32\\||||||F")) == []


def test_the_delete_marker_is_passed_over(check: Check) -> None:
    assert check(*adt(PID='PID|1||4711^^^MAIN^MR||Example^Erika||""|""|||""')) == []


def test_withdrawn_and_unknown_places_are_information() -> None:
    lines = [
        "MSH|^~\\&|HIS|MAIN|RIS|RAD|20260301101500||ADT^A01^ADT_A01|M1|P|2.8",
        "EVN||20260301101500",
        "PID|1|4711|4711^^^MAIN^MR||Example^Erika|||||||||||||||||||||||||||||||||||||||||||||x",
        "PV1|1|I",
    ]
    violations = Validator().validate(parsed(*lines)).violations
    assert {(v.location, v.rule, v.severity) for v in violations} == {
        ("PID-2", "field.withdrawn", "information"),
        ("PID-50", "field.unknown", "information"),
    }


def test_unknown_segments_are_told_and_z_segments_are_not(check: Check) -> None:
    assert check(*ADT, "ZXY|1|anything^at&all") == []
    assert check(*ADT, "QQQ|1|2") == [("QQQ", "segment.unknown")]


def test_a_stray_line_of_text_is_not_quoted(check: Check) -> None:
    assert check(*ADT, "patient says hello") == [("segment 5", "segment.unknown")]
    assert check(*ADT, "DOE") == [("segment 5", "segment.unknown")]
    assert check(*ADT, "Miller, Eve|x") == [("segment 5", "segment.unknown")]


def test_no_text_holds_a_value() -> None:
    secret = "Zebedee4711"
    lines = [
        ADT[0].replace("ADT^A01", f"{secret}^A01").replace("|P|", f"|{secret}|"),
        f"EVN|{secret}|{secret}",
        f"PID|{secret}~{secret}|{secret}|{secret}^{secret}^{secret}&{secret}||{secret}||{secret}|{secret}",
        f"PV1|{secret}|{secret}",
        f"OBX|{secret}|{secret}|{secret}||{secret}|",
        f"{secret}|x",
    ]
    violations = Validator().validate(parsed(*lines)).violations
    assert len(violations) > 8
    assert not [v for v in violations if secret in f"{v.location} {v.rule} {v.text}"]


@pytest.mark.parametrize(
    ("before", "charset"),
    [("", "ascii"), ("MÜLLER", "utf-8"), ("MÜLLER", "iso8859-1"), ("山田", "iso2022_jp"), ("山田", "gb18030")],
)
@pytest.mark.parametrize("ends", ["\r", "\n", "\r\n"])
def test_a_span_holds_the_very_bytes(before: str, charset: str, ends: str) -> None:
    declared = {"utf-8": "UNICODE UTF-8", "iso8859-1": "8859/1", "iso2022_jp": "ISO IR87", "gb18030": "GB 18030-2000"}
    header = ADT[0] + "||||||" + declared.get(charset, "")
    lines = [header, ADT[1], f"PID|1||4711^^^MAIN^MR||{before}^Erika||1970-01-02|F", ADT[3]]
    raw = ends.join((*lines, "")).encode(charset)
    validation = Validator().validate(Message.parse(raw))
    spans = {v.rule: raw[v.start : v.end] for v in validation.violations}
    assert spans["datatype.TS"] == b"1970-01-02"


def test_a_span_of_an_edited_message_is_of_what_it_is_now() -> None:
    message = parsed(*ADT)
    message.set("MSH-3", "A-LONGER-NAME")
    message.set("PID-7", "1970-01-02")
    (violation,) = Validator().validate(message).violations
    assert message.to_bytes()[violation.start : violation.end] == b"1970-01-02"


def test_spans_of_parts_are_those_parts() -> None:
    message = parsed(*adt(PID="PID|1||1^^^A^MR~2^^^B&x&BAD^MR||Example^Erika"))
    (violation,) = Validator().validate(message).violations
    assert (violation.location, message.raw[violation.start : violation.end]) == ("PID-3[2].4.3", b"BAD")


def test_violations_come_by_place_in_the_message(check: Check) -> None:
    validation = Validator().validate(parsed("MSH|^~\\&|||||x||ADT^A01^ADT_A01|1|P|2.5", "PID|y", "PV1|z", "OBX|w"))
    starts = [violation.start for violation in validation.violations]
    assert starts == sorted(starts)
    assert len(starts) > 5


def test_what_is_beyond_the_limit_is_counted_by_rule() -> None:
    lines = oru(*["OBX|x|NM|718-7^Hb^LN||high||||||F" for _ in range(50)])
    validation = Validator(limit=10).validate(parsed(*lines))
    assert len(validation.violations) == 10
    assert dict(validation.left_out) == {"datatype.SI": 45, "datatype.NM": 45}
    assert validation.left_out_count == 90


def test_the_version_is_msh_12_s_or_the_profile_s() -> None:
    message = parsed(*adt(MSH=ADT[0].replace("|2.5", "|2.9^DEU")))
    assert Validator().validate(message).version == "2.8.2"
    assert Validator(Profile("old", version="2.3")).validate(message).version == "2.3"


def test_what_is_odd_about_msh_9_is_information() -> None:
    other = Validator().validate(parsed(*adt(MSH=ADT[0].replace("A01^ADT_A01", "A08^ADT_A08"))))
    assert other.structure == "ADT_A01"
    assert ("MSH-9.3", "structure.declared") in found(other)
    none = Validator().validate(parsed(*adt(MSH=ADT[0].replace("ADT^A01^ADT_A01", "ADT^A99"))))
    assert none.structure is None
    assert ("MSH-9", "structure.unknown") in found(none)


def test_of_a_batch_header_only_itself_is_looked_at() -> None:
    validation = Validator().validate(Message.parse(b"FHS|^~\\&|A|B\rBHS|^~\\&|A|B\rBTS|x\r"))
    assert validation.structure is None
    assert found(validation) == []


def test_modes_follow_the_profile_and_a_default_does_not_lift_what_is_less_than_an_error() -> None:
    strict = Validator(Profile("strict", standard=Standard("reject")))
    lines = adt(MSH=ADT[0].replace("M1", "M" * 30), PID="PID|1||4711^^^MAIN^MR||Example^Erika||x|W")
    modes = {v.rule: v.mode for v in strict.validate(parsed(*lines)).violations}
    assert modes == {"length": "warn", "datatype.TS": "reject", "table.0001": "observe"}


def test_an_exception_of_the_profile_counts_whatever_a_rule_weighs() -> None:
    standard = Standard("warn", {"table.0001": "reject", "length MSH-10": "off", "datatype": "observe"})
    validator = Validator(Profile("own", standard=standard))
    lines = adt(MSH=ADT[0].replace("M1", "M" * 30), PID="PID|1||4711^^^MAIN^MR||Example^Erika||x|W")
    modes = {v.rule: v.mode for v in validator.validate(parsed(*lines)).violations}
    assert modes == {"datatype.TS": "observe", "table.0001": "reject"}


def test_off_is_off(check: Check) -> None:
    profile = replace(NO_PROFILE, standard=Standard("off"))
    assert check("MSH|^~\\&|||||x||ADT^A01^ADT_A01|||2.5", "PID|y", "QQQ|1", "PV1|1|Q|||||||", profile=profile) == []


def test_every_rule_that_is_found_is_a_known_one() -> None:
    validation = Validator().validate(
        parsed("MSH|^~\\&|||||x||ADT^A01^ADT_A01|||2.5", "PID|y", "QQQ|1", "NTE|1", "PV1|1|Q")
    )
    for violation in validation.violations:
        assert violation.rule in STANDARD_RULES or violation.rule.startswith("table.")


def test_what_is_remembered_does_not_grow_with_what_senders_write() -> None:
    validator = Validator()
    for n in range(50):
        validator.validate(
            parsed(
                f"MSH|^~\\&|||||2026||Q{n}^R{n}^S{n}|1|P|2.5.{n}",
                f"Q{n}X|1",
                f"Z{n:02}|1",
                f"OBX|1|T{n}|1||1",
            )
        )
    assert len(validator._plans) == 2  # 2.5 and 2.5.1
    for plan in validator._plans.values():
        assert set(plan._checks) <= {"MSH", "OBX"}


@settings(max_examples=400, deadline=None)
@given(messages())
def test_nothing_that_can_be_read_raises(raw: bytes) -> None:
    _check_result(raw, VALIDATOR.validate(Message.parse(raw)))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([b"", b"MSH|^~\\&|", b"MSH|^~\\&|A|B|C|D|2026||ADT^A01|1|P|2.5\r"]))
def test_no_bytes_that_can_be_read_raise(tail: bytes, head: bytes) -> None:
    try:
        message = Message.parse(head + tail)
    except UnreadableMessage:
        return
    _check_result(head + tail, VALIDATOR.validate(message))


VALIDATOR = Validator()


def _check_result(raw: bytes, validation: Validation) -> None:
    for violation in validation.violations:
        assert 0 <= violation.start <= violation.end <= len(raw)
        assert violation.location and violation.text


@pytest.mark.parametrize(
    "name",
    [
        b"Zo\xeb \x1b-F\xc4\xef\xea\xe9\xec\xde Pr\x1b-A\xf6benname",  # a shift that the writer of ours would leave out
        b"\x1b-F\xc4\xef\xea\x1b-A \x1b-A\xf6",
        b"Pr\xf6benname",
    ],
)
def test_a_span_holds_the_very_bytes_where_shifts_are_written_in_another_way(name: bytes) -> None:
    head = b"MSH|^~\\&|HIS|MAIN|RIS|RAD|20260301101500||ADT^A01^ADT_A01|M1|P|2.5||||||8859/1~8859/7||ISO 2022-1994\r"
    raw = head + b"EVN||20260301101500\rPID|1||4711^^^MAIN^MR||" + name + b"||1970-01-02|F\rPV1|1|I\r"
    validation = Validator().validate(Message.parse(raw))
    spans = {v.rule: raw[v.start : v.end] for v in validation.violations}
    assert spans["datatype.TS"].endswith(b"1970-01-02") and b"|" not in spans["datatype.TS"]
    assert all(0 <= v.start <= v.end <= len(raw) for v in validation.violations)
