"""What a hospital system is told of a step (dicom.md 1.9)."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from engine.hl7.message import Message
from engine.hl7.validate import Validator
from engine.worklist.build import Settings, order_event
from engine.worklist.event import OrderEvent
from engine.worklist.item import EntityId, Item, ItemKey, Status
from engine.worklist.status import Header, OrderReceived, StatusMessage, status_message
from tests.worklist.shelf import Shelf

AT = datetime(2026, 1, 2, 10, 30, 5, tzinfo=timezone(timedelta(hours=1)))
HEADER = Header("SC0123456789ABCDEF", AT)

PID = "PID|1||900001^^^HIS&1.2.9&ISO^MR~4711^^^NAT^NI||Muster^Anna^Maria^Jr^Dr^^L||19800203|F"
PV1 = "PV1|1|I|3W||||||||||||||||V1^^^ADM"
ORC = "ORC|NW|P1^HIS^1.2.9^ISO|F1^RIS|G1^HIS|SC||^^^202601021000^^S||20260101113000+0100"
OBR = (
    "OBR|1|P1^HIS^1.2.9^ISO|F1^RIS|CTH^CT head^L^P-CTH^CT head plain^PRO||||||||||||||A1^RIS^1.2.8^ISO|RP1|S1||||CT"
    "||||||||||||||||||||CTH^CT head^L"
)
ZDS = "ZDS|1.2.3.4^RIS^Application^DICOM"
IPC = "IPC|A1^RIS^1.2.8^ISO|RP1^RIS|1.2.3.4^RIS|S1^RIS|CT|P-CTH^CT head plain^PRO|CT ROOM|R12|CT1"


def order(kind: str, *segments: str, version: str = "", charset: str = "") -> bytes:
    version = version or {"ORM^O01": "2.3.1"}.get(kind, "2.5.1")
    msh = f"MSH|^~\\&|HIS|NORTH|RIS|RAD|20260101120000+0100||{kind}|1|T|{version}||||||{charset}"
    return "".join(f"{segment}\r" for segment in (msh, *segments)).encode()


ORM = order("ORM^O01", PID, PV1, ORC, OBR, ZDS)
OMG = order("OMG^O19^OMG_O19", PID, PV1, ORC, OBR, ZDS)
OMI = order("OMI^O23^OMI_O23", PID, PV1, ORC, OBR.replace("A1^RIS^1.2.8^ISO", ""), IPC)


def on_the_list(raw: bytes, number: int = 0) -> Item:
    """The item that an order makes."""
    event = order_event(Message.parse(raw), Settings("orders", timezone(timedelta(hours=1))), datetime.now(UTC))
    assert isinstance(event, OrderEvent)
    shelf = Shelf()
    shelf.take(event)
    return list(shelf.items.values())[number]


def told(
    item: Item,
    raw: bytes | None,
    status: Status = "STARTED",
    kind: str = "ORM^O01",
    wanted: StatusMessage | None = None,
) -> Message:
    made = status_message(replace(item, status=status), OrderReceived(kind, raw), HEADER, wanted)
    assert made is not None
    return Message.parse(made)


@pytest.mark.parametrize(
    ("status", "code"),
    [("STARTED", "IP"), ("COMPLETED", "CM"), ("DISCONTINUED", "DC"), ("CANCELED", "CA"), ("SCHEDULED", "SC")],
)
def test_the_status_is_what_orc_5_calls_it(status: Status, code: str) -> None:
    message = told(on_the_list(ORM), ORM, status)
    assert (message.get("ORC-1"), message.get("ORC-5")) == ("SC", code)


@pytest.mark.parametrize("status", ["ARRIVED", "READY"])
def test_a_status_that_orc_5_has_no_word_for_is_not_told(status: Status) -> None:
    assert status_message(replace(on_the_list(ORM), status=status), OrderReceived("ORM^O01", ORM), HEADER) is None


@pytest.mark.parametrize(("raw", "kind"), [(ORM, "ORM^O01"), (OMG, "OMG^O19"), (OMI, "OMI^O23")])
def test_numbers_stand_as_the_order_brought_them(raw: bytes, kind: str) -> None:
    message = told(on_the_list(raw), raw, kind=kind)
    assert (message.get("MSH-9.1"), message.get("MSH-9.2")) == tuple(kind.split("^"))
    assert message.segment(message.first("ORC")).startswith("ORC|SC|P1^HIS^1.2.9^ISO|F1^RIS|G1^HIS|IP|")
    assert message.get("PID-3.4.2") == "1.2.9"
    if kind == "OMI^O23":
        assert message.segment(message.first("IPC")) == (
            "IPC|A1^RIS^1.2.8^ISO|RP1|1.2.3.4|S1|CT|P-CTH^CT head plain^PRO|||CT1"
        )
    else:
        obr = message.fields(message.first("OBR"))
        assert obr[18:21] == ["A1^RIS^1.2.8^ISO", "RP1", "S1"]
        assert obr[24] == "CT"
        assert message.segment(message.first("ZDS")) == "ZDS|1.2.3.4^^Application^DICOM"
    assert message.get("OBR-4.4") == "P-CTH"
    assert (message.get("PV1-2"), message.get("PV1-19.1")) == ("I", "V1")


def test_it_goes_back_the_way_the_order_came() -> None:
    message = told(on_the_list(ORM), ORM)
    header = message.fields(0)
    assert header[3:7] == ["RIS", "RAD", "HIS", "NORTH"]
    assert header[7] == "20260102103005+0100"
    assert header[10:13] == ["SC0123456789ABCDEF", "T", "2.3.1"]


def test_without_the_orders_bytes_the_item_says_it() -> None:
    message = told(on_the_list(ORM), None)
    assert message.get("MSH-3") == "SEGMILL"
    assert (message.get("ORC-2.1"), message.get("ORC-2.2"), message.get("ORC-3.1")) == ("P1", "HIS", "F1")
    assert (message.get("OBR-18.1"), message.get("OBR-18.2")) == ("A1", "RIS")
    obr = message.segment(message.first("OBR"))
    assert obr.startswith("OBR|1|P1^HIS|F1^RIS|CTH^CT head^L^P-CTH^CT head plain^PRO|")
    assert message.segment(message.first("PID")) == "PID|||900001^^^HIS||Muster^Anna^Maria^Jr^Dr^^L||19800203|F"


@pytest.mark.parametrize("raw", [b"no HL7", b"", None])
def test_an_order_that_cannot_be_read_is_done_without(raw: bytes | None) -> None:
    item = on_the_list(ORM)
    assert told(item, raw).to_bytes() == told(item, None).to_bytes()


def test_an_issuer_without_a_namespace_keeps_its_places() -> None:
    keys = replace(on_the_list(ORM).keys, placer=EntityId("P1", "1.2.9|ISO"), accession=EntityId("A1"))
    item = replace(on_the_list(ORM), keys=keys, patient=EntityId("900001", "1.2.9|ISO"))
    message = told(item, None)
    assert message.fields(message.first("ORC"))[2] == "P1^^1.2.9^ISO"
    assert message.fields(message.first("PID"))[3] == "900001^^^&1.2.9&ISO"


def test_a_set_type_counts_whatever_the_order_was() -> None:
    message = told(on_the_list(ORM), ORM, wanted="OMI^O23")
    assert message.fields(0)[9] == "OMI^O23^OMI_O23"
    assert message.get("MSH-12") == "2.5.1"
    assert message.fields(message.first("IPC"))[1] == "A1^RIS^1.2.8^ISO"


def test_after_a_merge_it_is_the_patient_who_is_left() -> None:
    item = on_the_list(ORM)
    attributes = {**item.attributes, "PatientName": ("Neu^Eva",)}
    message = told(replace(item, patient=EntityId("900055", "HIS"), attributes=attributes), ORM)
    assert message.fields(message.first("PID"))[3:6] == ["900055^^^HIS", "", "Neu^Eva^^^^^L"]
    assert message.get("ORC-2.1") == "P1"


def test_of_several_orders_in_one_message_it_is_the_steps_own() -> None:
    second_orc = ORC.replace("P1^HIS^1.2.9^ISO", "P2^HIS^1.2.9^ISO").replace("F1^RIS", "F2^RIS").replace("G1", "G2")
    second_obr = (
        OBR.replace("P1^HIS", "P2^HIS").replace("F1^RIS", "F2^RIS").replace("|A1^", "|A2^").replace("RP1|S1", "RP2|S2")
    ).replace("CTH^CT head^L", "MRH^MR head^L")
    raw = order("ORM^O01", PID, ORC, OBR, ZDS, second_orc, second_obr, "ZDS|1.2.3.5")
    message = told(on_the_list(raw, 1), raw)
    assert message.fields(message.first("ORC"))[2:5] == ["P2^HIS^1.2.9^ISO", "F2^RIS", "G2^HIS"]
    assert message.get("OBR-4.1") == "MRH"
    assert message.fields(message.first("OBR"))[18:21] == ["A2^RIS^1.2.8^ISO", "RP2", "S2"]
    assert message.get("ZDS-1.1") == "1.2.3.5"


def test_a_number_that_the_order_does_not_have_is_the_items() -> None:
    """An accession number that a channel's map takes from elsewhere stands where the standard has it."""
    item = on_the_list(ORM)
    message = told(replace(item, keys=replace(item.keys, accession=EntityId("X7"))), ORM)
    assert message.fields(message.first("OBR"))[18] == "X7"
    assert message.fields(message.first("ORC"))[2] == "P1^HIS^1.2.9^ISO"


