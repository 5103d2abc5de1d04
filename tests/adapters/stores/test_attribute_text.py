"""What a query reads of an item's attributes is what is stored, in whatever order it is asked for."""

import json
from collections.abc import Mapping

import pytest

from engine.adapters.stores.attribute_text import MOST_KNOWN, Lazy, Matched, known
from engine.worklist.attributes import SPS
from engine.worklist.item import Attributes
from engine.worklist.json_form import to_dicom_json
from tests.wire.worklist_rules import ITEMS


def text_of(attributes: Attributes) -> str:
    return json.dumps(to_dicom_json(attributes), ensure_ascii=False, separators=(",", ":"))


STORED = [item.attributes for item in ITEMS]


@pytest.mark.parametrize("attributes", STORED)
@pytest.mark.parametrize("read", [Lazy, Matched, known])
def test_it_is_what_was_stored(read, attributes: Attributes) -> None:
    found = read(text_of(attributes))
    assert found == attributes
    assert set(found) == set(attributes)
    assert len(found) == len(attributes)
    for keyword, values in attributes.items():
        assert found[keyword] == values, keyword
    assert found.get("PatientComments") is None
    (step,) = found[SPS]
    (own,) = attributes[SPS]
    assert isinstance(own, Mapping)
    assert step == own
    assert {keyword: step[keyword] for keyword in step} == own
    with pytest.raises(KeyError):
        step["StationName"]


@pytest.mark.parametrize("read", [Lazy, Matched])
def test_no_value_is_shown_in_its_name(read) -> None:
    assert repr(read(text_of(STORED[0]))) == f"<{len(STORED[0])} attributes>"


def test_the_same_text_is_read_once_and_no_more_than_a_number_of_them_stay() -> None:
    text = text_of(STORED[0])
    assert known(text) is known(text)
    assert known.cache_info().maxsize == MOST_KNOWN
