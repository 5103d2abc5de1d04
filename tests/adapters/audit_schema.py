"""The schema of DICOM PS3.15 A.5.1 and the tables of A.5.3, as far as our messages go, as checks of a document.

Written from the standard, apart from the code under test: what is not named here is refused.
"""

import base64
import re
from xml.etree import ElementTree as ET

TOKEN = re.compile(r"\S(?:.*\S)?", re.DOTALL)
DATE_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


def check(text: str) -> ET.Element:
    """The root of a message that is valid. AssertionError says what is not."""
    root = ET.fromstring(text.encode())
    assert root.tag == "AuditMessage" and not root.attrib
    tags = [child.tag for child in root]
    order = ["EventIdentification", "ActiveParticipant", "AuditSourceIdentification", "ParticipantObjectIdentification"]
    assert tags == sorted(tags, key=order.index), tags
    assert tags.count("EventIdentification") == 1 and tags.count("AuditSourceIdentification") == 1
    assert tags.count("ActiveParticipant") >= 1
    for element in root.iter():
        assert not (element.text or "").strip() or not len(element), "no mixed content"
    event = root.find("EventIdentification")
    assert event is not None
    _event(event)
    for participant in root.findall("ActiveParticipant"):
        _participant(participant)
    source = root.find("AuditSourceIdentification")
    assert source is not None
    assert set(source.attrib) <= {"AuditEnterpriseSiteID", "AuditSourceID"} and source.get("AuditSourceID")
    assert [(kind.tag, kind.get("csd-code")) for kind in source] == [("AuditSourceTypeCode", "4")]
    for item in root.findall("ParticipantObjectIdentification"):
        _object(item)
    _table(root, event)
    assert sum(p.get("UserIsRequestor") == "true" for p in root.findall("ActiveParticipant")) <= 1, "A.5.2"
    return root


def _coded(element: ET.Element) -> str:
    assert set(element.attrib) <= {"csd-code", "codeSystemName", "displayName", "originalText"}, element.attrib
    for key in ("csd-code", "codeSystemName", "originalText"):
        assert TOKEN.fullmatch(element.attrib[key]), (element.tag, key)
    assert not len(element) and not element.text
    return element.attrib["csd-code"]


def _event(event: ET.Element) -> None:
    assert set(event.attrib) == {"EventActionCode", "EventDateTime", "EventOutcomeIndicator"}
    assert event.get("EventActionCode") in set("CRUDE")
    assert DATE_TIME.fullmatch(event.attrib["EventDateTime"])
    assert event.get("EventOutcomeIndicator") in {"0", "4", "8", "12"}
    tags = [child.tag for child in event]
    order = ["EventID", "EventTypeCode", "EventOutcomeDescription"]
    assert tags == sorted(tags, key=order.index) and tags.count("EventID") == 1
    assert tags.count("EventOutcomeDescription") <= 1
    for child in event:
        if child.tag != "EventOutcomeDescription":
            _coded(child)


def _participant(one: ET.Element) -> None:
    known = {"UserID", "AlternativeUserID", "UserName", "UserIsRequestor", "NetworkAccessPointID"}
    assert set(one.attrib) <= known | {"NetworkAccessPointTypeCode"}
    assert one.get("UserID") and one.get("UserIsRequestor") in ("true", "false")
    assert ("NetworkAccessPointID" in one.attrib) == ("NetworkAccessPointTypeCode" in one.attrib)
    assert one.get("NetworkAccessPointTypeCode", "1") in set("12345")
    tags = [child.tag for child in one]
    assert tags == sorted(tags, key=["RoleIDCode", "MediaIdentifier"].index) and tags.count("MediaIdentifier") <= 1
    for child in one:
        if child.tag == "MediaIdentifier":
            (kind,) = child
            assert kind.tag == "MediaType" and _coded(kind) == "110037"
        else:
            _coded(child)


