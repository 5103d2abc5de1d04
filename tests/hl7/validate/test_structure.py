"""Groups, order and number of segments."""

import pytest

from engine.hl7.dictionary import VERSIONS, Group, SegmentRef, load
from engine.hl7.validate import Validator
from tests.hl7.validate.conftest import ADT, ORU, Check, found, parsed

OBR = "OBR|1|||24323-8^Panel^LN"
OBX = "OBX|1|NM|718-7^Hb^LN||13.5||||||F"


def rules(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """What is said of the structure."""
    return [(place, rule) for place, rule in pairs if rule.startswith("structure")]


def test_a_missing_segment_is_told_where_it_would_stand() -> None:
    message = parsed(ADT[0], *ADT[2:])
    (violation,) = Validator().validate(message).violations
    assert (violation.location, violation.rule, violation.hl7_code) == ("EVN", "structure.missing", "100")
    assert message.raw[violation.start :].startswith(b"PID|")


def test_a_segment_missing_at_the_end_is_told_there() -> None:
    message = parsed(*ADT[:3])
    (violation,) = Validator().validate(message).violations
    assert (violation.location, violation.start, violation.end) == ("PV1", len(message.raw), len(message.raw))


def test_every_missing_segment_is_told_at_once(check: Check) -> None:
    assert check(ADT[0]) == [("EVN", "structure.missing"), ("PID", "structure.missing"), ("PV1", "structure.missing")]


def test_a_missing_group_is_told_by_its_first_required_segment(check: Check) -> None:
    assert check(*ORU[:2]) == [("OBR", "structure.missing")]


def test_one_segment_too_many(check: Check) -> None:
    assert rules(check(*ADT, ADT[3])) == [("PV1[2]", "structure.repeated")]


def test_a_segment_behind_its_place_is_told_and_not_missed_as_well(check: Check) -> None:
    assert rules(check(ADT[0], *ADT[2:], ADT[1])) == [("EVN", "structure.order")]


def test_of_several_in_a_row_behind_their_place_the_first_is_told(check: Check) -> None:
    nk1 = "NK1|1|Example^Max"
    assert rules(check(*ADT, "AL1|1|DA|X^Y^L", nk1, nk1, nk1)) == [("NK1[1]", "structure.order")]


def test_a_segment_that_has_no_place_is_told(check: Check) -> None:
    assert rules(check(*ADT, "RXO|1")) == [("RXO", "structure.unexpected")]


def test_z_segments_stand_anywhere(check: Check) -> None:
    assert rules(check(ADT[0], "ZA1|1", ADT[1], "ZA1|1", ADT[2], "ZB1|x", ADT[3], "ZZZ|1")) == []


def test_blank_lines_stand_anywhere(check: Check) -> None:
    assert rules(check(ADT[0], "", ADT[1], "", *ADT[2:], "")) == []


def test_groups_repeat(check: Check) -> None:
    lines = [*ORU[:2], OBR, OBX, "NTE|1||a", OBX, "NTE|1||b", OBR, OBX, "ORC|RE", OBR, OBX]
    assert rules(check(*lines)) == []
    assert rules(check(*lines, ORU[1], OBR, OBX)) == []  # a second patient


def test_where_two_groups_could_take_a_segment_the_one_that_goes_on_with_the_next_takes_it(check: Check) -> None:
    header = "MSH|^~\\&|A|B|C|D|20260301||CSU^C09^CSU_C09|1|P|2.5"
    body = ["PID|1||1^^^A^MR||E^E", "CSR|1^S|||1^^^A^MR||20260301"]
    admin = ["RXA|0|1|20260301||1^x^L|1", "RXR|PO"]
    assert rules(check(header, *body, "ORC|NW", OBR, OBX, "ORC|NW", *admin)) == []
    assert rules(check(header, *body, OBR, OBX, "ORC|NW", OBR, OBX, *admin, "ORC|RE", *admin)) == []


def test_the_nearest_place_takes_a_segment(check: Check) -> None:
    """NTE after PID is the patient's, after OBR the order's, after OBX the observation's."""
    assert rules(check(*ORU[:2], "NTE|1||p", OBR, "NTE|1||o", OBX, "NTE|1||x")) == []


def test_a_segment_inside_of_a_group_needs_the_group_s_first(check: Check) -> None:
    assert rules(check(*ORU[:2], OBX)) == [("OBR", "structure.missing")]


def test_of_a_choice_one_is_enough_and_none_is_too_few(check: Check) -> None:
    header = "MSH|^~\\&|A|B|C|D|20260301||ORM^O01^ORM_O01|1|P|2.5"
    orc = "ORC|NW|1"
    assert rules(check(header, orc, OBR)) == []
    assert rules(check(header, orc, "RXO|1^x^L|1||mg")) == []
    assert rules(check(header, orc, "NTE|1||x")) == [("OBR", "structure.missing")]


def test_every_alternative_of_a_choice_can_stand_again_in_the_next_group(check: Check) -> None:
    header = "MSH|^~\\&|A|B|C|D|20260301||ORM^O01^ORM_O01|1|P|2.5"
    assert rules(check(header, "ORC|NW|1", OBR, "ORC|NW|2", OBR)) == []


def test_a_fragment_is_not_held_against_a_structure(check: Check) -> None:
    assert check(ADT[0] + "||cont") == []


def test_a_type_without_a_structure_is_not_held_against_one(check: Check) -> None:
    assert check("MSH|^~\\&|A|B|C|D|20260301||ZZZ^Z01|1|P|2.5", "PV1|1|I", "EVN||20260301") == []


def test_a_structure_with_any_segment_takes_any(check: Check) -> None:
    header = "MSH|^~\\&|A|B|C|D|20260301||PGL^PC6^PGL_PC6|1|P|2.5"
    lines = [header, "PID|1||1^^^A^MR||E^E", "GOL|AD|20260301|1^g^L|1", "ORC|NW|1", "RXO|1^x^L|1||mg"]
    assert rules(check(*lines)) == []


def _shortest(children: tuple[Group | SegmentRef, ...]) -> list[str]:
    """The names of a message that has only what is required, and the first alternative of each choice."""
    names: list[str] = []
    for child in children:
        if child.minimum:
            if isinstance(child, SegmentRef):
                names.append(child.name)
            else:
                names += _shortest(child.children[:1] if child.is_choice else child.children)
    return names


def _fullest(children: tuple[Group | SegmentRef, ...]) -> list[str]:
    """The names of a message that has everything once, and the first alternative of each choice."""
    names: list[str] = []
    for child in children:
        if isinstance(child, SegmentRef):
            names.append(child.name)
        else:
            names += _fullest(child.children[:1] if child.is_choice else child.children)
    return names


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("make", [_shortest, _fullest])
def test_what_a_structure_says_itself_fits_into_it(version: str, make) -> None:
    """Of every structure of every version: a message made from it has nothing wrong with its order."""
    validator = Validator()
    dictionary = load(version)
    for id in dictionary.structure_ids():
        names = make(dictionary.structure(id).children)
        if "*" in names:
            continue
        code, _, event = id.partition("_")
        lines = [f"MSH|^~\\&|A|B|C|D|20260301||{code}^{event}^{id}|1|P|{version}", *(f"{name}|1" for name in names[1:])]
        validation = validator.validate(parsed(*lines))
        if validation.structure == id:
            assert rules(found(validation)) == [], id
