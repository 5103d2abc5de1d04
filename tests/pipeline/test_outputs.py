"""Each destination in its own character set: other bytes for each, and nothing changed without a word."""

import pytest

from engine.hl7.message import Message
from engine.pipeline.cases import check_case, to_file
from engine.testing.messages import adt
from tests.hl7.test_charset import colliding

ROUTES = "routes: [{to: his}, {to: lab}, {to: archive}]\n"


def rest(his: str = "charset: 8859/1", lab: str = "charset: UNICODE UTF-8", archive: str = "") -> str:
    return (
        f"{ROUTES}destinations:\n  his: {{anywhere: {{}}, {his}}}\n  lab: {{anywhere: {{}}, {lab}}}\n"
        f"  archive: {{anywhere: {{}}{archive}}}\n"
    )


def of(result) -> dict[str, bytes | None]:
    return {delivery.destination: delivery.body for delivery in result.deliveries}


def test_each_destination_gets_its_own_bytes(channel):
    raw = adt(charset="UNICODE UTF-8", family="Müller")
    made = channel("- set: {MSH-5: RIS}", rest=rest())
    bodies = of(made.run(raw))
    assert b"|M\xfcller^" in bodies["his"] and b"||||||8859/1\r" in bodies["his"]
    assert "|Müller^".encode() in bodies["lab"] and b"||||||UNICODE UTF-8\r" in bodies["lab"]
    assert bodies["archive"] == bodies["lab"]


def test_a_destination_without_one_gets_the_bytes_as_they_came(channel):
    raw = adt(charset="8859/1", family="Müller")
    bodies = of(channel("", rest=rest()).run(raw))
    assert (bodies["his"], bodies["archive"]) == (None, None)
    assert "Müller".encode() in bodies["lab"]


def test_destinations_of_one_set_share_their_bytes(channel):
    made = channel("", rest=rest(his="charset: UNICODE UTF-8"))
    bodies = of(made.run(adt(charset="8859/1", family="Müller")))
    assert bodies["his"] is bodies["lab"]


def test_what_a_destination_does_not_have_holds_the_message_with_all_its_deliveries(channel):
    result = channel("", rest=rest()).run(adt(charset="UNICODE UTF-8", family="Łukasz"))
    assert (result.state, result.deliveries) == ("held", [])
    (finding,) = result.findings
    assert (finding.code, finding.location) == ("E271", "PID-5")
    assert "to his" in finding.text and "8859/1" in finding.text and "ukasz" not in finding.text


@pytest.mark.parametrize(
    ("policy", "code", "written"), [("escape", "W271", b"\\XC581\\ukasz"), ("'replace(L)'", "W272", b"Lukasz")]
)
def test_a_policy_writes_it_in_another_way_and_says_so(channel, policy, code, written):
    made = channel("", rest=rest(his=f"charset: 8859/1, unencodable: {policy}"))
    result = made.run(adt(charset="UNICODE UTF-8", family="Łukasz"))
    assert (result.state, len(result.deliveries)) == ("processed", 3)
    assert written in of(result)["his"]
    assert of(result)["lab"] is None
    (finding,) = result.findings
    assert (finding.code, finding.severity, finding.location) == (code, "warning", "PID-5")
    assert finding.text.startswith("to his: 1 character that 8859/1 does not have ")


def test_without_the_option_nothing_changes(channel):
    made = channel("- set: {PID-5.1: Łukasz}")
    assert made.compiled._targets == {}
    (finding,) = made.run(adt(charset="8859/1")).findings
    assert finding.code == "E202"


def test_a_message_that_a_plain_destination_cannot_get_is_held_beside_one_that_can(channel):
    made = channel("- set: {PID-5.1: Łukasz}", rest=rest(his="charset: UNICODE UTF-8"))
    (finding,) = made.run(adt(charset="8859/1")).findings
    assert finding.code == "E202"


@pytest.mark.parametrize("codec", ["shift_jis", "big5", "gb18030", "iso2022_jp"])
def test_characters_that_hold_delimiters_go_through_a_channel_into_every_set(channel, codec):
    declared = {"shift_jis": "ISO IR14", "big5": "BIG-5", "gb18030": "GB 18030-2000", "iso2022_jp": "~ISO IR87"}[codec]
    text = colliding(codec)
    raw = f"MSH|^~\\&|A|{text[:3]}|C|D|2026||ADT^A01|1|P|2.5.1||||||{declared}\rPID|1||{text}\r".encode(codec)
    made = channel(
        "- set: {PID-8: =PID-3, MSH-6: =MSH-4}", rest=rest(his=f"charset: {declared}", lab="charset: UNICODE UTF-8")
    )
    bodies = of(made.run(raw))
    for name, body in bodies.items():
        message = Message.parse(body)
        assert (message.get("PID-3"), message.get("PID-8")) == (text, text), name
        assert message.get("MSH-6") == text[:3]
        assert message.codec == ("utf_8" if name == "lab" else codec)


def test_a_case_shows_what_each_destination_gets(channel):
    made = channel("", rest=rest(his="charset: 8859/1, unencodable: 'replace(?)'")).compiled
    raw = adt(charset="UNICODE UTF-8", family="Łüx")
    files = check_case(made, {"in.hl7": to_file([raw])}).files
    assert b"?\xfcx" in files["out.his.hl7"]
    assert files["findings.txt"] == b"W272 PID-5\n"
    assert check_case(made, {"in.hl7": to_file([raw]), **files}).is_good
    broken = {"in.hl7": to_file([raw]), **files, "out.his.hl7": files["out.his.hl7"].replace(b"?", b"L")}
    assert "PID-5" in check_case(made, broken).render()


def test_a_strict_channel_refuses_in_a_case_too(channel):
    made = channel("", rest="charset: {strict: true}\n" + rest()).compiled
    outcome = check_case(made, {"in.hl7": adt(family="Muller").replace(b"Mu", b"M\xfc")})
    assert outcome.states == ["rejected"]
    assert b"\nMSA|AE|" in outcome.files["ack.hl7"]
    assert b"\nERR||MSH^1^18|103^" in outcome.files["ack.hl7"]
    assert outcome.files["findings.txt"] == b"W306 MSH-18\nE272 MSH-18\n"
