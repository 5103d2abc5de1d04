"""What an event does to the items that are there: the rules of dicom.md sections 1.3 and 1.8, as a pure decision.

All of an event, or nothing of it. The rules, in the order of the harm that they prevent:

- the wrong patient never: an order whose patient is not the item's (and no merge links the two) is refused;
- keys that point at different orders are refused;
- what has ended stays ended: only a newer `XO` that a channel allows to (`reopen`) brings an item back;
- an older message changes nothing;
- a cancel that comes first is remembered, so that a late order does not bring back what is off;
- orders give a patient's demographics where nobody has; ADT overwrites (`demographics: adt`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal, Protocol

from engine.worklist.control import Action, Controls
from engine.worklist.event import Order, OrderEvent, Pair, Patient, PatientEvent, Step
from engine.worklist.item import (
    STATUS_MOVES,
    TERMINAL,
    Attributes,
    EntityId,
    Item,
    ItemKey,
    OrderKeys,
    Problem,
    Problems,
    Status,
)


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

    def by_accession(self, number: str) -> Sequence[Item]: ...

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


@dataclass(slots=True, frozen=True)
class Put:
    """The item as it is from now on; `before` is what it was decided on, None for a new one."""

    item: Item
    before: Item | None
    what: str


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


def refuse(code: str, text: str, location: str, hl7_code: str) -> Problems:
    """One refusal, to raise."""
    return Problems((Problem(code, text, location, hl7_code),))


def decide_order(event: OrderEvent, known: Known, policy: Policy) -> Decision:
    """What an order message changes. Raises Problems where it is refused; then nothing of it may be done."""
    return _Orders(event, known, policy).decide()


class _Orders:
    def __init__(self, event: OrderEvent, known: Known, policy: Policy) -> None:
        self._event = event
        self._known = known
        self._policy = policy
        self._decision = Decision()
        self._written: dict[ItemKey, Item] = {}
        self._patient = known.survivor(event.patient.id)
        if self._patient != event.patient.id and policy.merged == "refuse":
            raise refuse("E412", "the patient identifier was merged into another", "PID^1^3", "204")

    def decide(self) -> Decision:
        for order in self._event.orders:
            action = self._policy.controls.action(order.control, order.status)
            if action is None:
                raise refuse("E410", "no row says what this order control and status do", f"{order.location}^1", "103")
            self._carry_out(order, action)
        return self._decision

    def _carry_out(self, order: Order, action: Action) -> None:
        match action:
            case "none":
                return
            case "create":
                self._create(order)
            case "replace":
                self._replace(order)
            case "hold" | "release":
                for item in self._meant(order):
                    self._put(replace(item, is_held=action == "hold"), item, action)
            case "cancel" | "discontinue":
                self._end(order, action)
            case "start" | "complete" | "arrive" | "schedule":
                status: Status = _STATUS_OF[action]
                for item in self._meant(order):
                    self._move(item, status, order)

    # -- making items ---------------------------------------------------------------------------

    def _create(self, order: Order) -> None:
        for step in order.steps:
            self._build(order, step)

    def _replace(self, order: Order) -> None:
        """The steps that are named are the steps of their study: those not begun that are not named go."""
        studies = {step.key.study_uid for step in order.steps}
        named = {step.key for other in self._event.orders for step in other.steps}
        for step in order.steps:
            self._build(order, step)
        for uid in studies:
            for item in self._stored(self._known.by_study(uid)):
                if item.key in named or item.status not in ("SCHEDULED", "ARRIVED", "READY"):
                    continue
                self._check_patient(item, order)
                if self._is_older(order, item):
                    continue
                self._written.pop(item.key, None)
                self._decision.changes.append(Drop(item, "no longer named by its order"))

    def _build(self, order: Order, step: Step) -> None:
        stored = self._stored(self._known.by_study(step.key.study_uid))
        for item in stored:
            self._check_patient(item, order)
        self._check_keys(step.keys, step.key.study_uid, order)
        before = next((item for item in stored if item.key == step.key), None)
        if before is None:
            self._new(order, step)
        elif before.status in TERMINAL and not self._may_reopen(order, before):
            self._warn("W420", f"the step is {before.status} and stays so", step.location)
        elif self._is_older(order, before):
            self._warn("W421", "an older message than the one that the item is from; nothing changed", step.location)
        else:
            self._update(order, step, before)

    def _new(self, order: Order, step: Step) -> None:
        buried_at = self._known.tombstone(step.keys, step.key.step_id)
        if buried_at is not None and not (order.at and buried_at and order.at > buried_at and self._policy.reopen):
            self._warn("W422", "the order was cancelled before it came; no item is made", step.location)
            return
        if order.control != "NW":
            self._warn("W423", "a change of an order that is not there; it is made", step.location)
        attributes = self._with_patient(step.attributes)
        item = Item(
            step.key,
            self._patient,
            step.keys,
            attributes,
            step.starts_at,
            step.uid_origin,
            ordered_at=order.at,
            visit=order.visit,
        )
        self._put(item, None, "created")

    def _update(self, order: Order, step: Step, before: Item) -> None:
        status: Status = "SCHEDULED" if before.status in TERMINAL else before.status
        attributes = self._with_patient(merged(before.attributes, step.attributes))
        item = replace(
            before,
            keys=_keys_together(before.keys, step.keys),
            attributes=attributes,
            starts_at=step.starts_at or before.starts_at,
            uid_origin=step.uid_origin,
            status=status,
            visit=order.visit or before.visit,
        )
        if item == before:
            return  # a resend
        if order.control == "NW" and before.status not in TERMINAL:
            self._warn("W424", "a new order for a step that is there with other content; it is updated", step.location)
        self._put(replace(item, ordered_at=max(order.at, before.ordered_at)), before, "updated")

    def _with_patient(self, attributes: Attributes) -> Attributes:
        """The order's attributes with the patient's, by who may overwrite whom."""
        own = self._event.patient.attributes
        known = self._known.demographics(self._patient)
        if known is None:
            self._know(Demographics(own, from_adt=False))
            return {**attributes, **own, **_identity(self._patient)}
        if known.from_adt and self._policy.demographics == "adt":
            return {**attributes, **own, **known.attributes, **_identity(self._patient)}
        return {**attributes, **known.attributes, **own, **_identity(self._patient)}

    def _know(self, demographics: Demographics) -> None:
        change = Know(self._patient, demographics)
        if change not in self._decision.changes:
            self._decision.changes.append(change)

    # -- ending and moving ----------------------------------------------------------------------

    def _end(self, order: Order, action: Literal["cancel", "discontinue"]) -> None:
        items = self._meant(order, is_cancel=True)
        if not items:
            if self._policy.unknown_cancel == "refuse":
                raise refuse("E411", "the order to cancel is not there", order.location, "204")
            self._warn("W425", "a cancel of an order that is not there; it is remembered", order.location)
            for step_id in [step.key.step_id for step in order.steps] if order.names_steps else [""]:
                self._decision.changes.append(Bury(order.keys, step_id, order.at))
            return
        for item in items:
            # What was begun cannot be cancelled any more, only broken off.
            has_begun = item.status == "STARTED"
            status: Status = "DISCONTINUED" if has_begun or action == "discontinue" else "CANCELED"
            self._move(item, status, order)

    def _move(self, item: Item, status: Status, order: Order) -> None:
        if item.status == status:
            return
        if status == "SCHEDULED" and item.status in TERMINAL and self._may_reopen(order, item):
            self._put(replace(item, status=status, ordered_at=order.at), item, "reopened")
        elif self._is_older(order, item):
            self._warn("W421", "an older message than the one that the item is from; nothing changed", order.location)
        elif status not in STATUS_MOVES[item.status]:
            self._warn("W420", f"the step is {item.status} and stays so", order.location)
        else:
            at = max(order.at, item.ordered_at)
            self._put(replace(item, status=status, ordered_at=at), item, status.lower())

    def _may_reopen(self, order: Order, item: Item) -> bool:
        return (
            self._policy.reopen
            and order.control == "XO"
            and order.status in ("", "SC")
            and bool(order.at)
            and order.at > item.ordered_at
        )

    # -- finding --------------------------------------------------------------------------------

    def _meant(self, order: Order, *, is_cancel: bool = False) -> list[Item]:
        """The items that the order means, by every key that it carries; all of the same patient."""
        items = self._by_keys(order.keys, order)
        if order.names_steps:
            ids = {step.key.step_id for step in order.steps}
            items = [item for item in items if item.key.step_id in ids]
        for item in items:
            self._check_patient(item, order)
        if not items and not is_cancel:
            self._warn("W426", "no such order is on the worklist; nothing changed", order.location)
        return items

    def _by_keys(self, keys: OrderKeys, order: Order) -> list[Item]:
        found: list[Item] | None = None
        for items in self._each_key(keys):
            if not items:
                continue
            if found is None:
                found = items
                continue
            both = [item for item in found if any(item.key == other.key for other in items)]
            if not both:
                raise refuse("E413", "the order's numbers belong to different orders", order.location, "205")
            found = both
        return found or []

    def _each_key(self, keys: OrderKeys) -> Iterable[list[Item]]:
        known = self._known
        if keys.study_uid:
            yield self._stored(known.by_study(keys.study_uid))
        for wanted, find, own in (
            (keys.placer, known.by_placer, "placer"),
            (keys.filler, known.by_filler, "filler"),
            (keys.accession, known.by_accession, "accession"),
        ):
            if wanted:
                items = self._stored(find(wanted.id))
                yield [item for item in items if is_same(getattr(item.keys, own), wanted)]

    def _check_keys(self, keys: OrderKeys, study_uid: str, order: Order) -> None:
        """An accession number of another patient's order is one that two orders share: refused."""
        for item in self._each_other(keys, study_uid):
            if not is_same(item.patient, self._patient):
                raise refuse("E414", "the order's number belongs to another patient's order", order.location, "205")

    def _each_other(self, keys: OrderKeys, study_uid: str) -> Iterable[Item]:
        for items in self._each_key(replace(keys, study_uid="")):
            yield from (item for item in items if item.key.study_uid != study_uid and item.status not in TERMINAL)

    def _check_patient(self, item: Item, order: Order) -> None:
        if not is_same(self._known.survivor(item.patient), self._patient):
            raise refuse("E415", f"{order.location} is of an order of another patient", "PID^1^3", "204")

    def _stored(self, items: Iterable[Item]) -> list[Item]:
        """With what this event has changed already."""
        dropped = {change.item.key for change in self._decision.changes if isinstance(change, Drop)}
        fresh = {item.key: self._written.get(item.key, item) for item in items}
        return [item for key, item in fresh.items() if key not in dropped]

    # -- writing --------------------------------------------------------------------------------

    def _put(self, item: Item, before: Item | None, what: str) -> None:
        if before is not None and item == before:
            return
        self._written[item.key] = item
        self._decision.changes.append(Put(item, before, what))

    def _warn(self, code: str, text: str, location: str) -> None:
        problem = Problem(code, text, location, "207", is_refusal=False)
        if problem not in self._decision.warnings:
            self._decision.warnings.append(problem)

    def _is_older(self, order: Order, item: Item) -> bool:
        return bool(order.at and item.ordered_at and order.at < item.ordered_at)


