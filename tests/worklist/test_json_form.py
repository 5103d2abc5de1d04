"""Events as JSON and back, with DICOM JSON inside (PS3.18 annex F.2)."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.hl7.message import Message
from engine.worklist.adt import patient_event
from engine.worklist.build import Settings, order_event
from engine.worklist.json_form import NotAnEvent, dump_event, indented, load_event
from engine.worklist.mapping import MappingTable
from tests.worklist.shelf import merge, order, step
from tests.worklist.test_adt import MRG, PID, adt
from tests.worklist.test_build import OBR, ORC, PV1, ZDS, change, orm
from tests.worklist.test_build import PID as ORDER_PID

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    "raw", [orm(), orm(control="CA", status="CA"), orm(ORDER_PID, PV1, ORC, OBR, ORC, change(OBR, f20="S2"), ZDS)]
)
def test_an_order_event_comes_back(raw: bytes) -> None:
    event = order_event(Message.parse(raw), Settings("north", UTC), NOW)
    assert load_event(dump_event(event)) == event


@pytest.mark.parametrize("trigger", ["A08", "A40", "A45", "A02", "A29", "A60"])
def test_a_patient_event_comes_back(trigger: str) -> None:
    raw = adt(trigger, PID, MRG, "PV1|1|I|3W^12^A" + "|" * 16 + "V1^^^ADM")
    event = patient_event(Message.parse(raw), MappingTable(), "", UTC)
    assert load_event(dump_event(event)) == event


def test_it_is_dicom_json_inside() -> None:
    made = json.loads(dump_event(order_event(Message.parse(orm()), Settings("north", UTC), NOW)))
    dicom = made["orders"][0]["steps"][0]["dicom"]
    assert dicom["00080050"] == {"vr": "SH", "Value": ["A1"]}
    assert dicom["00081110"] == {"vr": "SQ"}
    assert dicom["001021C0"] == {"vr": "US", "Value": [3]}
    assert dicom["00400100"]["Value"][0]["00080060"] == {"vr": "CS", "Value": ["CT"]}
    assert made["patient"]["dicom"]["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "Muster^Anna^Maria^Dr"}]}


def test_the_same_event_is_the_same_bytes() -> None:
    assert dump_event(order("NW", "SC", step())) == dump_event(order("NW", "SC", step()))


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b'{"event": "order"}', b'{"event": "order", "patient": 1}', b"\xff"]
)
def test_what_is_no_event(body: bytes) -> None:
    with pytest.raises(NotAnEvent):
        load_event(body)


def test_a_merge_comes_back() -> None:
    event = merge(step().keys.placer, step().keys.accession)
    assert load_event(dump_event(event)) == event


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=25,
)


@given(_JSON)
def test_the_form_is_that_of_json_dumps(value) -> None:
    assert indented(value) == json.dumps(value, ensure_ascii=False, indent=1)
