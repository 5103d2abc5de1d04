"""Items as DICOM elements: stored once, joined for each answer, read back by pydicom (dicom.md 1.5, 4.4)."""

from datetime import UTC, datetime
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from engine.adapters.dicom.charsets import TERMS, charset_of
from engine.adapters.dicom.encode import (
    _PLAIN,
    Encoded,
    Unencodable,
    _of_texts,
    _of_values,
    dataset_of,
    encode,
    joined,
    wanted_of,
    written,
)
from engine.hl7.message import Message
from engine.worklist.attributes import SPS, attribute_in
from engine.worklist.build import order_event
from engine.worklist.item import Attributes, Item
from engine.worklist.matching import answer, compile_query
from tests.worklist.shelf import Shelf
from tests.worklist.test_build import OBR, ORC, PV1, ZDS, change, orm, settings
from tests.worklist.test_build import PID as ORDER_PID


def item(name: str = "YAMADA^TARO^^^^^L^A~山田^太郎^^^^^L^I~やまだ^たろう^^^^^L^P", **more: str) -> Item:
    raw = orm(change(ORDER_PID, f5=name), PV1, ORC, change(OBR, **more), ZDS, charset="UNICODE UTF-8")
    shelf = Shelf()
    shelf.take(order_event(Message.parse(raw), settings(), datetime(2026, 1, 1, tzinfo=UTC)))
    (made,) = shelf.items.values()
    return made


def read(data: bytes, is_implicit: bool) -> Dataset:
    return read_dataset(BytesIO(data), is_implicit, True)


ASKED: Attributes = {
    "PatientName": (),
    "PatientID": (),
    "AccessionNumber": (),
    "PatientWeight": (),
    "PregnancyStatus": (),
    "ReferencedStudySequence": (),
    "RequestedProcedureCodeSequence": (),
    SPS: (
        {
            "ScheduledStationAETitle": (),
            "Modality": (),
            "ScheduledProcedureStepStatus": (),
            "ScheduledProtocolCodeSequence": ({"CodeValue": ()},),
        },
    ),
}


@pytest.mark.parametrize("is_implicit", [True, False])
class TestJoined:
    def test_an_answer_is_what_pydicom_would_have_written(self, is_implicit: bool) -> None:
        made = item()
        found = read(joined(encode(made), ASKED, made, {}, is_implicit=is_implicit), is_implicit)
        whole, _ = dataset_of(answer(compile_query(ASKED), made), charset_of("ISO_IR 192"))
        assert found == whole

    @pytest.mark.parametrize("asked", [ASKED, {SPS: ()}, {SPS: ({},)}, {"PatientName": ()}, {}])
    def test_no_more_of_an_item_is_read_than_the_answer_needs(self, is_implicit: bool, asked: Attributes) -> None:
        made = item()
        stored = encode(made).dump()
        wanted = wanted_of(asked)
        some = Encoded.load(stored, is_implicit=is_implicit, wanted=wanted)
        own = some.implicit if is_implicit else some.explicit
        assert set(own) <= wanted
        assert 0 < len(own) < len(encode(made).implicit)
        whole = Encoded.load(stored, is_implicit=is_implicit)
        assert joined(some, asked, made, {}, is_implicit=is_implicit) == joined(
            whole, asked, made, {}, is_implicit=is_implicit
        )

    def test_it_is_in_the_order_of_tags(self, is_implicit: bool) -> None:
        made = item()
        found = read(joined(encode(made), ASKED, made, {0x00104000: "LT"}, is_implicit=is_implicit), is_implicit)
        tags = [int(element.tag) for element in found]
        assert tags == sorted(tags)
        assert found[0x00104000].value in (None, "")

    def test_an_empty_sequence_asks_for_all_of_it(self, is_implicit: bool) -> None:
        made = item()
        found = read(joined(encode(made), {SPS: ()}, made, {}, is_implicit=is_implicit), is_implicit)
        step = found.ScheduledProcedureStepSequence[0]
        assert step.ScheduledProcedureStepStatus == "SCHEDULED"
        assert step.ScheduledProtocolCodeSequence[0].CodeMeaning == "CT head plain"
        assert found.StudyInstanceUID == "1.2.3.4"

    @pytest.mark.parametrize("vr", ["LT", "UN", "SQ", "UT", "OB", "CS"])
    def test_what_no_item_has_comes_back_empty(self, is_implicit: bool, vr: str) -> None:
        made = item()
        found = read(joined(encode(made), {}, made, {0x00111010: vr}, is_implicit=is_implicit), is_implicit)
        assert 0x00111010 in found


def test_what_is_stored_comes_back() -> None:
    encoded = encode(item())
    assert Encoded.load(encoded.dump()) == encoded


