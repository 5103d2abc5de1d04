"""What a profile says stands in the place of what the standard says, aspect by aspect; the rest stays."""

from dataclasses import replace

import pytest

from engine.hl7.message import Message
from engine.hl7.profile import (
    NO_PROFILE,
    Cardinality,
    Condition,
    Constant,
    CrossRule,
    DataType,
    Element,
    EventRules,
    FieldDefinition,
    Length,
    Part,
    Pattern,
    Profile,
    Rule,
    Rules,
    SegmentDefinition,
    Standard,
    Usage,
    UsageCode,
    ValueSet,
)
from engine.hl7.validate import Validator
from tests.hl7.validate.conftest import ADT, ORU, Check, parsed

RULE = Rule("own")
INPATIENT = Condition('PV1-2 == "I"', lambda message: message.get("PV1-2") == "I")
OBX = "OBX|1|NM|718-7^Hb^LN||13.5||||||F"


def profile(*elements: Element, parts: tuple[Part, ...] = (), cross: tuple[CrossRule, ...] = ()) -> Profile:
    return replace(NO_PROFILE, rules=Rules(elements, parts, cross))


def usage(code: UsageCode, condition: Condition | None = None, otherwise: UsageCode = "O") -> Usage:
    return Usage(RULE, code, condition, otherwise)


def pid(text: str) -> list[str]:
    return [text if line.startswith("PID") else line for line in ADT]


def test_a_field_is_made_required(check: Check) -> None:
    asked = profile(Element("PID", 18, usage=usage("R")))
    assert check(*ADT, profile=asked) == [("PID-18", "own")]
    assert check(*pid(ADT[2] + "||||||||||A1"), profile=asked) == []


def test_a_field_that_the_standard_requires_may_be_let_off(check: Check) -> None:
    empty = pid("PID|1||||Example^Erika")
    assert check(*empty, profile=profile(Element("PID", 3, usage=usage("RE")))) == []
    assert check(*empty, profile=profile(Element("PID", 3, length=Length(RULE, 0, 10)))) == [("PID-3", "required")]


def test_a_component_is_asked_only_where_its_field_has_a_value(check: Check) -> None:
    asked = profile(Element("PID", 3, 4, usage=usage("R")), Element("PID", 4, 1, usage=usage("R")))
    assert check(*pid("PID|1||1^^^A~2||Example^Erika"), profile=asked) == [("PID-3[2].4", "own")]


def test_a_subcomponent_is_asked_only_where_its_component_has_a_value(check: Check) -> None:
    asked = profile(Element("PID", 3, 4, 2, usage=usage("R")))
    assert check(*pid("PID|1||1^^^A~2||Example^Erika"), profile=asked) == [("PID-3[1].4.2", "own")]
    assert check(*pid("PID|1||1^^^A&1.2||Example^Erika"), profile=asked) == []


def test_a_place_that_is_not_supported_must_be_empty_of_the_delete_marker_too(check: Check) -> None:
    asked = profile(Element("PID", 8, usage=usage("X")), Element("PID", 5, 2, usage=usage("X")))
    assert check(*pid("PID|1||1^^^A||Example"), profile=asked) == []
    assert check(*pid('PID|1||1^^^A||Example^""|||""'), profile=asked) == [("PID-5.2", "own"), ("PID-8", "own")]


@pytest.mark.parametrize(
    ("patient_class", "ward", "broken"),
    [("I", "", True), ("I", "W1", False), ("O", "", False), ("O", "W1", True)],
)
def test_a_conditional_usage_hangs_on_the_message(check: Check, patient_class: str, ward: str, broken: bool) -> None:
    asked = profile(Element("PV1", 3, usage=usage("R", INPATIENT, "X")))
    lines = [*ADT[:3], f"PV1|1|{patient_class}|{ward}"]
    assert check(*lines, profile=asked) == ([("PV1-3", "own")] if broken else [])


