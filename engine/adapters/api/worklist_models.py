"""What the API takes and gives of worklists. Times are RFC 3339 in UTC; no list has a value of a patient."""

from typing import Annotated, Any

from pydantic import StringConstraints

from engine.adapters.api.entries import ApiModel
from engine.adapters.api.models import Limit, Name, Revision, RunKey, Sentence
from engine.worklist.item import Status


class WorklistPath(ApiModel):
    worklist: Name


class StepPath(WorklistPath):
    study: Annotated[str, StringConstraints(pattern=r"^[0-9.]{1,64}$")]
    step: Annotated[str, StringConstraints(min_length=1, max_length=64)]


class WorklistQuery(ApiModel):
    """Without `status`: those that scanners see."""

    status: Status | None = None
    limit: Limit = 100


class StepShown(ApiModel):
    """A step, without what a patient can be known by."""

    study: str
    step: str
    status: str
    held: bool
    revision: int
    starts_at: str
    modality: str
    stations: list[str]


class Steps(ApiModel):
    steps: list[StepShown]


class HistoryShown(ApiModel):
    at: str
    seq: int
    who: str
    what: str
    status: str


class StepWhole(StepShown):
    """With its attributes (DICOM JSON, PS3.18 Annex F): a reading of a patient's data."""

    dicom: dict[str, Any]
    history: list[HistoryShown]


class StatusBody(ApiModel):
    """`planned` and `revision`: as the step was when this was decided. `force`: also where nothing else leads, as from
    COMPLETED back to SCHEDULED; it needs a reason. `key`: what was done under it is not done again."""

    to: Status
    planned: Status
    revision: Revision
    force: bool = False
    reason: Sentence = ""
    key: RunKey = ""


class StatusSet(ApiModel):
    """`made`: the messages that tell the ordering system of it."""

    steps: int
    deliveries: int
    made: list[int]
    done_before: bool
