"""Each record of the audit is a valid DICOM audit message (PS3.15 A.5), and says nothing of a patient unasked."""

import base64
import re
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.sr.codedict import codes

from engine.adapters import dicom_audit
from engine.adapters.dicom_audit import EVENTS, AuditMessages, Code, actor_of, event_of
from engine.config.audit import SyslogOptions
from engine.model.audit import AuditRow, numbers_in
from tests.adapters.audit_schema import check

SECRET = "ZQ12345QZ"
AT_US = 1_790_000_000_123_456


def row(action: str = "read", **changes: Any) -> AuditRow:
    values: dict[str, Any] = {
        "id": 184,
        "at_us": AT_US,
        "actor": "anna from 10.1.2.3",
        "action": action,
        "reason": f"of {SECRET}",
        "scope": f'where PID-3.1 == "{SECRET}"',
        "counts": '{"messages":2,"deliveries":0}',
        "ids": "messages 5-6",
        "key": "ticket",
        "hash": bytes(32),
    }
    return AuditRow(**{**values, **changes})


def messages(found: Any = None, /, **changes: Any) -> AuditMessages:
    return AuditMessages(SyslogOptions(host="arr", **changes), "engine.example.org", "file://x/audit", found)


def documents(made: AuditMessages, of: AuditRow) -> list[ET.Element]:
    return [check(text) for _, text in made.documents(of)]


def types(root: ET.Element) -> list[str]:
    return [one.attrib["csd-code"] for one in root.findall("EventIdentification/EventTypeCode")]


def event_code(root: ET.Element) -> str:
    found = root.find("EventIdentification/EventID")
    assert found is not None
    return found.attrib["csd-code"]


def outcome(root: ET.Element) -> str:
    found = root.find("EventIdentification")
    assert found is not None
    return found.attrib["EventOutcomeIndicator"]


@pytest.mark.parametrize("actor", ["anna from 10.1.2.3", "anna (uid 1000)", "token ci from 2001:db8::1", "the engine"])
@pytest.mark.parametrize("ids", ["messages 5-6", "adt/ris", "user anna", ""])
@pytest.mark.parametrize("action", [*EVENTS, "pause", "resume", "retention-confirm", "a word of tomorrow"])
def test_every_record_is_valid(action: str, ids: str, actor: str) -> None:
    for asked in ({}, {"patients": True, "words": True, "enterprise_site": "St. Anna"}):
        found = documents(messages(lambda _: [SECRET], **asked), row(action, actor=actor, ids=ids))
        assert len(found) == 1


def test_the_codes_are_those_of_dicom() -> None:
    ours = [value for value in vars(dicom_audit).values() if isinstance(value, Code) and value.system == "DCM"]
    assert len(ours) >= 22
    known = {code.value: code.meaning for name in dir(codes.DCM) if hasattr(code := getattr(codes.DCM, name), "value")}
    for code in ours:
        assert known[code.value] == code.meaning


@pytest.mark.parametrize(
    ("action", "ids", "code", "type_"),
    [
        ("start", "", "110100", "110120"),
        ("stop", "", "110100", "110121"),
        ("sign-in", "user anna", "110114", "110122"),
        ("sign-in-failed", "user anna", "110114", "110122"),
        ("sign-out", "user anna", "110114", "110123"),
        ("user-grant", "user anna; operator of the site", "110113", "110136"),
        ("user-add", "user anna", "110113", "110137"),
        ("token-revoke", "token ci", "110113", "110137"),
        ("reload", "", "110113", "110131"),
        ("pause", "adt/ris", "110113", "110132"),
        ("retry", "adt/ris", "110113", "110132"),
        ("retry", "messages 5; deliveries 7", "110110", "retry"),
        ("read", "messages 5", "110110", "read"),
        ("read", "step main/1.2.3/SPS1", "110110", "read"),
        ("read", "the audit", "110101", "read"),
        ("search", "", "110112", "search"),
        ("export", "messages 1-100", "110106", "export"),
        ("edit", "messages 5,9", "110110", "edit"),
    ],
)
def test_what_an_action_is(action: str, ids: str, code: str, type_: str) -> None:
    (found,) = documents(messages(), row(action, ids=ids))
    assert event_code(found) == code
    assert types(found)[0] == type_


def test_nothing_of_a_patient_is_said_unasked() -> None:
    for action in [*EVENTS, "pause"]:
        for sent in messages(lambda _: [SECRET])(row(action)):
            assert SECRET not in _all_of(sent)


def _all_of(sent: bytes) -> str:
    """With what is hidden in base64."""
    text = sent.decode()
    hidden = re.findall(r'(?:value="|Query>)([A-Za-z0-9+/=]*)', text)
    return text + "".join(base64.b64decode(one).decode() for one in hidden)


def test_patients_are_named_where_that_is_asked_for() -> None:
    (found,) = documents(messages(lambda _: ["4711", "4712"], patients=True), row())
    ids = [one.attrib["ParticipantObjectID"] for one in found.findall("ParticipantObjectIdentification")]
    assert ids == ["4711", "4712", "messages 5-6"]


def test_many_patients_are_told_in_several_messages_of_the_same_record() -> None:
    many = [f"P{number}" for number in range(120)]
    found = documents(messages(lambda _: many, patients=True), row())
    told = [
        one.attrib["ParticipantObjectID"]
        for root in found
        for one in root.findall("ParticipantObjectIdentification")
        if one.attrib["ParticipantObjectTypeCode"] == "1"
    ]
    assert len(found) == 4 and told == many


