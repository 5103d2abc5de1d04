"""Steps of a worklist as rows, without what a patient can be known by, and what a query would be answered."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from engine.adapters.console.paging import page_before
from engine.config.dicom import DicomOptions
from engine.ports.store import StoreQueries
from engine.ports.worklist import HistoryRow, Shelved, WorklistView
from engine.worklist.asking import ask
from engine.worklist.attributes import ITEM, SPS, STEP
from engine.worklist.item import STATUS_MOVES, STATUSES, Attributes, Item, ItemKey, Status
from engine.worklist.masking import Line, lines_of
from engine.worklist.matching import answer, compile_query, find
from engine.worklist.status import ORDER_STATUS

MOST_STEPS: Final = 20_000
"""So many are looked at for one page."""
MOST_ANSWERS: Final = 1_000
"""As a scanner gets, where the site says nothing else (`dicom: limits`)."""
DAY: Final = "ScheduledProcedureStepStartDate"
STATION: Final = "ScheduledStationAETitle"
KINDS: Final[Mapping[Status, str]] = {
    "SCHEDULED": "info",
    "ARRIVED": "info",
    "READY": "info",
    "STARTED": "ok",
    "COMPLETED": "quiet",
    "DISCONTINUED": "warn",
    "CANCELED": "quiet",
}
ASKED_KEYS: Final = (
    ("PatientName", "Patient's name", "Muster*"),
    ("PatientID", "Patient ID", ""),
    ("AccessionNumber", "Accession number", ""),
    ("RequestedProcedureID", "Requested procedure ID", ""),
    ("StudyInstanceUID", "Study Instance UID", ""),
    (DAY, "Start date", "20260102 or 20260102-20260105"),
    ("ScheduledProcedureStepStartTime", "Start time", "0700-1200"),
    ("Modality", "Modality", "CT"),
    (STATION, "Station AE title", "CT1"),
    ("ScheduledProcedureStepID", "Step ID", ""),
    ("ScheduledProcedureStepStatus", "Step status", "SCHEDULED"),
)
"""The usual keys of a query, with what people call them."""
RETURNED: Final = (
    "AccessionNumber",
    "ReferringPhysicianName",
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "RequestedProcedureDescription",
    "RequestedProcedureID",
    "RequestedProcedurePriority",
)
RETURNED_OF_STEP: Final = (
    "Modality",
    STATION,
    DAY,
    "ScheduledProcedureStepStartTime",
    "ScheduledPerformingPhysicianName",
    "ScheduledProcedureStepDescription",
    "ScheduledProcedureStepID",
    "ScheduledProcedureStepStatus",
)
"""Return keys that scanners usually ask for with them, without a value."""


@dataclass(slots=True, frozen=True)
class StepRow:
    """One step. `source`: the last message that changed it; None where none did, or nobody knows."""

    study: str
    step: str
    status: Status
    kind: str
    is_held: bool
    start: str
    modality: str
    stations: tuple[str, ...]
    description: str
    source: int | None


def step_row(item: Item, source: int | None) -> StepRow:
    described = next(iter(_texts(item.step, "ScheduledProcedureStepDescription")), "")
    return StepRow(
        study=item.key.study_uid,
        step=item.key.step_id,
        status=item.status,
        kind=KINDS[item.status],
        is_held=item.is_held,
        start=start_of(item),
        modality=item.modality,
        stations=item.stations,
        description=described or next(iter(_texts(item.attributes, "RequestedProcedureDescription")), ""),
        source=source,
    )


def _texts(attributes: Attributes, keyword: str) -> list[str]:
    return [value for value in attributes.get(keyword, ()) if isinstance(value, str) and value]


def start_of(item: Item) -> str:
    """`2026-01-02 10:30`, by the clock of the scanner."""
    at = item.starts_at
    return f"{at[:4]}-{at[4:6]}-{at[6:8]} {at[8:10]}:{at[10:12]}"


def source_of(history: Sequence[HistoryRow]) -> int | None:
    """The last message that did something to it."""
    return next((row.seq for row in reversed(history) if row.seq), None)


@dataclass(slots=True, frozen=True)
class Wanted:
    """`day`: YYYYMMDD or ''; `status` '': those that scanners see; 'all': every one, also what is held."""

    day: str = ""
    station: str = ""
    modality: str = ""
    status: str = ""


@dataclass(slots=True, frozen=True)
class StepsPage:
    """`after`: the cursor of what follows, '' at the end; `before`: that of the page before ('' the first), None
    where this is the first. `total`: how many there are in all.

    `stations`, `modalities`: those of that day, for choosing among. `is_full`: there are more than are looked at.
    """

    rows: list[StepRow]
    after: str
    before: str | None
    total: int
    counts: Mapping[Status, int]
    stations: list[str]
    modalities: list[str]
    is_full: bool


def steps_page(view: WorklistView, wanted: Wanted, after: str, limit: int) -> StepsPage:
    """By their start."""
    step: dict[str, tuple[str, ...]] = {DAY: (wanted.day,)} if wanted.day else {}
    query = replace(compile_query({SPS: (step,)} if step else {}), names_status=True)
    candidates = view.candidates(query, MOST_STEPS)
    of_day = [one.item for one in candidates if all(condition.test(one.item) for condition in query.conditions)]
    of_place = [
        item for item in of_day if wanted.station in ("", *item.stations) and wanted.modality in ("", item.modality)
    ]
    found = sorted((item for item in of_place if _has_status(item, wanted.status)), key=cursor_of)
    cursors = [cursor_of(item) for item in found]
    start = bisect_right(cursors, after) if after else 0
    page = found[start:]
    return StepsPage(
        rows=[step_row(item, source_of(view.history(item.key))) for item in page[:limit]],
        after=cursor_of(page[limit - 1]) if page[limit:] else "",
        before=page_before(cursors, start, limit, ""),
        total=len(found),
        counts={status: sum(item.status == status for item in of_place) for status in STATUSES},
        stations=sorted({station for item in of_day for station in item.stations}),
        modalities=sorted({item.modality for item in of_day if item.modality}),
        is_full=len(candidates) >= MOST_STEPS,
    )


def _has_status(item: Item, status: str) -> bool:
    if status == "all":
        return True
    return item.status == status if status else item.is_shown


def cursor_of(item: Item) -> str:
    """Nothing of it is a patient's: when it starts, and the two numbers of the step."""
    return f"{item.starts_at} {item.key.study_uid} {item.key.step_id}"


