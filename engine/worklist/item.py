"""A worklist item: one scheduled procedure step, with all that a modality may ask of it (dicom.md section 1.1)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

Attributes = Mapping[str, "Values"]
"""Attributes by keyword. A value that DICOM asks for and nobody knows is `()`: there, and empty."""

Values = tuple[str, ...] | tuple[Attributes, ...]
"""Texts as they are shown to people, in Unicode; a PN as its groups with `=`; of a sequence, its items."""

Status = Literal["SCHEDULED", "ARRIVED", "READY", "STARTED", "COMPLETED", "DISCONTINUED", "CANCELED"]
STATUSES: Final[tuple[Status, ...]] = get_args(Status)
SHOWN: Final[frozenset[Status]] = frozenset({"SCHEDULED", "ARRIVED", "READY"})
"""What a query sees that names no status (dicom.md 1.9)."""

TERMINAL: Final[frozenset[Status]] = frozenset({"COMPLETED", "DISCONTINUED", "CANCELED"})
"""These stay as they are: no repeated order and no older one brings them back (dicom.md 1.3)."""

STATUS_MOVES: Final[Mapping[Status, frozenset[Status]]] = {
    "SCHEDULED": frozenset({"ARRIVED", "READY", "STARTED", "COMPLETED", "DISCONTINUED", "CANCELED"}),
    "ARRIVED": frozenset({"SCHEDULED", "READY", "STARTED", "COMPLETED", "DISCONTINUED", "CANCELED"}),
    "READY": frozenset({"SCHEDULED", "ARRIVED", "STARTED", "COMPLETED", "DISCONTINUED", "CANCELED"}),
    # Back to SCHEDULED: the modality says that the wrong entry was selected (CID 9300, 110514).
    "STARTED": frozenset({"SCHEDULED", "COMPLETED", "DISCONTINUED"}),
    "COMPLETED": frozenset(),
    "DISCONTINUED": frozenset(),
    "CANCELED": frozenset(),
}
"""The only moves, but for a reopening that the channel allows: from a terminal status to SCHEDULED."""

UidOrigin = Literal["ipc", "zds", "obx", "derived", "random"]
"""Where the Study Instance UID came from: operations ask for it at night (dicom.md 1.4)."""


@dataclass(slots=True, frozen=True, order=True)
class EntityId:
    """An identifier with who assigned it: a patient is never the bare number (dicom.md 1.8).

    `issuer`: the assigning authority as text, `namespace`, or `universal|type` where there is no namespace; or ''.
    """

    id: str
    issuer: str = ""

    def __bool__(self) -> bool:
        return bool(self.id)


NO_ID: Final = EntityId("")


@dataclass(slots=True, frozen=True, order=True)
class ItemKey:
    """What identifies an item: its study and its step in it."""

    study_uid: str
    step_id: str


@dataclass(slots=True, frozen=True)
class OrderKeys:
    """Every number that an order may be found by, as far as a message carries it, in the order they are tried."""

    study_uid: str = ""
    placer: EntityId = NO_ID
    filler: EntityId = NO_ID
    accession: EntityId = NO_ID


@dataclass(slots=True, frozen=True)
class Item:
    """One item. `attributes` hold neither the status nor a character set: those are said when it is sent.

    `ordered_at`: when the order that last changed it was made, by its own clock: `YYYYMMDDHHMMSS.ffffff` in UTC, from
    ORC-9 or else MSH-7; '' unknown. `starts_at`: `YYYYMMDDHHMMSS.ffffff`, local to the scanner, to match and sort by.
    `is_held`: hidden by a hold (HD) until its release. `revision`: counts changes, 0 for one that is not stored yet.
    `originals`: identifiers as they were ordered, by keyword, where DICOM has them in another way (dicom.md 1.6).
    """

    key: ItemKey
    patient: EntityId
    keys: OrderKeys
    attributes: Attributes
    starts_at: str
    uid_origin: UidOrigin
    status: Status = "SCHEDULED"
    is_held: bool = False
    ordered_at: str = ""
    visit: EntityId = NO_ID
    revision: int = 0
    originals: Mapping[str, str] = field(default_factory=dict)

    @property
    def step(self) -> Attributes:
        """The attributes of its scheduled procedure step."""
        (step,) = self.attributes["ScheduledProcedureStepSequence"]
        assert isinstance(step, Mapping), "a sequence holds items"
        return step

    @property
    def stations(self) -> tuple[str, ...]:
        """Its station AE titles; () when no rule gave one: such an item is found by no query for a station."""
        return texts(self.step, "ScheduledStationAETitle")

    @property
    def modality(self) -> str:
        return text(self.step, "Modality")

    @property
    def shown_accession(self) -> str:
        """The accession number as scanners see it, which is not always as it was ordered."""
        return text(self.attributes, "AccessionNumber") or self.keys.accession.id

    def original(self, keyword: str) -> str:
        """An identifier as it was ordered."""
        return self.originals.get(keyword) or text(self.attributes, keyword) or text(self.step, keyword)

    @property
    def is_shown(self) -> bool:
        """Whether a query that names no status sees it."""
        return self.status in SHOWN and not self.is_held


def texts(attributes: Attributes, keyword: str) -> tuple[str, ...]:
    """The values of an attribute that is no sequence; () where it is absent or empty."""
    return tuple(value for value in attributes.get(keyword, ()) if isinstance(value, str))


def text(attributes: Attributes, keyword: str) -> str:
    """The first value, or ''."""
    values = texts(attributes, keyword)
    return values[0] if values else ""


def items(attributes: Attributes, keyword: str) -> tuple[Attributes, ...]:
    """The items of a sequence; () where it is absent or empty."""
    return tuple(value for value in attributes.get(keyword, ()) if not isinstance(value, str))


AS_ONE: Final = "two identifiers that DICOM would have as one"
"""E457, wherever it is seen."""


@dataclass(slots=True, frozen=True)
class Problem:
    """What is wrong with a message, or odd: `code` of `engine.config.codes`, HL7 place and table 0357 code.

    `is_refusal`: the whole message is answered AE and changes nothing; else it is a warning. `text` holds no values.
    """

    code: str
    text: str
    location: str
    hl7_code: str = "207"
    is_refusal: bool = True


class Problems(Exception):
    """A message that cannot become worklist items; at least one of `found` is a refusal."""

    def __init__(self, found: tuple[Problem, ...]) -> None:
        super().__init__(", ".join(problem.code for problem in found))
        self.found = found