def test_another_orders_bytes_give_no_numbers() -> None:
    other = replace(on_the_list(ORM), key=ItemKey("1.2.99", "S9"))
    keys = replace(other.keys, study_uid="1.2.99", placer=EntityId("P9"), filler=EntityId(""), accession=EntityId("A9"))
    message = told(replace(other, keys=keys), ORM)
    assert message.fields(message.first("ORC"))[2:5] == ["P9", "", ""]
    assert message.fields(message.first("OBR"))[18] == "A9"


def test_names_keep_their_three_groups_and_say_their_character_set() -> None:
    item = on_the_list(ORM)
    named = replace(item, attributes={**item.attributes, "PatientName": ("YAMADA^TARO=山田^太郎=やまだ^たろう",)})
    message = told(named, None)
    assert message.get("MSH-18") == "UNICODE UTF-8"
    assert message.fields(message.first("PID"))[5] == ("YAMADA^TARO^^^^^L^A~山田^太郎^^^^^L^I~やまだ^たろう^^^^^L^P")


def test_delimiters_in_values_are_escaped() -> None:
    raw = ORM.replace(b"P1^HIS", b"P\\T\\1^HIS")
    message = told(on_the_list(raw), raw)
    assert message.get("ORC-2.1") == "P&1"
    assert message.fields(message.first("ORC"))[2] == "P\\T\\1^HIS^1.2.9^ISO"


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("status", ["STARTED", "COMPLETED", "DISCONTINUED", "CANCELED", "SCHEDULED"])
@pytest.mark.parametrize(("raw", "kind"), [(ORM, "ORM^O01"), (OMG, "OMG^O19"), (OMI, "OMI^O23")])
def test_what_is_told_is_a_valid_message(raw: bytes, kind: str, status: Status, kept: bool) -> None:
    found = Validator().validate(told(on_the_list(raw), raw if kept else None, status, kind))
    unknown = {violation.location for violation in found.violations if violation.location.startswith("ZDS")}
    wrong = [v for v in found.violations if v.severity == "error" and v.location not in unknown]
    assert not wrong


