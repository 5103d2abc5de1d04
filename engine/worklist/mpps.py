"""Modality Performed Procedure Step: what a scanner says that it does, and what becomes of the items (dicom.md 1.9).

PS3.4 annex F. A performed step is made IN PROGRESS, and ends COMPLETED or DISCONTINUED; nothing moves it after that. It
may name several scheduled steps, and several performed steps may name one: that one is completed when none of them is
in progress.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, get_args

from engine.worklist.changes import Put
from engine.worklist.item import STATUS_MOVES, Attributes, Item, Status, items, text

PerformedStatus = Literal["IN PROGRESS", "COMPLETED", "DISCONTINUED"]
PERFORMED: Final[tuple[PerformedStatus, ...]] = get_args(PerformedStatus)

WRONG_ENTRY: Final = ("110514", "DCM")
"""CID 9300: an incorrect worklist entry was selected. The step that was named is to be done still."""

SUCCESS: Final = 0x0000
INVALID_VALUE: Final = 0x0106
DUPLICATE: Final = 0x0111
NO_SUCH: Final = 0x0112
MAY_NOT_CHANGE: Final = 0x0110
MISSING_VALUE: Final = 0x0121


@dataclass(slots=True, frozen=True)
class Reference:
    """A scheduled step as a scanner names it; any part may be ''."""

    study_uid: str = ""
    step_id: str = ""
    accession: str = ""


@dataclass(slots=True, frozen=True)
class Performed:
    """One performed step. `references`: the scheduled steps that it names, none for an unscheduled examination."""

    uid: str
    status: PerformedStatus
    references: tuple[Reference, ...] = ()
    station: str = ""
    reason: tuple[str, str] = ("", "")

    @property
    def is_wrong_entry(self) -> bool:
        """Whether it was broken off because the wrong entry had been taken."""
        return self.status == "DISCONTINUED" and self.reason == WRONG_ENTRY


@dataclass(slots=True, frozen=True)
class Answer:
    """The DIMSE status, a sentence without values, and the performed step as it is to be kept, None for no change."""

    status: int
    text: str = ""
    performed: Performed | None = None


def performed_of(uid: str, attributes: Attributes) -> Performed | None:
    """A performed step by the attributes of an N-CREATE, or of all that is known of it; None without a status.

    Real scanners leave out what is required of them: only the status must be there.
    """
    status = text(attributes, "PerformedProcedureStepStatus")
    known = next((one for one in PERFORMED if one == status), None)
    if known is None:
        return None
    references = tuple(
        Reference(text(item, "StudyInstanceUID"), text(item, "ScheduledProcedureStepID"), text(item, "AccessionNumber"))
        for item in items(attributes, "ScheduledStepAttributesSequence")
    )
    named = tuple(one for one in dict.fromkeys(references) if one.study_uid or one.accession)
    return Performed(uid, known, named, text(attributes, "PerformedStationAETitle"), reason_of(attributes))


def reason_of(attributes: Attributes) -> tuple[str, str]:
    """Why it was discontinued, as code value and scheme; empty where nothing says it."""
    codes = items(attributes, "PerformedProcedureStepDiscontinuationReasonCodeSequence")
    return (text(codes[0], "CodeValue"), text(codes[0], "CodingSchemeDesignator")) if codes else ("", "")


def create(known: Performed | None, new: Performed) -> Answer:
    """N-CREATE: only a UID that is new, and only IN PROGRESS."""
    if known is not None:
        return Answer(DUPLICATE, "this performed step is there already")
    if new.status != "IN PROGRESS":
        return Answer(INVALID_VALUE, "a performed step begins IN PROGRESS")
    return Answer(SUCCESS, performed=new)


def change(known: Performed | None, status: str, reason: tuple[str, str] = ("", "")) -> Answer:
    """N-SET: `status` '' leaves it as it is. What has ended is changed by nothing, also not by the same again."""
    if known is None:
        return Answer(NO_SUCH, "there is no such performed step")
    if known.status != "IN PROGRESS":
        return Answer(MAY_NOT_CHANGE, "the performed step has ended and may not be changed")
    if not status:
        return Answer(SUCCESS, performed=known)
    if status not in PERFORMED:
        return Answer(INVALID_VALUE, "this is no status of a performed step")
    return Answer(SUCCESS, performed=replace(known, status=status, reason=reason))


def meant(reference: Reference, candidates: Sequence[Item]) -> list[Item]:
    """The items that a reference names: by study and step, then accession number and step, then accession number.

    A study without a step, where it has one item only, is that one. An accession number that steps of two patients
    have, of two issuers, names none of them.
    """
    by_both = [i for i in candidates if i.key.study_uid == reference.study_uid and i.key.step_id == reference.step_id]
    if by_both and reference.study_uid and reference.step_id:
        return by_both
    if reference.accession:
        # Scanners have it as DICOM does; one that reads it from a paper has it as it was ordered.
        same = [i for i in candidates if reference.accession in (i.shown_accession, i.keys.accession.id)]
        with_step = [item for item in same if item.key.step_id == reference.step_id]
        found = with_step or (same if not reference.step_id or not reference.study_uid else [])
        return found if len({item.patient for item in found}) <= 1 else []
    of_study = [item for item in candidates if reference.study_uid and item.key.study_uid == reference.study_uid]
    return of_study if len(of_study) == 1 and not reference.step_id else []


def names(references: Sequence[Reference], item: Item) -> bool:
    """Whether one of them names the item."""
    return any(meant(reference, [item]) for reference in references)


def effect(performed: Performed, item: Item, others: Sequence[Performed]) -> Put | None:
    """What it does to one item that it names; `others`: the other performed steps that name the item."""
    status: Status
    if performed.status == "IN PROGRESS":
        status = "STARTED"
    elif any(other.status == "IN PROGRESS" for other in others):
        return None
    elif performed.is_wrong_entry:
        status = "COMPLETED" if any(other.status == "COMPLETED" for other in others) else "SCHEDULED"
    elif performed.status == "COMPLETED" or any(other.status == "COMPLETED" for other in others):
        status = "COMPLETED"
    else:
        status = "DISCONTINUED"
    if status == item.status or status not in STATUS_MOVES[item.status]:
        return None
    return Put(replace(item, status=status), item, f"performed step {performed.status.lower()}")
