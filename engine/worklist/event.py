"""What a message says about the worklist: an order event or a patient event, before anything is looked up.

A channel's pipeline makes these (pure, so the sender hears AE about content at once); the worklist's sink holds them
against what is stored (`lifecycle`), in the transaction that records the delivery.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from engine.worklist.item import NO_ID, Attributes, EntityId, ItemKey, OrderKeys, Problem, UidOrigin


@dataclass(slots=True, frozen=True)
class Patient:
    """Who a message is about: the identifier chosen from PID-3, and the demographics of an item.

    `attributes`: keywords of the item's own level that PID gives. A keyword that is absent: the message says nothing
    of it; `()`: it deletes it (HL7's null, dicom.md 1.5).
    """

    id: EntityId
    attributes: Attributes


@dataclass(slots=True, frozen=True)
class Step:
    """One scheduled procedure step as a message has it, with all attributes but the patient's.

    `key.step_id` is never ''; `key.study_uid` is '' where the message carries neither an UID nor what one is derived
    from, as a cancel may. `location`: where in the message it stands, such as `OBR^2` or `IPC^1`, for findings.
    `originals`: as in an `Item`.
    """

    key: ItemKey
    keys: OrderKeys
    uid_origin: UidOrigin
    attributes: Attributes
    starts_at: str
    location: str
    originals: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True, frozen=True)
class Order:
    """One order (ORC with what belongs to it): its control, its status, the steps it names.

    `names_steps`: whether the message says which steps it means (OBR-20 or IPC-4): a cancel without them is of all.
    `at`: ORC-9 or MSH-7 in UTC, `YYYYMMDDHHMMSS.ffffff`, or ''. `visit`: PV1-19, else PID-18.
    """

    control: str
    status: str
    keys: OrderKeys
    steps: tuple[Step, ...]
    names_steps: bool
    at: str
    location: str
    visit: EntityId = NO_ID


@dataclass(slots=True, frozen=True)
class OrderEvent:
    """ORM^O01, OMG^O19 or OMI^O23: all of it is carried out, or nothing."""

    patient: Patient
    orders: tuple[Order, ...]
    warnings: tuple[Problem, ...] = ()


PatientAction = Literal["update", "arrive", "locate", "merge", "rename", "move", "delete", "none"]


@dataclass(slots=True, frozen=True)
class Pair:
    """One patient with whom it replaces (MRG): `prior` is the identifier that ends, or, for a move, that loses a visit.

    `visit`: of a move, the visit or account that goes to `patient` (A43, A44, A45).
    """

    patient: Patient
    prior: EntityId
    location: str
    visit: EntityId = NO_ID


@dataclass(slots=True, frozen=True)
class PatientEvent:
    """An ADT message: what it does to the patient's items (dicom.md 1.8). Several pairs: each, or none of them."""

    action: PatientAction
    pairs: tuple[Pair, ...]
    at: str
    visit: EntityId = NO_ID
    location: tuple[str, ...] = ()
    warnings: tuple[Problem, ...] = ()


Event = OrderEvent | PatientEvent