def test_of_several_steps_in_one_imaging_order_it_is_the_steps_own() -> None:
    second = IPC.replace("|S1^RIS|", "|S2^RIS|").replace("P-CTH^CT head plain^PRO", "P-CTC^CT chest^PRO")
    raw = order("OMI^O23^OMI_O23", PID, PV1, ORC, OBR.replace("A1^RIS^1.2.8^ISO", ""), IPC, second)
    for number, (step, protocol) in enumerate((("S1", "P-CTH"), ("S2", "P-CTC"))):
        message = told(on_the_list(raw, number), raw, kind="OMI^O23")
        assert message.segment(message.first("IPC")).startswith(
            f"IPC|A1^RIS^1.2.8^ISO|RP1|1.2.3.4|{step}|CT|{protocol}^"
        )
        assert message.get("ORC-2.1") == "P1"


def test_an_obr_without_an_orc_of_its_own_has_the_one_before() -> None:
    second = OBR.replace("OBR|1|", "OBR|2|").replace("|S1|", "|S2|").replace("P-CTH^CT head plain", "P-CTN^CT neck")
    raw = order("ORM^O01", PID, ORC, OBR, second, ZDS)
    message = told(on_the_list(raw, 1), raw)
    assert message.fields(message.first("ORC"))[2] == "P1^HIS^1.2.9^ISO"
    assert (message.get("OBR-4.4"), message.get("OBR-20")) == ("P-CTN", "S2")


def test_numbers_in_an_orders_own_character_set_and_delimiters() -> None:
    raw = ORM.replace(b"CTH^CT head^L", "CTÜ^CT Schädel^L".encode("latin-1")).replace(b"||||||\r", b"||||||8859/1\r", 1)
    assert b"8859/1" in raw
    message = told(on_the_list(raw), raw)
    assert message.get("OBR-4.2") == "CT Schädel"
    assert message.get("MSH-18") == "UNICODE UTF-8"
    own = ORM.decode().replace("^", "*").replace("|*~\\&|", "|*~\\&|").encode()
    message = told(on_the_list(own, 0), own, kind="ORM^O01")
    assert message.fields(message.first("ORC"))[2] == "P1^HIS^1.2.9^ISO"