def test_a_condition_that_cannot_be_tested_asks_nothing(check: Check) -> None:
    asked = profile(Element("PV1", 3, usage=usage("R", Condition("only people know"))))
    assert check(*ADT, profile=asked) == []


def test_a_condition_is_asked_with_its_segment_in_focus(check: Check) -> None:
    seen: list[int | None] = []

    def test(message: Message) -> bool:
        seen.append(message.focus)
        return True

    message = parsed(*ORU, OBX)
    Validator(profile(Element("OBX", 14, usage=usage("R", Condition("x", test))))).validate(message)
    assert seen == [3, 4]
    assert message.focus is None


def test_cardinality_counts_repetitions_with_a_value(check: Check) -> None:
    asked = profile(Element("PID", 3, cardinality=Cardinality(RULE, 2, 3)))
    assert check(*pid("PID|1||1^^^A~2^^^B||Example^Erika"), profile=asked) == []
    assert check(*pid("PID|1||1^^^A~||Example^Erika"), profile=asked) == [("PID-3", "own")]
    assert check(*pid("PID|1||1~2~~3~4||Example^Erika"), profile=asked) == [("PID-3[5]", "own")]
    assert check(*pid("PID|1||||Example^Erika"), profile=asked) == [("PID-3", "required")]


def test_a_least_number_over_none_asks_for_a_field_that_is_not_there(check: Check) -> None:
    asked = profile(Element("PID", 13, cardinality=Cardinality(RULE, 1, None)))
    assert check(*ADT, profile=asked) == [("PID-13", "own")]


def test_lengths_are_of_the_whole_repetition_unescaped(check: Check) -> None:
    asked = profile(Element("PID", 5, length=Length(RULE, 3, 5)))
    assert check(*pid("PID|1||1^^^A||A\\T\\B^C"), profile=asked) == []
    assert check(*pid("PID|1||1^^^A||AB"), profile=asked) == [("PID-5", "own")]
    assert check(*pid("PID|1||1^^^A||ABCDEF"), profile=asked) == [("PID-5", "own")]


def test_a_longer_length_than_the_standard_s_stands_instead(check: Check) -> None:
    long = [ADT[0].replace("M1", "M" * 30), *ADT[1:]]
    assert check(*long, profile=profile(Element("MSH", 10, length=Length(RULE, 1, 40)))) == []


def test_values_stand_instead_of_the_table(check: Check) -> None:
    asked = profile(Element("PID", 8, values=ValueSet(RULE, frozenset({"W", "Z"}))))
    assert check(*pid("PID|1||1^^^A||Example^Erika|||W"), profile=asked) == []
    assert check(*pid("PID|1||1^^^A||Example^Erika|||F"), profile=asked) == [("PID-8", "own")]


def test_values_may_be_another_table_s(check: Check) -> None:
    asked = profile(Element("PID", 15, values=ValueSet(RULE, table="0001")))
    assert check(*pid("PID|1||1^^^A||Example^Erika||||||||||F^Female"), profile=asked) == []
    assert check(*pid("PID|1||1^^^A||Example^Erika||||||||||Q^Q"), profile=asked) == [("PID-15", "own")]


def test_a_table_with_rows_for_many_codes_asks_nothing(check: Check) -> None:
    asked = profile(Element("PID", 15, values=ValueSet(RULE, table="0396")))  # HL7nnnn stands for HL70005 and its like
    assert check(*pid("PID|1||1^^^A||Example^Erika||||||||||HL70005"), profile=asked) == []


def test_patterns_constants_and_types(check: Check) -> None:
    asked = profile(
        Element("PID", 3, 1, pattern=Pattern(Rule("pattern"), "[0-9]+", lambda value: value.isdigit())),
        Element("MSH", 5, constant=Constant(Rule("constant"), "RIS")),
        Element("PID", 19, data_type=DataType(Rule("type"), "NM")),
    )
    assert check(*ADT, profile=asked) == []
    lines = [ADT[0].replace("|RIS|", "|X|"), ADT[1], "PID|1||A1^^^A||Example^Erika||||||||||||||1-2", ADT[3]]
    assert check(*lines, profile=asked) == [("MSH-5", "constant"), ("PID-3.1", "pattern"), ("PID-19", "type")]