def worklists(queries: StoreQueries, dicom: DicomOptions | None) -> list[str]:
    """The names of those that there are; the one that scanners ask for is the first."""
    there = sorted({name for name, _ in queries.worklist_counts()})
    asked = [dicom.worklist] if dicom is not None else []
    return list(dict.fromkeys([*asked, *there])) or ["main"]


def moves_of(item: Item) -> list[Status]:
    """What it can become without force."""
    return [status for status in STATUSES if status in STATUS_MOVES[item.status]]


def told_of(dicom: DicomOptions | None, worklist: str, to: Status) -> str:
    """The destination that hears of it, as the site's files say; ''."""
    if dicom is None or dicom.status is None or dicom.worklist != worklist:
        return ""
    return str(dicom.status.to) if ORDER_STATUS.get(to) in dicom.status.tell else ""


# -- what a query would be answered ---------------------------------------------------------------


def identifier_of(keys: Mapping[str, str]) -> Attributes:
    """The identifier of a query with these keys, and with the return keys that scanners usually ask for."""
    given = {keyword: tuple(value.split("\\")) for keyword, value in keys.items() if value}
    outer = {keyword: given.get(keyword, ()) for keyword in (*RETURNED, *given) if keyword in ITEM}
    inner = {keyword: given.get(keyword, ()) for keyword in (*RETURNED_OF_STEP, *given) if keyword in STEP}
    return {**outer, SPS: (inner,)}


@dataclass(slots=True, frozen=True)
class Answer:
    """One answer: the row for the table, and its attributes as they are sent."""

    row: StepRow
    lines: list[Line]
    patient: str
    name: str
    accession: str


@dataclass(slots=True, frozen=True)
class Answered:
    """`total`: how many there are; a scanner gets at most `most`, then A700. `keys`: of steps, for the record.

    `without`: how many there would be without a key, where that is more. `unmatched`: keys that restrict nothing.
    """

    answers: list[Answer]
    total: int
    most: int
    is_cut: bool
    without: dict[str, int]
    unmatched: tuple[str, ...]
    own_only: bool
    keys: list[ItemKey]


def answered(
    view: WorklistView, keys: Mapping[str, str], calling: str, dicom: DicomOptions | None, limit: int
) -> Answered:
    """What the server would answer this scanner, `limit` of it in full. Raises BadKey, which is its A900."""
    modality = dicom.modalities.get(calling) if dicom is not None else None
    own_only = modality is not None and modality.own_items_only
    query = compile_query(identifier_of(keys), folds_accents=dicom is not None and dicom.folds_accents(calling))
    found = ask(view.candidates, query, only_of=calling if own_only else None)
    most = dicom.limits.answers if dicom is not None else MOST_ANSWERS
    total = len(found.kept)
    # A store gives what most of the keys leave; what each of them takes away is seen among all.
    every = (one.item for one in view.candidates(replace(query, requested={}), MOST_STEPS))
    without = find(query, every, hidden=(lambda item: calling not in item.stations) if own_only else None).without
    shown: Sequence[Shelved] = found.kept[: min(limit, most)]
    return Answered(
        answers=[_answer(one.item, answer(query, one.item), source_of(view.history(one.item.key))) for one in shown],
        total=total,
        most=most,
        is_cut=total > most or found.is_full,
        without={keyword: number for keyword, number in without.items() if number > total},
        unmatched=query.unmatched,
        own_only=own_only,
        keys=[one.item.key for one in shown],
    )


def _answer(item: Item, attributes: Attributes, source: int | None) -> Answer:
    first = {name: next(iter(_texts(attributes, name)), "") for name in ("PatientID", "PatientName", "AccessionNumber")}
    return Answer(
        row=step_row(item, source),
        lines=list(lines_of(attributes)),
        patient=first["PatientID"],
        name=first["PatientName"],
        accession=first["AccessionNumber"],
    )
