"""What a message changes on the worklist: the words in which a decision is told, and what it may look up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

from engine.worklist.control import Controls
from engine.worklist.item import Attributes, EntityId, Item, OrderKeys, Problem, Problems


@dataclass(slots=True, frozen=True)
class Demographics:
    """What is known of a patient. `from_adt`: an ADT message said it, and an order does not overwrite it."""

    attributes: Attributes
    from_adt: bool
    at: str = ""


class Known(Protocol):
    """What is stored. Numbers are looked for without their issuer; who assigned them is compared here."""

    def by_study(self, uid: str) -> Sequence[Item]: ...

    def by_placer(self, number: str) -> Sequence[Item]: ...

    def by_filler(self, number: str) -> Sequence[Item]: ...

    def by_accession(self, number: str) -> Sequence[Item]:
        """Those whose number it is as it was ordered, and those that scanners see under it."""
        ...

    def by_patient(self, patient: EntityId) -> Sequence[Item]:
        """All items of the patient, whatever their status."""
        ...

    def survivor(self, patient: EntityId) -> EntityId:
        """Whom a merged identifier belongs to now; itself where it was not merged."""
        ...

    def demographics(self, patient: EntityId) -> Demographics | None: ...

    def tombstone(self, keys: OrderKeys, step_id: str) -> str | None:
        """When an order was cancelled that had not come yet: its time, or None. `step_id` '' asks for the order."""
        ...

    def in_progress(self, item: Item) -> bool:
        """Whether a scanner is at it: a performed step names it and has not ended."""
        ...


@dataclass(slots=True, frozen=True)
class Put:
    """The item as it is from now on; `before` is what it was decided on, None for a new one.

    `encoded`: its DICOM elements, where somebody has made them already.
    """

    item: Item
    before: Item | None
    what: str
    encoded: bytes = field(default=b"", compare=False, repr=False)


@dataclass(slots=True, frozen=True)
class Drop:
    """A step that its order no longer names, and that nobody has begun."""

    item: Item
    what: str


@dataclass(slots=True, frozen=True)
class Bury:
    """A cancel that came before its order. `step_id` '': of all its steps."""

    keys: OrderKeys
    step_id: str
    at: str


@dataclass(slots=True, frozen=True)
class Merge:
    """`prior` is `survivor` from now on, for orders that still come with the old identifier."""

    prior: EntityId
    survivor: EntityId


@dataclass(slots=True, frozen=True)
class Know:
    """A patient's demographics from now on."""

    patient: EntityId
    demographics: Demographics


Change = Put | Drop | Bury | Merge | Know


@dataclass(slots=True, frozen=True)
class Policy:
    """A destination's choices.

    `reopen`: whether a newer XO brings back what was cancelled or has ended. `unknown_cancel`: what a cancel of an
    order that is not there comes to. `demographics`: who overwrites a patient's demographics. `arrival`: the events
    that make a patient's scheduled items ARRIVED. `on_delete`: what A23 and A29 do. `merged`: whether a late order
    with a merged identifier is taken for the survivor.
    """

    controls: Controls = field(default_factory=Controls)
    reopen: bool = False
    unknown_cancel: Literal["warn", "refuse"] = "warn"
    demographics: Literal["adt", "latest"] = "adt"
    on_delete: Literal["warn", "cancel"] = "warn"
    merged: Literal["follow", "refuse"] = "follow"


@dataclass(slots=True)
class Decision:
    """All that is to be written, in order, and what is told beside."""

    changes: list[Change] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)


ORDER_FIELDS_OF_PATIENT: Final = frozenset(
    {
        "PatientName",
        "PatientID",
        "IssuerOfPatientID",
        "IssuerOfPatientIDQualifiersSequence",
        "PatientBirthDate",
        "PatientSex",
        "PatientPrimaryLanguageCodeSequence",
        "OtherPatientNames",
        "OtherPatientIDsSequence",
        "PatientAddress",
        "PatientMotherBirthName",
        "EthnicGroup",
    }
)
"""Attributes that follow the patient (PID), not the order."""


IDENTIFIERS: Final = frozenset(
    {"PatientID", "IssuerOfPatientID", "IssuerOfPatientIDQualifiersSequence", "OtherPatientIDsSequence"}
)
"""Those of them that say which patient it is."""


def refuse(code: str, text: str, location: str, hl7_code: str) -> Problems:
    """One refusal, to raise."""
    return Problems((Problem(code, text, location, hl7_code),))


def is_same(one: EntityId, other: EntityId) -> bool:
    """Whether two identifiers are one: the same number, and the same issuer where both name theirs."""
    return one.id == other.id and (one.issuer == other.issuer or not one.issuer or not other.issuer)


def merged(before: Attributes, now: Attributes) -> Attributes:
    """`before` with what `now` says; of the one scheduled step, attribute by attribute."""
    result = {**before, **now}
    step = "ScheduledProcedureStepSequence"
    if step in before and step in now:
        (old,), (new,) = before[step], now[step]
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            result[step] = ({**old, **new},)
    return result


def identity(patient: EntityId) -> Attributes:
    identity: dict[str, tuple[str, ...]] = {"PatientID": (patient.id,)}
    if patient.issuer and "|" not in patient.issuer:
        identity["IssuerOfPatientID"] = (patient.issuer.replace("\\", "/"),)
    return identity


def keys_together(before: OrderKeys, now: OrderKeys) -> OrderKeys:
    return OrderKeys(
        now.study_uid or before.study_uid,
        now.placer or before.placer,
        now.filler or before.filler,
        now.accession or before.accession,
    )
