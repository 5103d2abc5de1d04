"""What a worklist destination gets: an event in the delivery, findings with their places, the same at any time."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from engine.config.site import load_site
from engine.hl7.message import Message
from engine.model.ids import DestinationName
from engine.pipeline.cases import check_case
from engine.pipeline.compare import Change
from engine.pipeline.compile import CompiledChannel, compile_channel
from engine.pipeline.event_compare import event_changes
from engine.pipeline.outputs import CannotRewrite
from engine.pipeline.registry import load_kinds, load_steps
from engine.pipeline.worklist import path_of
from engine.testing.sites import make_site
from engine.worklist.json_form import load_event

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CHANNEL = """\
listen: {mllp: {port: 2575}}
accept: ['*']
routes: [{to: ris}, {to: modalities}]
destinations:
  ris: {mllp: {host: ris.local, port: 2575}}
  modalities:
    worklist: {station: [{when: {Modality: CT}, ae: [CT1]}], without_start: refuse}
"""
ORDER = (
    "MSH|^~\\&|HIS|NORTH|SEGMILL|RAD|20260101120000+0000||ORM^O01|M1|P|2.3.1||||||UNICODE UTF-8\r"
    "PID|1||900001^^^HIS^MR||Müller^Eva||19800203|F\r"
    "ORC|NW|P1^HIS|F1^RIS||SC||^^^20260102103000\r"
    "OBR|1|P1^HIS|F1^RIS|CTH^CT head^L^CTH^Head^L||||||||||||||A1|R1|S1||||CT\r"
    "ZDS|1.2.826.0.1.99.1^RIS^Application^DICOM\r"
)


@pytest.fixture
def channel(tmp_path: Path) -> CompiledChannel:
    site = load_site(make_site(tmp_path, {"orders": CHANNEL}), load_kinds(), {})
    assert [finding for finding in site.findings if finding.is_error] == []
    return compile_channel(site.channels[0], load_steps())


def run(channel: CompiledChannel, text: str):
    return channel.run(Message.parse(text.encode()), NOW)


def test_the_worklist_gets_an_event_and_its_neighbour_the_message(channel: CompiledChannel) -> None:
    result = run(channel, ORDER)
    assert result.state == "processed"
    ris, modalities = result.deliveries
    assert ris.body is None
    assert modalities.body is not None
    made = json.loads(modalities.body)
    (order,) = made["orders"]
    assert (order["control"], order["steps"][0]["study"]) == ("NW", "1.2.826.0.1.99.1")
    assert order["steps"][0]["dicom"]["00080050"] == {"vr": "SH", "Value": ["A1"]}
    assert load_event(modalities.body)


def test_the_same_message_gives_the_same_event(channel: CompiledChannel) -> None:
    assert run(channel, ORDER).deliveries == run(channel, ORDER).deliveries


@pytest.mark.parametrize(
    ("old", "new", "code", "location", "hl7_code"),
    [
        ("||||CT\r", "||||NOSUCH\r", "E438", "OBR-24", "103"),
        ("||||CT\r", "||||\r", "E439", "OBR-24", "101"),
        ("|A1|R1|", f"|{'A' * 17}|R1|", "E420", "OBR-18", "102"),
        ("900001^^^HIS^MR", "", "E444", "PID-3", "101"),
        ("Müller^Eva", "", "E431", "PID-5", "101"),
        ("1.2.826.0.1.99.1^", "{1.2}^", "E434", "ZDS-1", "102"),
        ("^^^20260102103000", "", "E443", "OBR", "101"),
        ("ORM^O01", "ORU^R01", "E447", "MSH-9", "200"),
    ],
)
def test_what_cannot_become_an_item_is_rejected_with_its_place(
    channel: CompiledChannel, old: str, new: str, code: str, location: str, hl7_code: str
) -> None:
    assert old in ORDER
    result = run(channel, ORDER.replace(old, new))
    assert (result.state, result.deliveries) == ("rejected", [])
    errors = [(f.code, f.location, f.hl7_code) for f in result.findings if f.severity == "error"]
    assert errors == [(code, location, hl7_code)]


def test_what_is_odd_is_told_and_goes_on(channel: CompiledChannel) -> None:
    result = run(channel, ORDER.replace("20260102103000", "20260102").replace("||||CT\r", "||||MR\r"))
    assert result.state == "processed"
    assert {(f.code, f.severity) for f in result.findings} == {("W432", "warning"), ("W430", "warning")}


def test_no_finding_has_a_value_of_the_message(channel: CompiledChannel) -> None:
    for old, new in (("||||CT\r", "||||SECRET\r"), ("1.2.826.0.1.99.1^", "SECRET^"), ("|A1|", "|SECRETSECRETSECRET|")):
        for finding in run(channel, ORDER.replace(old, new)).findings:
            assert "SECRET" not in finding.text + finding.location


def test_a_worklist_takes_over_from_nobody_and_nobody_from_it(channel: CompiledChannel) -> None:
    ris, modalities = DestinationName("ris"), DestinationName("modalities")
    for before, to in ((ris, modalities), (modalities, ris)):
        with pytest.raises(CannotRewrite, match="a worklist takes"):
            channel.for_another(ORDER.encode(), before, to)


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("OBR^2^24^1^3", "OBR[2]-24.3"),
        ("PID^1^3", "PID-3"),
        ("PID^1^3^2", "PID-3[2]"),
        ("ORC^1", "ORC"),
        ("IPC^2", "IPC[2]"),
        ("", ""),
    ],
)
def test_places_are_written_as_paths(location: str, path: str) -> None:
    assert path_of(location) == path


def event(channel: CompiledChannel, text: str) -> bytes:
    (body,) = [d.body for d in run(channel, text).deliveries if d.destination == "modalities"]
    assert body is not None
    return body


def test_two_events_differ_by_attribute(channel: CompiledChannel) -> None:
    before = event(channel, ORDER)
    assert event_changes(before, before) == []
    found = event_changes(before, event(channel, ORDER.replace("CT head", "CT neck").replace("|A1|", "|A2|")))
    assert found is not None
    described = Change("orders[1].steps[1].dicom.RequestedProcedureDescription", "CT head", "CT neck")
    assert {change.path for change in found} >= {"orders[1].keys.accession[1]", described.path}
    assert described in found
    code = "orders[1].steps[1].dicom.RequestedProcedureCodeSequence[1].CodeMeaning"
    assert Change(code, "CT head", "CT neck") in found


def test_what_is_no_event_is_not_compared_as_one(channel: CompiledChannel) -> None:
    made = event(channel, ORDER)
    for other in (ORDER.encode(), b"{", b'{"a": 1}', b"[]"):
        assert event_changes(made, other) is None


def test_a_case_shows_the_event_and_what_differs_in_it(channel: CompiledChannel) -> None:
    first = check_case(channel, {"in.hl7": ORDER.replace("\r", "\n").encode()})
    assert set(first.files) == {"ack.hl7", "out.ris.hl7", "out.modalities.json"}
    files = {"in.hl7": ORDER.replace("\r", "\n").encode(), **first.files}
    assert check_case(channel, files).is_good
    files["out.modalities.json"] = files["out.modalities.json"].replace(b"CT1", b"CT9")
    (difference,) = check_case(channel, files).differences
    place = "orders[1].steps[1].dicom.ScheduledProcedureStepSequence[1].ScheduledStationAETitle"
    assert str(difference) == f'out.modalities.json message 1 {place}: expected "CT9", got "CT1"'


def test_an_identifier_that_is_too_long_is_shortened_where_the_destination_says_so(tmp_path: Path) -> None:
    """dicom.md 1.6: and the one that was ordered stays beside it."""
    said = CHANNEL.replace(
        "without_start: refuse", "too_long: {AccessionNumber: {map: tables/a.csv, strip_prefix: [RIS-]}}"
    )
    files = {"channel.yaml": said, "tables/a.csv": "ordered,dicom\nACCESSION-000000001,A7\n"}
    site = load_site(make_site(tmp_path, {"orders": files}), load_kinds(), {})
    assert site.findings == []
    channel = compile_channel(site.channels[0], load_steps())
    for ordered, shown in (("ACCESSION-000000001", "A7"), ("RIS-0000000000123", "0000000000123"), ("A1", "A1")):
        result = run(channel, ORDER.replace("|A1|", f"|{ordered}|"))
        assert result.state == "processed"
        body = next(one.body for one in result.deliveries if one.destination == "modalities")
        assert body is not None
        step = json.loads(body)["orders"][0]["steps"][0]
        assert step["dicom"]["00080050"]["Value"] == [shown]
        assert step["keys"]["accession"] == [ordered, ""]
        assert step.get("originals", {}) == ({"AccessionNumber": ordered} if ordered != shown else {})
    refused = run(channel, ORDER.replace("|A1|", "|ACCESSION-000000002|"))
    assert (refused.state, [f.code for f in refused.findings]) == ("rejected", ["E420"])
