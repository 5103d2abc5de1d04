"""Two APIs as their documentation and source say they are, strict about what they are sent.

Neither is the program itself: no build of Orthanc with REST worklists, and no dcm4chee, is at hand for these tests.
`FakeOrthanc` follows the Orthanc Book's page "Worklists plugin" and the plugin orthanc-worklists (January 2026): a PUT
makes an item whether or not it is there, and checks nothing of it but that it can be read (its `Force` is on by
default); what is missing is 404; what cannot be read is 400; listing gives all items with their tags;
`FakeArchive` follows dcm4chee-arc-light's services MWL-RS and PAM-RS (5.34).
"""

import re
from typing import Any
from urllib.parse import unquote, urlsplit

from pydicom import config
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.valuerep import VR, validate_value

from tests.adapters.hand_offs.rest_peer import Asked, Reply

STATUSES = "SCHEDULED|ARRIVED|READY|STARTED|DEPARTED|CANCELED|DISCONTINUED|COMPLETED"


class FakeOrthanc:
    """Its items by id, as the tags that were sent. `deletes` stands in for its housekeeping."""

    def __init__(self) -> None:
        self.items: dict[str, dict[str, Any]] = {}
        self.has_plugin = True
        self.login = ""

    def __call__(self, asked: Asked) -> Reply:
        if self.login and asked.headers.get("authorization") != self.login:
            return Reply(401)
        path = urlsplit(asked.target).path
        if not self.has_plugin or not path.startswith("/worklists"):
            return _refused(404, 17, "Unknown resource")
        if path == "/worklists":
            if asked.method != "GET":
                return Reply(405)
            return Reply(200, [{"ID": id_, "Tags": tags} for id_, tags in self.items.items()])
        if path == "/worklists/create":
            # By POST, under an id of its own: a hand-off that used it could not hand over twice.
            return Reply(405)
        found = re.fullmatch("/worklists/([^/]+)", path)
        if found is None:
            return _refused(404, 17, "Unknown resource")
        id_ = unquote(found[1])
        if asked.method == "PUT":
            return self._put(id_, asked)
        if asked.method not in ("GET", "DELETE"):
            return Reply(405)
        if id_ not in self.items:
            return _refused(404, 17, "Unknown resource", "Worklist not found")
        if asked.method == "DELETE":
            return self._delete(id_)
        return Reply(200, {"ID": id_, "Tags": self.items[id_]})

    def _delete(self, id_: str) -> Reply:
        del self.items[id_]
        return Reply(200, {})

    def _put(self, id_: str, asked: Asked) -> Reply:
        try:
            body = asked.json()
            tags = body["Tags"]
            assert isinstance(tags, dict) and set(body) <= {"Tags", "Force"}
            _check_tags(tags)
            (step,) = tags["ScheduledProcedureStepSequence"]
            assert step["Modality"] and step["ScheduledProcedureStepStartDate"]
        except (ValueError, KeyError, TypeError, AssertionError) as error:
            return _refused(400, 15, "Bad file format", repr(error))
        self.items[id_] = tags
        return Reply(200, {"ID": id_, "Path": f"/worklists/{id_}"})


def _refused(status: int, code: int, message: str, details: str = "") -> Reply:
    """As Orthanc says it."""
    http = {400: "Bad Request", 404: "Not Found"}[status]
    told = {"HttpError": http, "HttpStatus": status, "Message": message, "OrthancError": message, "OrthancStatus": code}
    return Reply(status, told | ({"Details": details} if details else {}))


def _check_tags(tags: dict[str, Any]) -> None:
    """Texts and lists of objects by DICOM's keywords; every value as its VR has it."""
    for keyword, value in tags.items():
        if tag_for_keyword(keyword) is None:
            raise ValueError(f"unknown tag {keyword}")
        vr = dictionary_VR(keyword)
        if vr == "SQ":
            for inner in value:
                _check_tags(inner)
        elif not isinstance(value, str):
            raise TypeError(f"{keyword} is no text")
        elif vr == "US":
            int(value)
        else:
            for one in value.split("\\") if vr not in ("LT", "ST", "UT") else [value]:
                validate_value(VR(vr), one, config.RAISE)