@pytest.mark.parametrize("cut", [1, 5, 50])
def test_what_is_cut_off_is_not_taken(cut: int) -> None:
    with pytest.raises(ValueError, match="truncated"):
        Encoded.load(encode(item()).dump()[:-cut])


def test_an_item_that_cannot_be_written_is_found_when_it_comes() -> None:
    made = item()
    bad = Item(made.key, made.patient, made.keys, {**made.attributes, "PatientWeight": ("heavy",)}, "", "zds")
    with pytest.raises(Unencodable) as caught:
        encode(bad)
    assert caught.value.keyword == "PatientWeight"
    assert "heavy" not in str(caught.value)


def test_three_groups_are_written_as_they_are() -> None:
    made = item()
    found = read(joined(encode(made), {"PatientName": ()}, made, {}, is_implicit=True), True)
    assert found.SpecificCharacterSet == "ISO_IR 192"
    assert str(found.PatientName) == "YAMADA^TARO=山田^太郎=やまだ^たろう"


@pytest.mark.parametrize(
    ("setting", "name", "expected", "is_lossy"),
    [
        ("ISO_IR 192", "YAMADA^TARO=山田^太郎", "YAMADA^TARO=山田^太郎", False),
        ("ISO_IR 100", "Müller^Eva", "Müller^Eva", False),
        ("ISO_IR 100", "YAMADA^TARO=山田^太郎", "YAMADA^TARO", True),
        ("ISO_IR 100", "Łukasz^Żak", "Lukasz^Zak", True),
        ("ISO_IR 6", "Müller^Straße", "Muller^Strasse", True),
        ("ISO_IR 6", "山田^太郎", "__^__", True),
        ("\\ISO 2022 IR 87", "YAMADA^TARO=山田^太郎=やまだ^たろう", "YAMADA^TARO=山田^太郎=やまだ^たろう", False),
        ("\\ISO 2022 IR 87", "Müller^Eva", "Muller^Eva", True),
        ("ISO 2022 IR 13\\ISO 2022 IR 87", "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎", "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎", False),
        ("ISO_IR 13", "山田", "__", True),
        ("\\ISO 2022 IR 149", "Hong^Gildong=洪^吉洞=홍^길동", "Hong^Gildong=洪^吉洞=홍^길동", False),
        ("GB18030", "王^小东", "王^小东", False),
        ("ISO_IR 144", "Люкceмбypг", "Люкceмбypг", False),
        ("ISO_IR 126", "Διονυσιος", "Διονυσιος", False),
    ],
)
def test_a_name_in_each_set(setting: str, name: str, expected: str, is_lossy: bool) -> None:
    charset = charset_of(setting)
    dataset, rewritten = dataset_of({"PatientName": (name,)}, charset)
    assert bool(rewritten) == is_lossy
    data = written(dataset, is_implicit=False, charset=charset)
    assert str(read(data, False).PatientName) == expected


@pytest.mark.parametrize("setting", TERMS)
def test_every_set_can_be_written_and_read(setting: str) -> None:
    charset = charset_of(setting)
    data = written(dataset_of({"PatientName": ("Muster^Anna",)}, charset)[0], is_implicit=False, charset=charset)
    found = read(data, False)
    assert str(found.PatientName) == "Muster^Anna"
    assert ("SpecificCharacterSet" in found) == (setting != "ISO_IR 6")


_NUMBERS = {"SH": ("AccessionNumber", ""), "LO": ("PatientID", ""), "UI": ("StudyInstanceUID", "")}
_LETTERS = st.text(st.characters(min_codepoint=0x1F, max_codepoint=0x7F), max_size=70)
_UIDS = st.lists(st.sampled_from(["0", "1", "01", "25", "840", ""]), max_size=40).map(".".join)


@pytest.mark.parametrize("vr", _NUMBERS)
@settings_of_hypothesis(max_examples=300, deadline=None)
@given(text=_LETTERS | _UIDS)
def test_numbers_are_written_as_pydicom_writes_them(vr: str, text: str) -> None:
    keyword, sequence = _NUMBERS[vr]
    assert attribute_in(sequence, keyword).vr == vr
    try:
        expected = _of_values(keyword, sequence, (text,))
    except Unencodable:
        assert not _PLAIN[vr].fullmatch(text)
        return
    assert _of_texts(keyword, sequence, (text,)) == expected


@pytest.mark.parametrize(("vr", "text"), [("SH", "A 1-2"), ("LO", "4711"), ("UI", "1.2.840.0.1"), ("UI", "1.2" * 2)])
def test_numbers_as_they_come_need_no_pydicom(vr: str, text: str) -> None:
    assert _PLAIN[vr].fullmatch(text)
    keyword, sequence = _NUMBERS[vr]
    assert _of_texts(keyword, sequence, (text,)) == _of_values(keyword, sequence, (text,))