_STATUS_OF: Final[Mapping[str, Status]] = {
    "start": "STARTED",
    "complete": "COMPLETED",
    "arrive": "ARRIVED",
    "schedule": "SCHEDULED",
}


def decide_patient(event: PatientEvent, known: Known, policy: Policy) -> Decision:
    """What an ADT message changes (dicom.md 1.8). Raises Problems where it is refused: then none of its pairs is done."""
    return _Patients(event, known, policy).decide()


class _Patients:
    def __init__(self, event: PatientEvent, known: Known, policy: Policy) -> None:
        self._event = event
        self._known = known
        self._policy = policy
        self._decision = Decision()
        self._written: dict[ItemKey, Item] = {}
        self._merged: dict[EntityId, EntityId] = {}

    def decide(self) -> Decision:
        for pair in self._event.pairs:
            match self._event.action:
                case "none":
                    continue
                case "merge":
                    self._merge(pair)
                case "rename":
                    self._rename(pair)
                case "move":
                    self._move(pair)
                case "delete":
                    self._delete(pair)
                case "update" | "arrive" | "locate":
                    self._update(pair.patient)
        return self._decision

    def _update(self, patient: Patient) -> None:
        own = self._survivor(patient.id)
        known = self._known.demographics(own)
        if known is not None and known.from_adt and self._event.at and self._event.at < known.at:
            self._warn(
                "W427", "an older message than the one that the demographics are from; nothing changed", "MSH^1^7"
            )
            return
        self._learn(own, patient.attributes, known)
        for item in self._open(own):
            self._put(self._changed(item, own, patient.attributes), item, "demographics")

    def _changed(self, item: Item, own: EntityId, attributes: Attributes) -> Item:
        now = replace(item, patient=own, attributes={**merged(item.attributes, attributes), **_identity(own)})
        if self._event.action == "locate" or (self._event.location and self._is_of_visit(item)):
            location = self._event.location
            if location:
                now = replace(now, attributes={**now.attributes, "CurrentPatientLocation": location})
        if self._event.action == "arrive" and item.status == "SCHEDULED" and self._is_of_visit(item):
            now = replace(now, status="ARRIVED")
        return now

    def _is_of_visit(self, item: Item) -> bool:
        """The event narrows to a visit only where both name one."""
        return not (item.visit and self._event.visit) or is_same(item.visit, self._event.visit)

    def _merge(self, pair: Pair) -> None:
        survivor, prior = pair.patient.id, pair.prior
        if not prior:
            raise refuse("E416", "a merge without the identifier that ends", f"MRG^{pair.location}^1", "101")
        if is_same(survivor, prior) and survivor.id == prior.id:
            raise refuse("E417", "a patient cannot be merged with itself", f"MRG^{pair.location}^1", "204")
        if self._survivor(survivor) == prior or self._reaches(survivor, prior):
            raise refuse("E418", "the other way round, these two were merged before", f"PID^{pair.location}^3", "205")
        own = self._survivor(survivor)
        ending = self._survivor(prior)
        if ending == own:
            self._learn(own, pair.patient.attributes, self._known.demographics(own))
            return  # a resend
        self._learn(own, pair.patient.attributes, self._known.demographics(own))
        for item in self._all(ending):
            self._put(self._changed(item, own, pair.patient.attributes), item, f"merged from {'another patient'}")
        for item in self._open(own):
            self._put(self._changed(item, own, pair.patient.attributes), item, "demographics")
        self._merged[ending] = own
        if ending != prior:
            self._merged[prior] = own
        for other in dict.fromkeys((prior, ending)):
            self._decision.changes.append(Merge(other, own))

    def _rename(self, pair: Pair) -> None:
        new, prior = pair.patient.id, pair.prior
        if not prior:
            raise refuse("E416", "a change of identifier without the one that ends", f"MRG^{pair.location}^1", "101")
        if new == prior:
            raise refuse(
                "E417", "a patient's identifier cannot be changed into itself", f"MRG^{pair.location}^1", "204"
            )
        if self._survivor(prior) == new:
            return  # a resend
        if self._all(new) or (
            self._known.demographics(new) is not None and self._known.demographics(prior) is not None
        ):
            raise refuse("E419", "there is a patient with the new identifier already", f"PID^{pair.location}^3", "205")
        self._learn(new, pair.patient.attributes, self._known.demographics(prior))
        for item in self._all(prior):
            self._put(self._changed(item, new, pair.patient.attributes), item, "identifier changed")
        self._merged[prior] = new
        self._decision.changes.append(Merge(prior, new))

    def _move(self, pair: Pair) -> None:
        """A visit or account that was booked on the wrong patient: its items follow it, the others stay."""
        own, wrong = self._survivor(pair.patient.id), self._survivor(pair.prior)
        if not pair.visit:
            raise refuse("E416", "a move without the visit or account that moves", f"MRG^{pair.location}^3", "101")
        if own == wrong:
            raise refuse("E417", "a visit cannot be moved to the patient who has it", f"MRG^{pair.location}^1", "204")
        self._learn(own, pair.patient.attributes, self._known.demographics(own))
        for item in self._all(wrong):
            if item.visit and is_same(item.visit, pair.visit):
                known = self._known.demographics(own)
                attributes = {**(known.attributes if known else {}), **pair.patient.attributes}
                self._put(self._changed(item, own, attributes), item, "moved with its visit")

    def _delete(self, pair: Pair) -> None:
        own = self._survivor(pair.patient.id)
        items = [item for item in self._open(own) if self._is_of_visit(item)]
        if not items:
            return
        if self._policy.on_delete == "warn":
            self._warn("W428", "the patient or visit is deleted and has open items; they stay", "PID^1^3")
            return
        for item in items:
            status: Status = "DISCONTINUED" if item.status == "STARTED" else "CANCELED"
            self._put(replace(item, status=status), item, "its patient or visit was deleted")

    # -- what is there --------------------------------------------------------------------------

    def _survivor(self, patient: EntityId) -> EntityId:
        found = self._known.survivor(patient)
        return self._merged.get(found, found)

    def _reaches(self, patient: EntityId, other: EntityId) -> bool:
        """Whether `patient` was merged into `other`."""
        return patient != other and self._survivor(patient) == self._survivor(other) == other

    def _all(self, patient: EntityId) -> list[Item]:
        return [self._written.get(item.key, item) for item in self._known.by_patient(patient)]

    def _open(self, patient: EntityId) -> list[Item]:
        written = [item for item in self._written.values() if item.patient == patient]
        items = {item.key: item for item in (*self._all(patient), *written)}
        return [item for item in items.values() if item.status not in TERMINAL and item.patient == patient]

    def _learn(self, patient: EntityId, attributes: Attributes, known: Demographics | None) -> None:
        before = known.attributes if known is not None else {}
        now = Demographics({**merged(before, attributes), **_identity(patient)}, from_adt=True, at=self._event.at)
        if known is None or (known.attributes, known.from_adt) != (now.attributes, True):
            self._decision.changes.append(Know(patient, now))

    def _put(self, item: Item, before: Item, what: str) -> None:
        if item != before:
            self._written[item.key] = item
            self._decision.changes.append(Put(item, before, what))

    def _warn(self, code: str, text: str, location: str) -> None:
        self._decision.warnings.append(Problem(code, text, location, "207", is_refusal=False))


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


def _identity(patient: EntityId) -> Attributes:
    identity: dict[str, tuple[str, ...]] = {"PatientID": (patient.id,)}
    if patient.issuer and "|" not in patient.issuer:
        identity["IssuerOfPatientID"] = (patient.issuer,)
    return identity


def _keys_together(before: OrderKeys, now: OrderKeys) -> OrderKeys:
    return OrderKeys(
        now.study_uid or before.study_uid,
        now.placer or before.placer,
        now.filler or before.filler,
        now.accession or before.accession,
    )