class FakeArchive:
    """Its steps by study and step, and the patients that it knows. `token` not '': nobody gets in without it."""

    def __init__(self) -> None:
        self.steps: dict[tuple[str, str], Dataset] = {}
        self.patients: dict[tuple[str, str], Dataset] = {}
        self.merged: set[tuple[str, str]] = set()
        self.token = ""
        self.tokens_given = 0
        self.ae_title = "WORKLIST"

    @property
    def shown(self) -> dict[tuple[str, str], str]:
        """As scanners see them: the archive hides what was begun or has ended. Names are those of its patients."""
        return {
            key: str(self.patients[_patient(step)].PatientName)
            for key, step in self.steps.items()
            if step.ScheduledProcedureStepSequence[0].ScheduledProcedureStepStatus in ("SCHEDULED", "ARRIVED", "READY")
        }

    def __call__(self, asked: Asked) -> Reply:
        parts = urlsplit(asked.target)
        if parts.path == "/token":
            return self._give_token(asked)
        if self.token and asked.headers.get("authorization") != f"Bearer {self.token}":
            return Reply(401)
        base = f"/dcm4chee-arc/aets/{self.ae_title}/rs"
        if not parts.path.startswith(base + "/"):
            return Reply(404, {"errorMessage": "No such Application Entity"})
        names = [unquote(part) for part in parts.path[len(base) + 1 :].split("/")]
        match (asked.method, names):
            case ("GET", ["mwlitems"]):
                return Reply(200, [step.to_json_dict() for step in self.steps.values()]) if self.steps else Reply(204)
            case ("POST", ["mwlitems"]):
                return self._put(asked)
            case ("POST", ["patients"]):
                return self._put_patient(asked)
            case ("DELETE", ["mwlitems", study, step]):
                return Reply(204) if self.steps.pop((study, step), None) is not None else Reply(404)
            case ("POST", ["mwlitems", study, step, "status", status]):
                if not re.fullmatch(STATUSES, status):
                    return Reply(400)
                found = self.steps.get((study, step))
                if found is None:
                    return Reply(404)
                found.ScheduledProcedureStepSequence[0].ScheduledProcedureStepStatus = status
                return Reply(204)
        return Reply(405)

    def _give_token(self, asked: Asked) -> Reply:
        if asked.body != b"grant_type=client_credentials&client_id=segmill&client_secret=s%26cret":
            return Reply(401)
        self.tokens_given += 1
        self.token = f"token{self.tokens_given}"
        return Reply(200, {"access_token": self.token, "expires_in": 300, "token_type": "Bearer"})

    def _read(self, asked: Asked) -> Dataset | None:
        if asked.headers.get("content-type") not in ("application/dicom+json", "application/json"):
            return None
        try:
            return Dataset.from_json(asked.json())
        except Exception:
            return None

    def _put(self, asked: Asked) -> Reply:
        step = self._read(asked)
        if step is None or not step.get("PatientID") or not step.get("ScheduledProcedureStepSequence"):
            return Reply(400)
        patient = _patient(step)
        if patient in self.merged:
            return Reply(403, {"errorMessage": "Patient was merged"})
        if patient not in self.patients:
            return Reply(404, {"errorMessage": "Patient does not exist."})
        (inner,) = step.ScheduledProcedureStepSequence
        key = (str(step.StudyInstanceUID), str(inner.ScheduledProcedureStepID))
        before = self.steps.get(key)
        if before is not None and _patient(before) != patient:
            return Reply(400, {"errorMessage": "Patient mismatch"})
        self.steps[key] = step
        return Reply(200, step.to_json_dict())

    def _put_patient(self, asked: Asked) -> Reply:
        patient = self._read(asked)
        if patient is None or not patient.get("PatientID"):
            return Reply(400)
        self.patients[_patient(patient)] = patient
        return Reply(200, {"PatientID": str(patient.PatientID)})


def _patient(dataset: Dataset) -> tuple[str, str]:
    return str(dataset.PatientID), str(dataset.get("IssuerOfPatientID", ""))
