"""Answers that are kept are those that would have been made: by what is stored, its status, and what was asked for."""

from dataclasses import replace

import pytest

from engine.adapters.dicom.encode import Encoded, encode, joined
from engine.adapters.dicom.kept import MOST_BYTES, Kept, form_of
from engine.adapters.dicom.keys import Identifier
from engine.ports.worklist import Shelved
from engine.worklist.attributes import SPS
from tests.wire.worklist_rules import item


class Maker:
    """Counts how often an answer is made."""

    def __init__(self, made: tuple[bytes, bool] | None = (b"answer", False)) -> None:
        self.count = 0
        self._made = made

    def __call__(self) -> tuple[bytes, bool] | None:
        self.count += 1
        return self._made


def shelved(number: int, status: str = "SCHEDULED") -> Shelved:
    made = item(number)
    return Shelved(replace(made, status=status), encode(made).dump())  # type: ignore[arg-type]


def test_the_same_is_made_once() -> None:
    kept, maker = Kept(), Maker((b"answer", True))
    for _ in range(3):
        assert kept.written("form", shelved(1), maker) == (b"answer", True)
    assert maker.count == 1


def test_what_an_answer_depends_on_makes_another() -> None:
    kept, maker = Kept(), Maker()
    kept.written("form", shelved(1), maker)
    kept.written("form", shelved(2), maker)
    kept.written("form", shelved(1, "STARTED"), maker)
    kept.written("other form", shelved(1), maker)
    assert maker.count == 4


def test_what_cannot_be_made_is_tried_again() -> None:
    kept, maker = Kept(), Maker(None)
    assert kept.written("form", shelved(1), maker) is None
    assert kept.written("form", shelved(1), maker) is None
    assert maker.count == 2


def test_what_was_not_asked_for_the_longest_goes_first() -> None:
    kept, maker = Kept(most=2), Maker()
    for number in (1, 2, 1, 3, 1):
        kept.written("form", shelved(number), maker)
    assert len(kept) == 2
    assert maker.count == 3
    kept.written("form", shelved(2), maker)
    assert maker.count == 4


def test_a_large_item_is_not_kept() -> None:
    kept, maker = Kept(), Maker()
    large = Shelved(item(1), bytes(MOST_BYTES + 1))
    kept.written("form", large, maker)
    assert len(kept) == 0


ASKED = {"AccessionNumber": (), "RequestedProcedureCodeSequence": (), SPS: ({"Modality": ("CT",)},)}


@pytest.mark.parametrize(
    ("other", "is_same"),
    [
        ({**ASKED, "AccessionNumber": ("A1",)}, True),
        ({**ASKED, SPS: ({"Modality": ("MR", "CT")},)}, True),
        ({**ASKED, SPS: ({"Modality": (), "ScheduledProcedureStepID": ()},)}, False),
        ({**ASKED, SPS: ()}, False),
        ({**ASKED, "RequestedProcedureCodeSequence": ({"CodeValue": ()},)}, False),
        ({**ASKED, "PatientName": ()}, False),
    ],
)
def test_queries_for_the_same_keys_have_one_form(other: dict, is_same: bool) -> None:
    one, two = Identifier(ASKED, {}), Identifier(other, {})
    assert (form_of(one) == form_of(two)) == is_same
    made = item(1)
    stored = Encoded.load(encode(made).dump())
    answers = {joined(stored, asked, made, {}, is_implicit=True) for asked in (ASKED, other)}
    assert (len(answers) == 1) == is_same


def test_keys_that_no_item_has_are_part_of_the_form() -> None:
    assert form_of(Identifier(ASKED, {0x00111010: "LO"})) != form_of(Identifier(ASKED, {0x00111010: "SQ"}))
    assert form_of(Identifier(ASKED, {})) != form_of(Identifier(ASKED, {0x00111010: "LO"}))
