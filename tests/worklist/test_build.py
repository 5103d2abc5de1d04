"""Orders as worklist steps: the mapping row by row, the shapes of messages, what refuses one (dicom.md 1.1, 1.2)."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone

import pytest

from engine.hl7.message import Message
from engine.worklist.attributes import SPS
from engine.worklist.build import Settings, order_event
from engine.worklist.event import OrderEvent, Step
from engine.worklist.item import EntityId, Problems
from engine.worklist.mapping import BadRow, MappingTable
from engine.worklist.stations import StationRule

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ZONE = timezone(timedelta(hours=1))


def segment(name: str, **fields: str) -> str:
    """`segment("OBR", f1="1", f24="CT")`."""
    return change(name, **fields)


def change(segment: str, **fields: str) -> str:
    """`change(OBR, f24="MR")`: the segment with another field 24."""
    parts = segment.split("|")
    for key, value in fields.items():
        number = int(key[1:])
        parts += [""] * (number + 1 - len(parts))
        parts[number] = value
    return "|".join(parts)


MSH = "MSH|^~\\&|HIS|NORTH|RIS|RAD|20260101120000+0100||{type}|1|P|2.5.1|||||||{charset}"
PID = segment(
    "PID",
    f1="1",
    f3="900001^^^HIS^MR~4711^^^NAT^NI",
    f5="Muster^Anna^Maria^^Dr^^L",
    f7="19800203",
    f8="F",
    f11="Street 1^^Town^^12345",
    f18="V77^^^HIS",
)
PV1 = segment("PV1", f1="1", f2="I", f3="3W^12^A^NORTH", f8="8001^Referrer^Rita", f15="B6", f19="V1^^^ADM")
ORC = segment(
    "ORC",
    f1="{control}",
    f2="P1^HIS",
    f3="F1^RIS",
    f5="{status}",
    f7="^^^202601021000^^S",
    f9="20260101113000+0100",
    f10="9001^Entry^Ed",
    f12="9002^Orderer^Otto",
    f13="^^^^^^^^RADIO",
    f14="555-1",
    f17="^Ward 3",
    f21="North Clinic",
    f28="CONF",
)
OBR = segment(
    "OBR",
    f1="1",
    f2="P1^HIS",
    f3="F1^RIS",
    f4="CTH^CT head^L^P-CTH^CT head plain^PRO",
    f13="Allergic to cats",
    f16="9003^Doctor^Dora",
    f18="A1",
    f19="RP1",
    f20="S1",
    f24="CT",
    f27="^^^202601020900^^R",
    f30="W^Walking^L",
    f31="HEAD^Headache^L",
    f34="9004&Performer&Petra&&Jr&Dr",
)
ZDS = "ZDS|1.2.3.4^RIS^Application^DICOM"


def orm(*segments: str, type: str = "ORM^O01", control: str = "NW", status: str = "SC", charset: str = "") -> bytes:
    segments = segments or (PID, PV1, ORC, OBR, ZDS)
    text = "\r".join((MSH, *segments)) + "\r"
    for name, value in (("type", type), ("control", control), ("status", status), ("charset", charset)):
        text = text.replace("{" + name + "}", value)
    return text.encode("utf-8" if charset == "UNICODE UTF-8" else "latin-1")


def settings(**more) -> Settings:
    return Settings("north", ZONE, stations=[StationRule({"Modality": "CT"}, ("CT1",), "CT_1", "Room 12")], **more)


def event(raw: bytes, **more) -> OrderEvent:
    return order_event(Message.parse(raw), settings(**more), NOW)


def only(found: OrderEvent) -> Step:
    (order,) = found.orders
    (step,) = order.steps
    return step


def inner(step: Step) -> Mapping[str, object]:
    (made,) = step.attributes[SPS]
    assert isinstance(made, Mapping)
    return made


def refusals(raw: bytes, **more) -> list[tuple[str, str, str]]:
    with pytest.raises(Problems) as caught:
        event(raw, **more)
    return [(one.code, one.location, one.hl7_code) for one in caught.value.found if one.is_refusal]


CODE = ({"CodeValue": ("CTH",), "CodingSchemeDesignator": ("L",), "CodeMeaning": ("CT head",)},)
OUTER = [
    ("AccessionNumber", ("A1",)),
    ("StudyInstanceUID", ("1.2.3.4",)),
    ("RequestedProcedureID", ("RP1",)),
    ("RequestedProcedureDescription", ("CT head",)),
    ("RequestedProcedureCodeSequence", CODE),
    ("RequestedProcedurePriority", ("STAT",)),
    ("PatientTransportArrangements", ("Walking",)),
    ("ReasonForTheRequestedProcedure", ("Headache",)),
    (
        "ReasonForRequestedProcedureCodeSequence",
        ({"CodeValue": ("HEAD",), "CodingSchemeDesignator": ("L",), "CodeMeaning": ("Headache",)},),
    ),
    ("RequestingPhysician", ("Doctor^Dora",)),
    ("ReferringPhysicianName", ("Referrer^Rita",)),
    ("PlacerOrderNumberImagingServiceRequest", ("P1",)),
    ("OrderPlacerIdentifierSequence", ({"LocalNamespaceEntityID": ("HIS",)},)),
    ("FillerOrderNumberImagingServiceRequest", ("F1",)),
    ("OrderFillerIdentifierSequence", ({"LocalNamespaceEntityID": ("RIS",)},)),
    ("OrderEnteredBy", ("Entry^Ed",)),
    ("OrderEntererLocation", ("Ward 3",)),
    ("OrderCallbackPhoneNumber", ("555-1",)),
    ("InstitutionName", ("North Clinic",)),
    ("InstitutionalDepartmentName", ("RADIO",)),
    ("ConfidentialityCode", ("CONF",)),
    ("AdmissionID", ("V1",)),
    ("IssuerOfAdmissionIDSequence", ({"LocalNamespaceEntityID": ("ADM",)},)),
    ("CurrentPatientLocation", ("3W 12 A",)),
    ("PregnancyStatus", ("3",)),
    ("MedicalAlerts", ("Allergic to cats",)),
    ("ReferencedStudySequence", ()),
    ("ReferencedPatientSequence", ()),
    ("SpecialNeeds", ()),
]
INNER = [
    ("ScheduledStationAETitle", ("CT1",)),
    ("ScheduledProcedureStepStartDate", ("20260102",)),
    ("ScheduledProcedureStepStartTime", ("100000",)),
    ("Modality", ("CT",)),
    ("ScheduledPerformingPhysicianName", ("Performer^Petra^^Dr^Jr",)),
    ("ScheduledProcedureStepDescription", ("CT head plain",)),
    (
        "ScheduledProtocolCodeSequence",
        ({"CodeValue": ("P-CTH",), "CodingSchemeDesignator": ("PRO",), "CodeMeaning": ("CT head plain",)},),
    ),
    ("ScheduledStationName", ("CT_1",)),
    ("ScheduledProcedureStepLocation", ("Room 12",)),
    ("ScheduledProcedureStepID", ("S1",)),
    ("PreMedication", ()),
    ("RequestedContrastAgent", ()),
]
PATIENT = [
    ("PatientName", ("Muster^Anna^Maria^Dr",)),
    ("PatientBirthDate", ("19800203",)),
    ("PatientSex", ("F",)),
    ("PatientAddress", ("Street 1 Town 12345",)),
    (
        "OtherPatientIDsSequence",
        ({"PatientID": ("4711",), "TypeOfPatientID": ("TEXT",), "IssuerOfPatientID": ("NAT",)},),
    ),
]


class TestTheTable:
    @pytest.mark.parametrize(("keyword", "expected"), OUTER)
    def test_the_procedure(self, keyword: str, expected: object) -> None:
        assert only(event(orm())).attributes[keyword] == expected

    @pytest.mark.parametrize(("keyword", "expected"), INNER)
    def test_the_step(self, keyword: str, expected: object) -> None:
        assert inner(only(event(orm())))[keyword] == expected

    @pytest.mark.parametrize(("keyword", "expected"), PATIENT)
    def test_the_patient(self, keyword: str, expected: object) -> None:
        assert event(orm()).patient.attributes[keyword] == expected

    def test_who_and_which(self) -> None:
        found = event(orm())
        step = only(found)
        assert found.patient.id == EntityId("900001", "HIS")
        assert (step.key.study_uid, step.key.step_id, step.uid_origin) == ("1.2.3.4", "S1", "zds")
        assert step.keys.placer == EntityId("P1", "HIS")
        assert (found.orders[0].visit, found.orders[0].at) == (EntityId("V1", "ADM"), "20260101103000.000000")
        assert step.starts_at == "20260102100000.000000"
        assert found.warnings == ()

    @pytest.mark.parametrize(
        ("segments", "keyword", "expected"),
        [
            ((change(ORC, f7="^^^202601021000"), OBR), "RequestedProcedurePriority", ("ROUTINE",)),
            ((change(ORC, f7=""), change(OBR, f27="", f5="A")), "RequestedProcedurePriority", ("HIGH",)),
            ((ORC, change(OBR, f24="mri")), "Modality", ("MR",)),
            ((change(ORC, f7=""), OBR), "ScheduledProcedureStepStartTime", ("090000",)),
            ((ORC, change(OBR, f16="")), "RequestingPhysician", ("Orderer^Otto",)),
            ((ORC, change(OBR, f20="")), "ScheduledProcedureStepID", ("RP1",)),
            ((ORC, change(OBR, f19="")), "RequestedProcedureID", ("A1",)),
            ((ORC, change(OBR, f44="C9^Brain^L")), "RequestedProcedureDescription", ("Brain",)),
            ((ORC, change(OBR, f4="CTH^CT head^L")), "ScheduledProcedureStepDescription", ("CT head",)),
            ((change(ORC, f2=""), OBR), "PlacerOrderNumberImagingServiceRequest", ("P1",)),
        ],
    )
    def test_fall_backs(self, segments: tuple[str, ...], keyword: str, expected: object) -> None:
        step = only(event(orm(PID, PV1, *segments, ZDS)))
        assert {**step.attributes, **inner(step)}[keyword] == expected

    def test_rows_can_be_changed_one_by_one(self) -> None:
        table = MappingTable({"AccessionNumber": ["OBR-3.1"], "InstitutionName": ['"South"'], "Allergies": ["none"]})
        step = only(event(orm(), table=table))
        assert step.attributes["AccessionNumber"] == ("F1",)
        assert step.attributes["InstitutionName"] == ("South",)
        assert step.attributes["RequestedProcedureID"] == ("RP1",)

    @pytest.mark.parametrize(
        ("rows", "words"),
        [
            ({"AccesionNumber": ["OBR-18"]}, "no attribute"),
            ({"PatientID": ["PID-2"]}, "not mapped"),
            ({"AccessionNumber": ["OBR"]}, "a source is a field"),
            ({"AccessionNumber": ["obr-18"]}, "obr-18"),
            ({"AccessionNumber": ["PID-3[2]"]}, "a source is a field"),
            ({"AccessionNumber": [""]}, "empty"),
            ({"AccessionNumber": ["xpn(PID-5)"]}, "no name"),
        ],
    )
    def test_a_row_that_cannot_be_one(self, rows: dict[str, list[str]], words: str) -> None:
        with pytest.raises(BadRow, match=words):
            MappingTable(rows)


class TestShapes:
    def test_pairs_with_different_steps_are_one_study(self) -> None:
        found = event(orm(PID, PV1, ORC, OBR, ORC, change(OBR, f20="S2"), ZDS))
        assert [(s.key.study_uid, s.key.step_id) for o in found.orders for s in o.steps] == [
            ("1.2.3.4", "S1"),
            ("1.2.3.4", "S2"),
        ]

    def test_a_pair_that_repeats_a_step_adds_a_protocol(self) -> None:
        second = change(OBR, f4="CTH^CT head^L^P-CTN^CT neck^PRO")
        found = event(orm(PID, PV1, ORC, OBR, ORC, second, ZDS))
        (step,) = [s for o in found.orders for s in o.steps]
        codes = inner(step)["ScheduledProtocolCodeSequence"]
        assert isinstance(codes, tuple)
        assert [code["CodeValue"] for code in codes] == [("P-CTH",), ("P-CTN",)]

    def test_unrelated_orders_have_studies_of_their_own(self) -> None:
        other = change(OBR, f18="A2", f19="RP2")
        found = event(orm(PID, PV1, ORC, OBR, ORC, other))
        uids = [s.key.study_uid for o in found.orders for s in o.steps]
        assert len(set(uids)) == 2 and all(uid.startswith("2.25.") for uid in uids)

    def test_one_zds_is_the_study_of_none_of_two_procedures(self) -> None:
        other = change(OBR, f18="A2", f19="RP2")
        found = event(orm(PID, PV1, ORC, OBR, ORC, other, ZDS))
        uids = [s.key.study_uid for o in found.orders for s in o.steps]
        assert len(set(uids)) == 2 and "1.2.3.4" not in uids

    def test_each_procedure_with_its_own_zds_has_that(self) -> None:
        other = change(OBR, f18="A2", f19="RP2")
        found = event(orm(PID, PV1, ORC, OBR, ZDS, ORC, other, "ZDS|1.2.3.5"))
        assert [s.key.study_uid for o in found.orders for s in o.steps] == ["1.2.3.4", "1.2.3.5"]

    def test_a_second_obr_shares_its_orc(self) -> None:
        found = event(orm(PID, PV1, ORC, OBR, change(OBR, f20="S2"), ZDS))
        assert [(o.control, s.key.step_id) for o in found.orders for s in o.steps] == [("NW", "S1"), ("NW", "S2")]

    def test_a_second_obr_shares_the_time_of_its_order(self) -> None:
        second = change(OBR, f20="S2")
        found = event(orm(PID, PV1, ORC, "TQ1|||||||202601031415", OBR, second, ZDS, type="OMG^O19"))
        assert [s.starts_at[:12] for o in found.orders for s in o.steps] == ["202601031415"] * 2

    def test_omi_has_a_step_an_ipc(self) -> None:
        ipcs = [
            "IPC|A9^RIS|RP9|1.2.9|S1|CT|P1^Head^L|CT_9|Room 9|CT9~CT8",
            "IPC|A9^RIS|RP9|1.2.9|S2|CT|P2^Neck^L|CT_9|Room 9|CT9",
        ]
        found = event(orm(PID, PV1, ORC, "TQ1|||||||202601031415+0200||S", OBR, *ipcs, type="OMI^O23"))
        first, second = found.orders[0].steps
        assert (first.key.study_uid, first.key.step_id, second.key.step_id) == ("1.2.9", "S1", "S2")
        assert first.uid_origin == "ipc"
        assert inner(first)["ScheduledStationAETitle"] == ("CT9", "CT8")
        assert inner(first)["ScheduledProcedureStepDescription"] == ("Head",)
        assert inner(first)["ScheduledProcedureStepLocation"] == ("Room 9",)
        assert first.attributes["AccessionNumber"] == ("A9",)
        assert first.starts_at == "20260103141500.000000"
        assert first.attributes["TimezoneOffsetFromUTC"] == ("+0200",)

    def test_a_cancel_needs_no_more_than_a_number(self) -> None:
        found = event(orm(PID, "ORC|CA|P1^HIS|||CA", control="CA"))
        (order,) = found.orders
        assert (order.control, order.status, order.steps, order.names_steps) == ("CA", "CA", (), False)
        assert order.keys.placer == EntityId("P1", "HIS")

    def test_a_cancel_is_as_late_as_its_message(self) -> None:
        moments = {}
        for control, status in (("NW", "SC"), ("CA", "CA")):
            repeated = change(ORC, f1=control, f5=status, f9="20251231100000+0000")
            moments[control] = event(orm(PID, PV1, repeated, OBR, ZDS)).orders[0].at
        assert moments["NW"] == "20251231100000.000000" < moments["CA"]

    def test_a_cancel_may_name_a_step(self) -> None:
        found = event(orm(control="CA", status="CA"))
        assert found.orders[0].names_steps
        assert found.orders[0].steps[0].key.step_id == "S1"

    def test_notes_of_the_procedure_are_its_comments(self) -> None:
        raw = orm(
            PID, PV1, ORC, "NTE|1||about the order", OBR, "NTE|1||one", "NTE|2||two", "OBX|1|TX|X||y", "NTE|1||no", ZDS
        )
        assert only(event(raw)).attributes["RequestedProcedureComments"] == ("one\r\ntwo",)

    def test_several_allergies(self) -> None:
        raw = orm(PID, PV1, "AL1|1||P^Penicillin", "AL1|2||N^Nuts", ORC, OBR, ZDS)
        assert only(event(raw)).attributes["Allergies"] == ("Penicillin", "Nuts")

    def test_weight_and_height(self) -> None:
        raw = orm(PID, PV1, ORC, OBR, "OBX|1|NM|29463-7^Body weight^LN||72500|g", "OBX|2|NM|^Body Height||181|cm", ZDS)
        step = only(event(raw))
        assert (step.attributes["PatientWeight"], step.attributes["PatientSize"]) == (("72.5",), ("1.81",))


class TestStudyUids:
    def test_are_derived_the_same_for_the_same_order(self) -> None:
        first, again = (only(event(orm(PID, PV1, ORC, OBR))).key.study_uid for _ in range(2))
        assert first == again and first.startswith("2.25.")
        assert only(event(orm(PID, PV1, ORC, OBR))).uid_origin == "derived"

    def test_of_another_feed_are_others(self) -> None:
        message = Message.parse(orm(PID, PV1, ORC, OBR))
        north, south = (
            order_event(message, Settings(feed, ZONE, without_station="warn"), NOW) for feed in ("north", "south")
        )
        assert only(north).key != only(south).key

    @pytest.mark.parametrize("uid", ["{1.2.3}", "1.2.03", "1.2.3 4", "abc"])
    def test_what_is_no_uid_is_refused(self, uid: str) -> None:
        assert refusals(orm(PID, PV1, ORC, OBR, f"ZDS|{uid}")) == [("E434", "ZDS^1^1", "102")]

    def test_from_an_observation(self) -> None:
        found = event(orm(PID, PV1, ORC, OBR, "OBX|1|HD|113014^DICOM Study^DCM||1.2.7.8"))
        assert (only(found).key.study_uid, only(found).uid_origin) == ("1.2.7.8", "obx")

    def test_may_not_be_derived_by_choice(self) -> None:
        assert refusals(orm(PID, PV1, ORC, OBR), derive_uid=False) == [("E436", "ZDS^1^1", "101")]


class TestRefusals:
    @pytest.mark.parametrize(
        ("segments", "expected"),
        [
            ((change(PID, f3=""), PV1, ORC, OBR, ZDS), ("E444", "PID^1^3", "101")),
            ((change(PID, f5=""), PV1, ORC, OBR, ZDS), ("E431", "PID^1^5", "101")),
            ((PID, PV1, ORC, change(OBR, f24=""), ZDS), ("E439", "OBR^1^24", "101")),
            ((PID, PV1, ORC, change(OBR, f24="XYZ"), ZDS), ("E438", "OBR^1^24", "103")),
            ((PID, PV1, ORC, change(OBR, f18="A" * 17), ZDS), ("E420", "OBR^1^18", "102")),
            ((PID, PV1, ORC, change(OBR, f19="R" * 17), ZDS), ("E420", "OBR^1^19", "102")),
            ((PID, PV1, ORC, change(OBR, f20="S" * 17), ZDS), ("E420", "OBR^1^20", "102")),
            ((change(PID, f3="9" * 65), PV1, ORC, OBR, ZDS), ("E420", "PID^1^3", "102")),
            ((PID, PV1, ORC, change(OBR, f18="", f19=""), ZDS), ("E433", "OBR^1^19", "101")),
            ((PID, PV1, ORC, change(OBR, f4="", f44=""), ZDS), ("E437", "OBR^1^4", "101")),
            ((PID, PV1, change(ORC, f7="^^^noon"), OBR, ZDS), ("E442", "ORC^1^7", "102")),
            ((PID, PV1, ORC, change(OBR, f20="\\X0D\\"), ZDS), ("E433", "OBR^1^20", "102")),
            ((PID, PV1, ORC, OBR, ORC, change(OBR, f24="MR"), ZDS), ("E456", "OBR^2", "102")),
            ((PID, PV1), ("E430", "ORC^1", "100")),
            ((PID, PV1, ORC, OBR, change(PID, f3="900002^^^HIS"), ORC, OBR), ("E454", "PID^2", "100")),
            ((PID, PV1, ORC, OBR, PID, OBR), ("E454", "PID^2", "100")),
            ((change(PID, f3=f"7^^^HIS~1^^^{'N' * 65}^MR"), PV1, ORC, OBR, ZDS), ("E420", "PID^1^3^2^4", "102")),
            ((change(PID, f3="1\\E\\2^^^HIS"), PV1, ORC, OBR, ZDS), ("E455", "PID^1^3", "102")),
        ],
    )
    def test_say_where(self, segments: tuple[str, ...], expected: tuple[str, str, str]) -> None:
        assert expected in refusals(orm(*segments))

    @pytest.mark.parametrize("fields", [{"f19": '""', "f20": '""'}, {"f20": '""', "f19": ""}])
    def test_a_null_id_is_none(self, fields: dict[str, str]) -> None:
        found = event(orm(PID, PV1, ORC, change(OBR, **fields), ZDS))
        assert [step.key.step_id for order in found.orders for step in order.steps] == ["A1"]

    def test_all_of_a_message_are_told_at_once(self) -> None:
        found = refusals(orm(change(PID, f5=""), PV1, ORC, change(OBR, f24="", f18="A" * 17), ZDS))
        assert {code for code, _, _ in found} == {"E431", "E439", "E420"}

    def test_of_the_second_order_name_it(self) -> None:
        found = refusals(orm(PID, PV1, ORC, OBR, ORC, change(OBR, f20="S2", f24="??"), ZDS))
        assert found == [("E438", "OBR^2^24", "103")]

    def test_a_cancel_without_a_number(self) -> None:
        assert refusals(orm(PID, "ORC|CA||||CA")) == [("E432", "ORC^1^2", "101")]

    def test_without_a_station_by_choice(self) -> None:
        raw = orm(PID, PV1, ORC, change(OBR, f24="MR"), ZDS)
        assert [problem.code for problem in event(raw).warnings] == ["W430"]
        assert refusals(raw, without_station="refuse") == [("E441", "OBR^1", "103")]

    def test_without_a_start_by_choice(self) -> None:
        raw = orm(PID, PV1, change(ORC, f7=""), change(OBR, f27=""), ZDS)
        found = event(raw)
        assert [problem.code for problem in found.warnings] == ["W431"]
        assert only(found).starts_at == "20260101120000.000000"
        assert [code for code, _, _ in refusals(raw, without_start="refuse")] == ["E443"]


class TestValues:
    def test_a_day_without_a_time_begins_at_midnight_and_says_so(self) -> None:
        found = event(orm(PID, PV1, change(ORC, f7="^^^20260102"), OBR, ZDS))
        assert only(found).starts_at == "20260102000000.000000"
        assert inner(only(found))["ScheduledProcedureStepStartTime"] == ("000000",)
        assert [problem.code for problem in found.warnings] == ["W432"]

    def test_a_long_text_is_cut_with_a_warning(self) -> None:
        found = event(orm(PID, PV1, ORC, change(OBR, f4="C^" + "x" * 70), ZDS))
        assert only(found).attributes["RequestedProcedureDescription"] == ("x" * 64,)
        assert "W429" in {problem.code for problem in found.warnings}

    def test_a_long_code_has_its_own_attribute(self) -> None:
        found = event(orm(PID, PV1, ORC, change(OBR, f4="C" * 20 + "^Text^L"), ZDS))
        assert only(found).attributes["RequestedProcedureCodeSequence"] == (
            {"LongCodeValue": ("C" * 20,), "CodingSchemeDesignator": ("L",), "CodeMeaning": ("Text",)},
        )

    def test_escapes_are_read_and_a_backslash_makes_no_second_value(self) -> None:
        found = event(orm(PID, PV1, ORC, change(OBR, f4="C^CT A\\T\\P \\S\\ B\\E\\C"), ZDS))
        assert only(found).attributes["RequestedProcedureDescription"] == ("CT A&P ^ B/C",)

    def test_three_groups_of_a_name(self) -> None:
        name = "YAMADA^TARO^^^^^L^A~山田^太郎^^^^^L^I~やまだ^たろう^^^^^L^P"
        raw = orm(change(PID, f5=name), PV1, ORC, OBR, ZDS, charset="UNICODE UTF-8")
        assert event(raw).patient.attributes["PatientName"] == ("YAMADA^TARO=山田^太郎=やまだ^たろう",)

    @pytest.mark.parametrize(("sex", "expected"), [("M", ("M",)), ("A", ("O",)), ("N", ("O",)), ("U", ()), ('""', ())])
    def test_sexes(self, sex: str, expected: tuple[str, ...]) -> None:
        assert event(orm(change(PID, f8=sex), PV1, ORC, OBR, ZDS)).patient.attributes["PatientSex"] == expected

    def test_what_pid_does_not_say_is_not_there(self) -> None:
        assert "PatientSex" not in event(orm(change(PID, f8=""), PV1, ORC, OBR, ZDS)).patient.attributes

    @pytest.mark.parametrize(
        ("pid3", "authority", "expected"),
        [
            ("1^^^A^PI~2^^^B^MR", "", EntityId("2", "B")),
            ("1^^^A^PI~2^^^B^PI", "", EntityId("1", "A")),
            ("1^^^A^PI~2^^^B^MR", "A", EntityId("1", "A")),
            ("1^^^&1.2.3&ISO^MR", "", EntityId("1", "1.2.3|ISO")),
            ("1^^^&1.2.3&ISO^MR~2^^^B", "1.2.3", EntityId("1", "1.2.3|ISO")),
            (f"1^^^&{'1.' * 40}2&ISO^MR", "", EntityId("1", f"{'1.' * 40}2|ISO")),
            (f"1^^^{'N' * 64}^MR", "", EntityId("1", "N" * 64)),
            ("1", "", EntityId("1")),
        ],
    )
    def test_which_identifier_is_the_patients(self, pid3: str, authority: str, expected: EntityId) -> None:
        raw = orm(change(PID, f3=pid3), PV1, ORC, OBR, ZDS)
        assert event(raw, authority=authority).patient.id == expected

    def test_without_the_configured_authority_there_is_none(self) -> None:
        assert refusals(orm(), authority="LAB")[0] == ("E444", "PID^1^3", "101")