def test_what_was_searched_and_why_is_told_where_that_is_asked_for() -> None:
    (sent,) = messages(words=True)(row("search"))
    assert f'where PID-3.1 == "{SECRET}"' in _all_of(sent) and f"of {SECRET}" in _all_of(sent)
    (sent,) = messages()(row("search"))
    assert "withheld: record 184 of the audit has it" in _all_of(sent)


def test_the_record_and_its_hash_are_named_in_every_message() -> None:
    for action in [*EVENTS, "pause"]:
        for sent in messages()(row(action, hash=b"\xab" * 32)):
            assert "184" in _all_of(sent) and "ab" * 32 in _all_of(sent)


def test_what_went_well_and_what_did_not_are_messages_of_their_own() -> None:
    both = row("release", counts='{"messages":2,"deliveries":2,"left":1}')
    assert [outcome(root) for root in documents(messages(), both)] == ["0", "4"]
    none = row("release", counts='{"messages":0,"deliveries":0,"left":3}')
    assert [outcome(root) for root in documents(messages(), none)] == ["4"]


def test_who_failed_to_sign_in_is_who_was_claimed() -> None:
    failed = row("sign-in-failed", actor="somebody from 10.1.2.3", ids="user anna")
    (found,) = documents(messages(), failed)
    person = found.find("ActiveParticipant")
    assert outcome(found) == "4" and person is not None
    assert (person.get("UserID"), person.get("NetworkAccessPointID")) == ("anna", "10.1.2.3")
    assert actor_of(row("sign-in-failed", actor="somebody from 10.1.2.3", ids="no user of ours")).user == "unknown"


def test_a_message_is_syslog_with_its_fields() -> None:
    (sent,) = messages()(row())
    head, bom, text = sent.partition(b"\xef\xbb\xbf")
    stamp = "2026-09-21T14:13:20.123456Z"
    assert bom and re.fullmatch(rf"<85>1 {stamp} engine\.example\.org segmill \d+ DICOM\+RFC3881 - ", head.decode())
    check(text.decode())
    (failed,) = messages()(row("sign-in-failed", ids="no user of ours"))
    assert failed.startswith(b"<84>1 ")


def test_no_message_is_longer_than_repositories_take() -> None:
    ids = "messages " + ",".join(map(str, range(1, 200_000, 2)))
    long = row("export", ids=ids, reason="x" * 50_000, scope="y" * 50_000)
    many = [f"PATIENT-{number:060}" for number in range(1000)]
    for sent in messages(lambda _: many, patients=True, words=True)(long):
        assert len(sent) <= 32_768
    search = row("search", scope="\u4e2d" * 50_000, reason="\u4e2d" * 5000)
    for sent in messages(words=True)(search):
        assert len(sent) <= 32_768


HOSTILE = st.text(st.characters(codec="utf-8"), min_size=1, max_size=60)


@given(HOSTILE, HOSTILE, HOSTILE, HOSTILE)
def test_hostile_text_stays_text(actor: str, ids: str, reason: str, patient: str) -> None:
    made = messages(lambda _: [patient], patients=True, words=True, source="a<b&\"c'")
    for action in ("read", "reload", "search", "export"):
        for text in [text for _, text in made.documents(row(action, actor=actor, ids=ids, reason=reason))]:
            root = ET.fromstring(text.encode())
            assert {element.tag for element in root.iter()} <= KNOWN


KNOWN = {
    "AuditMessage",
    "EventIdentification",
    "EventID",
    "EventTypeCode",
    "EventOutcomeDescription",
    "ActiveParticipant",
    "RoleIDCode",
    "MediaIdentifier",
    "MediaType",
    "AuditSourceIdentification",
    "AuditSourceTypeCode",
    "ParticipantObjectIdentification",
    "ParticipantObjectIDTypeCode",
    "ParticipantObjectName",
    "ParticipantObjectQuery",
    "ParticipantObjectDetail",
}


def test_an_unknown_word_is_the_use_of_a_restricted_function() -> None:
    assert event_of(row("a word of tomorrow")).type == dicom_audit.RESTRICTED_FUNCTION


def test_the_numbers_of_a_record_are_read_back() -> None:
    assert numbers_in("messages 1-3,7; deliveries 8-9", 100) == [1, 2, 3, 7]
    assert numbers_in("messages 1-1000000", 3) == [1, 2, 3]
    assert numbers_in("messages 1,5-9", 3) == [1, 5, 6]
    assert numbers_in("adt/ris", 3) == [] and numbers_in("messages x-y", 3) == []


def test_of_a_record_that_nothing_can_be_made_of_there_is_its_number_and_nothing_else() -> None:
    def broken(_: AuditRow) -> list[str]:
        raise ValueError

    made = messages(broken, patients=True, words=True, source="a\x01b", enterprise_site="c\x02d")
    with pytest.raises(ValueError):
        made(row())
    (told,) = made.bare(row())
    text = told.partition(b"\xef\xbb\xbf")[2].decode()
    details = {one.attrib["type"]: one.attrib["value"] for one in check(text).iter("ParticipantObjectDetail")}
    assert base64.b64decode(details["record"]) == b"184" and base64.b64decode(details["hash"]) == b"0" * 64
    assert SECRET not in text and "anna" not in text and base64.b64encode(SECRET.encode()).decode() not in text