def test_the_delete_marker_is_passed_over_by_all_but_usage(check: Check) -> None:
    asked = profile(
        Element(
            "PID",
            8,
            length=Length(RULE, 1, 1),
            values=ValueSet(RULE, frozenset("F")),
            pattern=Pattern(RULE, "F", lambda value: value == "F"),
            constant=Constant(RULE, "F"),
        )
    )
    assert check(*pid('PID|1||1^^^A||Example^Erika|||""'), profile=asked) == []


def test_a_z_segment_is_defined(check: Check) -> None:
    own = SegmentDefinition("ZBE", "Movement", (FieldDefinition(1, "Id"), FieldDefinition(2, "Since", "DTM")))
    asked = replace(profile(Element("ZBE", 1, usage=usage("R"))), segments={"ZBE": own})
    assert check(*ADT, "ZBE|1|20260301", profile=asked) == []
    assert check(*ADT, "ZBE||yesterday|anything", profile=asked) == [("ZBE-1", "own"), ("ZBE-2", "datatype.DTM")]


def test_something_is_said_of_a_segment_that_the_standard_does_not_have(check: Check) -> None:
    asked = profile(Element("ZZ1", 3, 2, usage=usage("R")))
    assert check(*ADT, "ZZ1|a|b|c", profile=asked) == [("ZZ1-3.2", "own")]


def test_an_element_within_a_group_is_asked_only_there(check: Check) -> None:
    asked = profile(Element("NTE", 4, within="OBSERVATION", usage=usage("R")))
    lines = [*ORU[:3], "NTE|1||order", OBX, "NTE|1||result"]
    assert check(*lines, profile=asked) == [("NTE[2]-4", "own")]


def test_what_is_said_within_a_group_goes_before_what_is_said_anywhere(check: Check) -> None:
    asked = profile(
        Element("NTE", 3, values=ValueSet(Rule("anywhere"), frozenset({"a"}))),
        Element("NTE", 3, within="OBSERVATION", values=ValueSet(Rule("result"), frozenset({"b"}))),
    )
    lines = [*ORU[:3], "NTE|1||a", "NTE|1||b", OBX, "NTE|1||a", "NTE|1||b"]
    assert check(*lines, profile=asked) == [("NTE[2]-3", "anywhere"), ("NTE[3]-3", "result")]


def test_segments_are_required_forbidden_or_let_off(check: Check) -> None:
    assert check(*ADT, profile=profile(parts=(Part("AL1", usage=usage("R")),))) == [("AL1", "own")]
    assert check(*ADT, profile=profile(parts=(Part("PV1", usage=usage("X")),))) == [("PV1", "own")]
    assert check(*ADT[:3], profile=profile(parts=(Part("PV1", usage=usage("O")),))) == []


def test_a_segment_is_required_on_a_condition(check: Check) -> None:
    asked = profile(parts=(Part("AL1", usage=usage("R", INPATIENT, "X")),))
    allergy = "AL1|1|DA|X^Y^L"
    assert check(*ADT, profile=asked) == [("AL1", "own")]
    assert check(*ADT, allergy, profile=asked) == []
    assert check(*ADT[:3], "PV1|1|O", allergy, profile=asked) == [("AL1", "own")]


def test_how_often_a_segment_stands_is_counted_in_its_group(check: Check) -> None:
    asked = profile(parts=(Part("NTE", "OBSERVATION", cardinality=Cardinality(RULE, 0, 1)),))
    note = "NTE|1||x"
    assert check(*ORU[:3], OBX, note, OBX, note, profile=asked) == []
    assert check(*ORU[:3], note, note, OBX, note, note, profile=asked) == [("NTE[4]", "own")]