def _object(one: ET.Element) -> None:
    assert set(one.attrib) <= {"ParticipantObjectID", "ParticipantObjectTypeCode", "ParticipantObjectTypeCodeRole"}
    assert TOKEN.fullmatch(one.attrib["ParticipantObjectID"])
    assert one.get("ParticipantObjectTypeCode") in set("1234")
    assert int(one.attrib["ParticipantObjectTypeCodeRole"]) in range(1, 27)
    tags = [child.tag for child in one]
    assert tags[0] == "ParticipantObjectIDTypeCode"
    assert tags[1] in ("ParticipantObjectName", "ParticipantObjectQuery"), "one of the two is mandatory"
    assert set(tags[2:]) <= {"ParticipantObjectDetail"}
    _coded(one[0])
    if tags[1] == "ParticipantObjectQuery":
        base64.b64decode(one[1].text or "", validate=True)
    for detail in one[2:]:
        assert set(detail.attrib) == {"type", "value"} and TOKEN.fullmatch(detail.attrib["type"])
        base64.b64decode(detail.attrib["value"], validate=True)


def roles(participant: ET.Element) -> set[str]:
    return {role.attrib["csd-code"] for role in participant.findall("RoleIDCode")}


def _table(root: ET.Element, event: ET.Element) -> None:
    """What A.5.3 says of each event, beyond the schema."""
    code = event[0].attrib["csd-code"]
    action = event.get("EventActionCode")
    types = {child.attrib["csd-code"] for child in event.findall("EventTypeCode")}
    people = root.findall("ActiveParticipant")
    objects = root.findall("ParticipantObjectIdentification")
    kinds = [(one.get("ParticipantObjectTypeCode"), one.get("ParticipantObjectTypeCodeRole")) for one in objects]
    id_codes = [one[0].attrib["csd-code"] for one in objects]
    match code:
        case "110100":  # A.5.3.1
            assert action == "E" and types in ({"110120"}, {"110121"})
            assert sum("110150" in roles(one) for one in people) == 1 and any("110151" in roles(one) for one in people)
        case "110101":  # A.5.3.2
            assert action == "R" and 1 <= len(people) <= 2
            assert kinds == [("2", "13")] and id_codes == ["12"]
            assert objects[0][1].text == "Security Audit Log"
        case "110106":  # A.5.3.4
            assert action == "R"
            assert 1 <= sum("110153" in roles(one) for one in people) <= 2
            media = [one for one in people if "110154" in roles(one)]
            assert len(media) == 1 and media[0].get("UserIsRequestor") == "false"
            assert media[0].find("MediaIdentifier") is not None
            assert sum(one.get("UserIsRequestor") == "true" for one in people) == 1, "A.5.3.4.1"
            assert ("1", "1") in kinds
        case "110110":
            assert action in set("CRUD") and 1 <= len(people) <= 2
            patients = [one for one, kind in zip(objects, kinds, strict=True) if kind == ("1", "1")]
            assert patients and all(one[0].attrib["csd-code"] == "2" for one in patients)
        case "110112":  # A.5.3.10
            assert action == "E"
            assert sum("110153" in roles(one) for one in people) == 1
            assert sum("110152" in roles(one) for one in people) == 1
            assert kinds == [("2", "24")] and objects[0][1].tag == "ParticipantObjectQuery"
        case "110113":  # A.5.3.11
            assert action == "E" and types & {f"1101{n}" for n in range(26, 43)}
            assert 1 <= len(people) <= 2 and kinds == [("2", "13")]
            assert "Alert Description" in [
                detail.get("type") for detail in objects[0].findall("ParticipantObjectDetail")
            ]
        case "110114":  # A.5.3.12
            assert action == "E" and types in ({"110122"}, {"110123"})
            assert 1 <= len(people) <= 2
            assert people[0].get("NetworkAccessPointID") and people[0].get("NetworkAccessPointTypeCode")
        case _:
            raise AssertionError(f"no event of ours: {code}")
