"""HL7 text within the limits of a VR (dicom.md 1.5 and 1.6; PS3.5 section 6.2)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.worklist.attributes import ITEM, STEP
from engine.worklist.item import EntityId
from engine.worklist.text import TooLong, clean, fit, is_uid
from engine.worklist.uid import derived_uid, random_uid

DESCRIPTION = ITEM["RequestedProcedureDescription"]
ACCESSION = ITEM["AccessionNumber"]


@pytest.mark.parametrize(
    ("text", "keyword", "expected"),
    [
        ("CT A&P ^ B\\C", "RequestedProcedureDescription", "CT A&P ^ B/C"),
        ("two\r\nlines\ttab", "RequestedProcedureDescription", "two lines tab"),
        ("  blank  ", "AccessionNumber", "blank"),
        ("two\nlines\r\nand\\so", "RequestedProcedureComments", "two\r\nlines\r\nand\\so"),
        ("ct-1", "PatientSex", "CT 1"),
    ],
)
def test_what_a_vr_cannot_hold_is_replaced(text: str, keyword: str, expected: str) -> None:
    assert clean(text, ITEM[keyword]) == expected


def test_a_text_is_cut_and_an_identifier_is_not() -> None:
    assert fit("x" * 65, DESCRIPTION) == ("x" * 64, True)
    assert fit("x" * 16, ACCESSION) == ("x" * 16, False)
    with pytest.raises(TooLong, match="17 characters, and AccessionNumber has room for 16"):
        fit("x" * 17, ACCESSION)
    with pytest.raises(TooLong):
        fit("X" * 17, STEP["Modality"])


def test_limits_are_characters_and_a_letter_keeps_its_marks() -> None:
    assert fit("放" * 64, DESCRIPTION) == ("放" * 64, False)
    assert fit("x" * 63 + "e\u0301", DESCRIPTION) == ("x" * 63, True)


@given(st.text(max_size=200))
def test_any_text_fits_afterwards(text: str) -> None:
    fitted, was_cut = fit(text, DESCRIPTION)
    assert len(fitted) <= 64 and "\\" not in fitted
    assert was_cut or fitted == clean(text, DESCRIPTION)


@pytest.mark.parametrize("uid", ["1.2.840.10008.1.2", "2.25.0", "0.1", "1." + "9" * 62])
def test_uids(uid: str) -> None:
    assert is_uid(uid)


@pytest.mark.parametrize(
    "text", ["", "1", "1.", ".1", "1.02", "1..2", "{1.2.3}", " 1.2", "1.2^RIS", "1." + "9" * 63, "1.2\n"]
)
def test_what_is_no_uid(text: str) -> None:
    assert not is_uid(text)


def test_a_derived_uid_is_the_same_for_the_same_order_and_for_no_other() -> None:
    accession = EntityId("A1", "RIS")
    first = derived_uid("north", accession, "RP1")
    assert first == derived_uid("north", EntityId("A1", "RIS"), "RP1") == "2.25.252005350824580716880917949993438417389"
    assert first is not None and is_uid(first) and len(first) <= 44
    others = {
        derived_uid("south", accession, "RP1"),
        derived_uid("north", EntityId("A1", "HIS"), "RP1"),
        derived_uid("north", EntityId("A1"), "RP1"),
        derived_uid("north", accession, "RP2"),
        derived_uid("north", EntityId("A1|3:RP", "RIS"), "1"),
    }
    assert first not in others and len(others) == 5


def test_nothing_to_derive_from_is_no_uid() -> None:
    assert derived_uid("north", EntityId("", "RIS"), "") is None
    assert is_uid(random_uid(bytes(16)))