def test_a_segment_can_be_counted_in_a_group_further_out(check: Check) -> None:
    asked = profile(parts=(Part("OBX", "ORDER_OBSERVATION", cardinality=Cardinality(RULE, 2, 3)),))
    assert check(*ORU[:3], OBX, OBX, profile=asked) == []
    assert check(*ORU[:3], OBX, profile=asked) == [("OBR", "own")]


def test_a_group_is_required(check: Check) -> None:
    asked = profile(parts=(Part("PATIENT", usage=usage("R")),))
    assert [rule for _, rule in check(ORU[0], *ORU[2:], profile=asked)] == ["own"]


def test_a_z_segment_is_counted_in_the_whole_message(check: Check) -> None:
    asked = profile(parts=(Part("ZBE", cardinality=Cardinality(RULE, 1, 1)),))
    assert check(*ADT, "ZBE|1", profile=asked) == []
    assert check(*ADT, profile=asked) == [("ZBE", "own")]
    assert [rule for _, rule in check(*ADT, "ZBE|1", "ZBE|2", profile=asked)] == ["own"]


def test_parts_are_counted_where_no_structure_is_known(check: Check) -> None:
    header = "MSH|^~\\&|A|B|C|D|20260301||ZZZ^Z01|1|P|2.5"
    asked = profile(parts=(Part("PID", usage=usage("R")),))
    assert check(header, profile=asked) == [("PID", "own")]
    assert check(header, ADT[2], profile=asked) == []


def test_cross_rules_are_asked_of_the_message_or_of_each_segment(check: Check) -> None:
    def says(text: str, path: str, value: str) -> Condition:
        return Condition(text, lambda message: message.get(path) == value)

    female = CrossRule(RULE, "women", says("F", "PID-8", "F"), when=INPATIENT, location="PID-8")
    assert check(*ADT, profile=profile(cross=(female,))) == []
    assert check(*pid("PID|1||1^^^A||E^E|||M"), profile=profile(cross=(female,))) == [("PID-8", "own")]

    def is_final(message: Message) -> bool:
        assert message.focus is not None
        return message.fields(message.focus)[11] == "F"

    final = CrossRule(RULE, "final", Condition("OBX-11 is F", is_final), each="OBX", location="OBX-11")
    lines = [*ORU, "OBX|2|NM|718-7^Hb^LN||13||||||P"]
    assert check(*lines, profile=profile(cross=(final,))) == [("OBX[2]-11", "own")]


def test_rules_of_an_event_are_for_that_event(check: Check) -> None:
    asked = replace(NO_PROFILE, events=(EventRules("ADT", "A01", Rules((Element("PID", 18, usage=usage("R")),))),))
    assert check(*ADT, profile=asked) == [("PID-18", "own")]
    assert check(ADT[0].replace("ADT^A01", "ADT^A08"), *ADT[1:], profile=asked) == []


def test_a_rule_says_its_own_message_mode_and_owner() -> None:
    rule = Rule("own", "reject", "Lab IT", "The ward is missing; ask the ward clerk.")
    asked = profile(Element("PV1", 3, usage=Usage(rule, "R")))
    (violation,) = Validator(asked).validate(parsed(*ADT)).violations
    assert (violation.text, violation.mode, violation.severity, violation.owner) == (
        "The ward is missing; ask the ward clerk.",
        "reject",
        "error",
        "Lab IT",
    )


def test_the_standard_off_leaves_the_profile_s_own_rules(check: Check) -> None:
    asked = replace(profile(Element("PV1", 3, usage=usage("R"))), standard=Standard("off"))
    assert check("MSH|^~\\&|||||x||ADT^A01|||2.5", "PV1||", profile=asked) == [("PV1-3", "own")]
