"""Identifiers that are longer than DICOM has room for, by what a destination says of them (dicom.md 1.6)."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from engine.hl7.message import Message
from engine.worklist.attributes import ITEM
from engine.worklist.build import Settings, order_event
from engine.worklist.event import OrderEvent
from engine.worklist.item import Item, Problems
from engine.worklist.json_form import dump_event, load_event
from engine.worklist.mpps import Reference, meant
from engine.worklist.shorten import Shortening, hash16
from engine.worklist.status import Header, OrderReceived, status_message
from tests.worklist.shelf import Shelf

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LONG = "RIS2026-000123456789"
LONG_PROCEDURE = "PROCEDURE-000123456789"
LONG_STEP = "STEP-OF-THE-ORDER-1"
ALL = Shortening(prefixes=("RIS2026-",), hash16=True)
EACH = {"AccessionNumber": ALL, "RequestedProcedureID": ALL, "ScheduledProcedureStepID": ALL}


def order(
    accession: str = LONG,
    procedure: str = LONG_PROCEDURE,
    step: str = LONG_STEP,
    *,
    control: str = "NW",
    status: str = "SC",
    study: str = "1.2.3",
    mrn: str = "900001",
    placer: str = "P1",
    more: str = "",
) -> bytes:
    return (
        "MSH|^~\\&|HIS|NORTH|RIS|RAD|20260101120000+0000||ORM^O01|1|P|2.3.1\r"
        f"PID|1||{mrn}^^^HIS^MR||Muster^Anna\r"
        f"ORC|{control}|{placer}^HIS|||{status}||^^^20260102100000\r"
        f"OBR|1|{placer}^HIS||CTH^CT head^L||||||||||||||{accession}|{procedure}|{step}||||CT\r{more}"
        f"ZDS|{study}^RIS^Application^DICOM\r"
    ).encode()


def event(raw: bytes, shortenings: Mapping[str, Shortening] = EACH) -> OrderEvent:
    settings = Settings("orders", UTC, shortenings=shortenings)
    return order_event(Message.parse(raw), settings, NOW)


def items(*raws: bytes, shortenings: Mapping[str, Shortening] = EACH, shelf: Shelf | None = None) -> list[Item]:
    shelf = shelf or Shelf()
    for raw in raws:
        shelf.take(event(raw, shortenings))
    return list(shelf.items.values())


def refusal(*raws: bytes, shortenings: Mapping[str, Shortening] = EACH) -> list[tuple[str, str, str]]:
    with pytest.raises(Problems) as found:
        items(*raws, shortenings=shortenings)
    return [(one.code, one.location, one.hl7_code) for one in found.value.found if one.is_refusal]


class TestOneIdentifier:
    @pytest.mark.parametrize(
        ("number", "short"),
        [
            ("RIS2026-A1", "RIS2026-A1"),  # which fits, and so is as it was sent
            ("RIS2026-12345678", "RIS2026-12345678"),
            (LONG, "000123456789"),
            ("LISTED-FOR-SOMETHING-ELSE", "L1"),
            ("RIS1999-AND-NOTHING-BEHIND-IT", hash16("RIS1999-AND-NOTHING-BEHIND-IT")),
            ("RIS2026-LISTED-FOR-SOMETHING", "L2"),
            ("RIS2026-RIS2026-0001", "RIS2026-0001"),
            ("X-RIS2026-000123456789", hash16("X-RIS2026-000123456789")),
            ("RIS2026-12345678901234567", hash16("RIS2026-12345678901234567")),
            ("RIS2026-         ", "RIS2026-         "),  # blanks at the end are no part of it
            ("RIS2026-" + " " * 9 + "~" * 17, hash16("RIS2026-" + " " * 9 + "~" * 17)),
        ],
    )
    def test_is_made_short_by_the_first_way_that_fits(self, number: str, short: str) -> None:
        table = {"LISTED-FOR-SOMETHING-ELSE": "L1", "RIS2026-LISTED-FOR-SOMETHING": "L2", "RIS2026-A1": "NEVER"}
        way = Shortening(table, ("RIS1999-AND-NOTHING-BEHIND-IT", "RIS2026-"), hash16=True)
        assert way.short(number, ITEM["AccessionNumber"]) == short

    def test_is_as_it_was_where_no_way_is_chosen_or_none_fits(self) -> None:
        for way in (Shortening(), Shortening({"X": "Y"}, ("A",))):
            assert way.short(LONG, ITEM["AccessionNumber"]) == LONG

    def test_has_a_hash_that_is_the_same_for_good(self) -> None:
        """What stands in the images of years must not change: these are part of the format."""
        assert hash16(LONG) == "6CJUXCD4FK2SJQKY"
        assert hash16("ÄÖÜ-000000000000000") == "F4XOF3PXTXXAPAR6"
        made = [hash16(f"{LONG}{n}") for n in range(500)]
        assert len(set(made)) == 500
        assert all(len(one) == 16 and one.isalnum() and one == one.upper() for one in made)


class TestAnItem:
    def test_has_them_as_dicom_can_and_as_they_were_ordered(self) -> None:
        (item,) = items(order())
        assert item.attributes["AccessionNumber"] == ("000123456789",)
        assert item.attributes["RequestedProcedureID"] == (hash16(LONG_PROCEDURE),)
        assert item.step["ScheduledProcedureStepID"] == (hash16(LONG_STEP),) == (item.key.step_id,)
        assert (item.keys.accession.id, item.shown_accession) == (LONG, "000123456789")
        assert item.originals == {
            "AccessionNumber": LONG,
            "RequestedProcedureID": LONG_PROCEDURE,
            "ScheduledProcedureStepID": LONG_STEP,
        }
        assert item.original("RequestedProcedureID") == LONG_PROCEDURE
        assert item.original("ScheduledProcedureStepID") == LONG_STEP

    def test_of_short_ones_has_nothing_beside_them(self) -> None:
        (item,) = items(order("A1", "R1", "S1"))
        assert item.originals == {}
        assert [item.original(one) for one in EACH] == ["A1", "R1", "S1"]

    @pytest.mark.parametrize("missing", list(EACH))
    def test_is_refused_where_one_of_them_may_not_be_shortened(self, missing: str) -> None:
        ways = {keyword: way for keyword, way in EACH.items() if keyword != missing}
        field = {"AccessionNumber": "18", "RequestedProcedureID": "19", "ScheduledProcedureStepID": "20"}[missing]
        found = refusal(order(), shortenings=ways)
        assert {(code, hl7_code) for code, _, hl7_code in found} == {("E420", "102")}
        assert all(location.endswith(f"^{field}") for _, location, _ in found)

    def test_has_ids_that_stand_in_for_others_by_the_rules_of_those(self) -> None:
        """Without OBR-19 and OBR-20 the accession number is the procedure's and the step's id."""
        (item,) = items(order(procedure="", step=""), shortenings={"AccessionNumber": ALL})
        assert (item.attributes["RequestedProcedureID"], item.key.step_id) == (("000123456789",), "000123456789")
        assert item.original("ScheduledProcedureStepID") == LONG
        (item,) = items(order("A1", step=""), shortenings={"RequestedProcedureID": ALL})
        assert item.key.step_id == hash16(LONG_PROCEDURE)

    def test_has_the_study_uid_that_its_numbers_as_ordered_give(self) -> None:
        """A change of the way does not change the study."""
        raw = order().replace(b"ZDS|1.2.3^RIS^Application^DICOM\r", b"")
        uids = {
            items(raw, shortenings=dict.fromkeys(EACH, way))[0].key.study_uid for way in (ALL, Shortening(hash16=True))
        }
        assert len(uids) == 1

    def test_of_several_protocols_has_them_as_well(self) -> None:
        second = order().decode().split("\r", 2)[2].replace("CTH^CT head", "CTN^CT neck")
        (item,) = items(order(more=second.partition("ZDS")[0]))
        assert item.originals.keys() == EACH.keys()

    def test_is_carried_by_its_event(self) -> None:
        made = event(order())
        assert load_event(dump_event(made)) == made
        assert b"originals" not in dump_event(event(order("A1", "R1", "S1")))

    def test_follows_its_order(self) -> None:
        shelf = Shelf()
        (item,) = items(order(), order(control="XO"), order(control="SC", status="IP"), shelf=shelf)
        assert (item.status, item.originals["AccessionNumber"]) == ("STARTED", LONG)
        (item,) = items(order(procedure="R1", control="XO"), shelf=shelf)
        assert (item.originals.keys(), item.attributes["RequestedProcedureID"]) == (
            {"AccessionNumber", "ScheduledProcedureStepID"},
            ("R1",),
        )
        (item,) = items(order(control="CA", status="CA"), shelf=shelf)
        assert item.status == "DISCONTINUED"

    def test_of_several_is_cancelled_alone_by_its_id_as_ordered(self) -> None:
        second = order(step="STEP-OF-THE-ORDER-2", placer="P2")
        found = items(order(), second, order(step="STEP-OF-THE-ORDER-2", placer="P2", control="CA", status="CA"))
        assert sorted((one.original("ScheduledProcedureStepID"), one.status) for one in found) == [
            ("STEP-OF-THE-ORDER-1", "SCHEDULED"),
            ("STEP-OF-THE-ORDER-2", "CANCELED"),
        ]


class TestTwoThatComeToOne:
    """E457: a scanner could not tell them, so neither the second is taken nor the first changed."""

    def other(self, **more: Any) -> bytes:
        return order(**{"study": "1.2.4", "placer": "P2", "procedure": "R2", "step": "S2", **more})

    def test_of_accession_numbers_are_refused(self) -> None:
        first = order(procedure="R1", step="S1")
        # As it stands in DICOM, by another prefix, and by a backslash.
        assert refusal(first, self.other(accession="000123456789")) == [("E457", "OBR^1^18", "205")]
        assert refusal(self.other(accession="000123456789"), first) == [("E457", "OBR^1^18", "205")]
        way = {"AccessionNumber": Shortening(prefixes=("RIS2026-", "RIS2027-"))}
        second = self.other(accession="RIS2027-000123456789")
        assert refusal(first, second, shortenings=way) == [("E457", "OBR^1^18", "205")]
        slashes = (order("A\\E\\1", "R1", "S1"), self.other(accession="A/1"))
        assert refusal(*slashes, shortenings={}) == [("E457", "OBR^1^18", "205")]

    def test_of_accession_numbers_are_told_whatever_became_of_the_first(self) -> None:
        first = order(procedure="R1", step="S1")
        done = order(procedure="R1", step="S1", control="SC", status="CM")
        assert refusal(first, done, self.other(accession="000123456789")) == [("E457", "OBR^1^18", "205")]

    def test_of_another_issuer_are_two(self) -> None:
        first = order(f"{LONG}^RIS", "R1", "S1")
        assert len(items(first, self.other(accession="000123456789^OTHER"))) == 2

    def test_of_one_order_are_one(self) -> None:
        """Several steps have one accession number, and a change may bring another that comes to the same."""
        assert len(items(order(step="S1"), order(step="S2"))) == 2
        way = dict.fromkeys(EACH, Shortening(prefixes=("RIS2026-", "RIS2027-")))
        changed = order("RIS2027-000123456789", "R1", "S1", control="XO")
        (item,) = items(order(procedure="R1", step="S1"), changed, shortenings=way)
        assert item.originals["AccessionNumber"] == "RIS2027-000123456789"

    def test_of_steps_in_a_study_are_refused(self) -> None:
        way = dict.fromkeys(EACH, Shortening({LONG_STEP: "S1"}, ("RIS2026-", "PROCEDURE-")))
        first = order(procedure="R1", step="S1")
        assert refusal(first, order(procedure="R1", control="XO"), shortenings=way) == [("E457", "OBR^1^20", "205")]
        assert len(items(first, self.other(accession="A2", step=LONG_STEP), shortenings=way)) == 2, "of two studies"

    def test_of_steps_in_one_message_are_refused(self) -> None:
        second = (
            f"ORC|NW|P1^HIS|||SC||^^^20260102100000\r"
            f"OBR|2|P1^HIS||CTN^CT neck^L||||||||||||||{LONG}|R1|{LONG_STEP}||||CT\r"
        )
        way = dict.fromkeys(EACH, Shortening({LONG_STEP: "S1"}, ("RIS2026-",)))
        assert refusal(order(procedure="R1", step="S1", more=second), shortenings=way) == [("E457", "OBR^2^20", "205")]

    def test_of_procedures_in_a_study_or_an_accession_number_are_refused(self) -> None:
        way = dict.fromkeys(EACH, Shortening({LONG_PROCEDURE: "R1"}, ("RIS2026-",)))
        first = order(procedure="R1", step="S1")
        assert refusal(first, order(step="S2"), shortenings=way) == [("E457", "OBR^1^19", "205")]
        other_number = order("A2", step="S2", placer="P2")
        assert refusal(first, other_number, shortenings=way) == [("E457", "OBR^1^19", "205")]
        other_study = order(step="S2", study="1.2.4", placer="P2")
        assert refusal(first, other_study, shortenings=way) == [("E457", "OBR^1^19", "205")]
        elsewhere = self.other(accession="A2", procedure=LONG_PROCEDURE)
        assert len(items(first, elsewhere, shortenings=way)) == 2, "of two studies and accession numbers"

    def test_in_one_message_are_refused(self) -> None:
        second = (
            "ORC|NW|P2^HIS|||SC||^^^20260102100000\r"
            "OBR|2|P2^HIS||CTN^CT neck^L||||||||||||||000123456789|R2|S2||||CT\rZDS|1.2.4\r"
        )
        raw = order(procedure="R1", step="S1").replace(b"ZDS|1.2.3^RIS^Application^DICOM\r", b"ZDS|1.2.3\r")
        assert refusal(raw + second.encode()) == [("E457", "OBR^2^18", "205")]


class TestWhoUsesThem:
    def test_a_scanner_names_them_as_it_has_them(self) -> None:
        item, other = items(order(), order("A2", "R2", "S2", study="1.2.4", placer="P2"))
        for reference in (
            Reference("1.2.3", hash16(LONG_STEP)),
            Reference("", hash16(LONG_STEP), "000123456789"),
            Reference("", "", "000123456789"),
            Reference("", "", LONG),
        ):
            assert meant(reference, [item, other]) == [item]
        assert meant(Reference("", "", hash16(LONG)), [item, other]) == []

    @pytest.mark.parametrize("is_kept", [True, False])
    @pytest.mark.parametrize("kind", ["ORM^O01", "OMI^O23"])
    def test_the_ordering_system_hears_them_as_it_ordered(self, is_kept: bool, kind: str) -> None:
        raw = order()
        (item,) = items(raw)
        received = OrderReceived("ORM^O01", raw if is_kept else None)
        made = status_message(replace(item, status="STARTED"), received, Header("1", NOW), kind)  # type: ignore[arg-type]
        assert made is not None
        told = Message.parse(made)
        where = ("IPC-1.1", "IPC-2", "IPC-4") if kind == "OMI^O23" else ("OBR-18.1", "OBR-19", "OBR-20")
        assert [told.get(path) for path in where] == [LONG, LONG_PROCEDURE, LONG_STEP]
        assert hash16(LONG_STEP).encode() not in made
        assert told.get("OBR-4.2") == "CT head"

    def test_of_several_orders_in_a_message_it_is_still_the_steps_own(self) -> None:
        second = (
            "ORC|NW|P1^HIS||G2|SC||^^^20260102100000\r"
            f"OBR|2|P1^HIS||CTN^CT neck^L||||||||||||||{LONG}|{LONG_PROCEDURE}|{LONG_STEP}X||||CT\r"
        )
        raw = order(more=second)
        item = next(one for one in items(raw) if one.original("ScheduledProcedureStepID") == f"{LONG_STEP}X")
        made = status_message(replace(item, status="STARTED"), OrderReceived("ORM^O01", raw), Header("1", NOW))
        assert made is not None
        assert [Message.parse(made).get(path) for path in ("ORC-4", "OBR-4.2")] == ["G2", "CT neck"]
