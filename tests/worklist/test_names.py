"""Names of HL7 as person names of DICOM (dicom.md 1.5; PS3.5 section 6.2.1)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.worklist.names import Name, aliases, from_ndl, from_xcn, from_xpn


def xpn(*texts: str) -> list[list[str]]:
    return [text.split("^") for text in texts]


@pytest.mark.parametrize(
    ("repetitions", "expected"),
    [
        (["Muster^Anna"], "Muster^Anna"),
        (["Muster^Anna^Maria^Jr^Dr^MD"], "Muster^Anna^Maria^Dr^Jr MD"),
        (["Muster^Anna^^^Dr"], "Muster^Anna^^Dr"),
        (["Muster^^^III"], "Muster^^^^III"),
        (["Muster"], "Muster"),
        (["^Anna"], "^Anna"),
        (["Maiden^Anna^^^^^M", "Muster^Anna^^^^^L"], "Muster^Anna"),
        (["Nick^Name^^^^^A", "Muster^Anna"], "Muster^Anna"),
        (["Nick^Name^^^^^A"], "Nick^Name"),
        (["YAMADA^TARO^^^^^L^A", "山田^太郎^^^^^L^I", "やまだ^たろう^^^^^L^P"], "YAMADA^TARO=山田^太郎=やまだ^たろう"),
        (["山田^太郎^^^^^L^I", "YAMADA^TARO^^^^^L^A"], "YAMADA^TARO=山田^太郎"),
        (["やまだ^たろう^^^^^L^P"], "==やまだ^たろう"),
        (["YAMADA^TARO", "山田^太郎"], "YAMADA^TARO=山田^太郎"),
        (["HONG^GILDONG", "洪^吉洞", "홍^길동"], "HONG^GILDONG=洪^吉洞=홍^길동"),
        (["山田^太郎"], "山田^太郎"),
        (["A=B^C\\D"], "A B^C/D"),
        ([" Muster ^ Anna "], "Muster^Anna"),
        ([], ""),
        (["^^^"], ""),
    ],
)
def test_xpn(repetitions: list[str], expected: str) -> None:
    assert from_xpn(xpn(*repetitions)) == Name(expected)


def test_ideographs_alone_are_the_second_group_where_the_first_cannot_hold_them() -> None:
    assert from_xpn(xpn("山田^太郎"), has_ideographs_alone=False).text == "=山田^太郎"


def test_a_null_deletes_the_name() -> None:
    assert from_xpn(xpn('""')) == Name("", is_null=True)


def test_aliases_stand_beside_the_name_and_never_replace_it() -> None:
    assert aliases(xpn("Nick^Name^^^^^A", "Muster^Anna^^^^^L", "Star^^^^^^S")) == ("Nick^Name", "Star")
    assert aliases(xpn("Nick^Name^^^^^A")) == ()


@pytest.mark.parametrize(
    ("person", "expected"),
    [
        ("4711^Arzt^Petra^Q^Jr^Dr^MD", "Arzt^Petra^Q^Dr^Jr MD"),
        ("4711", ""),
        ("^Arzt", "Arzt"),
        ("4711^Arzt^Petra", "Arzt^Petra"),
    ],
)
def test_xcn(person: str, expected: str) -> None:
    assert from_xcn([person.split("^")]).text == expected


def test_the_first_person_that_is_there_counts() -> None:
    assert from_xcn([[""], ["1", "Arzt"], ["2", "Other"]]).text == "Arzt"


def test_ndl_has_its_person_in_subcomponents() -> None:
    assert from_ndl(["4711", "Arzt", "Petra", "", "Jr", "Dr"]).text == "Arzt^Petra^^Dr^Jr"
    assert from_ndl(["4711"]).text == ""


def test_what_does_not_fit_loses_its_least_part_first_and_says_so() -> None:
    long = "F" * 30 + "^" + "G" * 20
    assert from_xpn(xpn(long + "^Middle^Suffix^Prefix^Degree")) == Name(long + "^Middle", is_shortened=True)
    assert from_xpn(xpn(long + "^Middle Name Of Twenty^^Dr")) == Name(long + "^MNOT", is_shortened=True)
    assert from_xpn(xpn("F" * 70 + "^G")) == Name("F" * 64, is_shortened=True)


@given(st.lists(st.lists(st.text(max_size=40), min_size=1, max_size=8), max_size=4))
def test_any_name_is_a_valid_pn(repetitions: list[list[str]]) -> None:
    text = from_xpn(repetitions).text
    assert "\\" not in text and text.count("=") <= 2
    for group in text.split("="):
        assert len(group) <= 64 and group.count("^") <= 4
        assert group == group.strip(" ") or "^" in group
        assert not any(ord(c) < 32 for c in group)


def test_half_width_katakana_is_the_first_group_unless_a_latin_name_has_it() -> None:
    kana, kanji, latin = ["ﾔﾏﾀﾞ", "ﾀﾛｳ"], ["山田", "太郎"], ["YAMADA", "TARO"]
    assert from_xpn([kana], has_ideographs_alone=False).text == "ﾔﾏﾀﾞ^ﾀﾛｳ"
    assert from_xpn([kana, kanji], has_ideographs_alone=False).text == "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎"
    assert from_xpn([latin, kanji, kana]).text == "YAMADA^TARO=山田^太郎=ﾔﾏﾀﾞ^ﾀﾛｳ"
