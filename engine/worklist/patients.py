"""What an ADT message does to the items that are there: demographics, arrivals, merges, moves (dicom.md section 1.8).

A patient is an identifier with its assigning authority, never the bare number. Several pairs in one message are all
carried out, or none.
"""

from dataclasses import replace

from engine.worklist.changes import (
    IDENTIFIERS,
    ORDER_FIELDS_OF_PATIENT,
    Decision,
    Demographics,
    Know,
    Known,
    Merge,
    Policy,
    Put,
    identity,
    is_same,
    merged,
    refuse,
)
from engine.worklist.event import Pair, Patient, PatientEvent
from engine.worklist.item import TERMINAL, Attributes, EntityId, Item, ItemKey, Problem, Status


def decide_patient(event: PatientEvent, known: Known, policy: Policy) -> Decision:
    """What an ADT message changes (dicom.md 1.8). Raises Problems where it is refused: none of its pairs is done."""
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
            if self._event.action != "none":
                self._tell_of_bare_numbers(pair)
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

    def _tell_of_bare_numbers(self, pair: Pair) -> None:
        """Whether steps of that number are there that do not say who assigned it, and so may be of another patient."""
        for patient, place in ((pair.patient.id, f"PID^{pair.location}^3"), (pair.prior, f"MRG^{pair.location}^1")):
            bare = EntityId(patient.id)
            if patient.issuer and any(item.status not in TERMINAL for item in self._known.by_patient(bare)):
                self._warn("W438", "steps of this number without an assigning authority are there, and stay", place)

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
        before = item.attributes
        if item.patient != own:
            # Of the identifier that it leaves nothing stays; of a patient whose it never was, nothing at all.
            others = ORDER_FIELDS_OF_PATIENT if self._event.action == "move" else IDENTIFIERS
            before = {keyword: value for keyword, value in before.items() if keyword not in others}
        now = replace(item, patient=own, attributes={**merged(before, attributes), **identity(own)})
        location = self._event.location
        if location and self._is_of_visit(item):
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
        attributes = self._told(own, pair.patient.attributes)
        self._learn(own, attributes, self._known.demographics(own))
        if ending == own:
            return  # a resend
        for item in self._all(ending):
            self._put(self._changed(item, own, attributes), item, "merged")
        for item in self._open(own):
            self._put(self._changed(item, own, attributes), item, "demographics")
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
        if not pair.prior:
            raise refuse("E416", "a move without the identifier that it leaves", f"MRG^{pair.location}^1", "101")
        if own == wrong:
            raise refuse("E417", "a visit cannot be moved to the patient who has it", f"MRG^{pair.location}^1", "204")
        self._learn(own, pair.patient.attributes, self._known.demographics(own))
        items = self._all(wrong)
        named = [item for item in items if item.visit and is_same(item.visit, pair.visit)]
        if not named and any(item.status not in TERMINAL for item in items):
            self._warn("W439", "no step of the patient names the visit or account that moves", f"MRG^{pair.location}^3")
        known = self._known.demographics(own)
        attributes = {**(known.attributes if known else {}), **pair.patient.attributes}
        if named and not attributes.get("PatientName"):
            raise refuse("E431", "the patient has no name, and a worklist item must", f"PID^{pair.location}^5", "101")
        for item in named:
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
        """With what this event has changed already: a pair before this one may have brought steps, or taken them."""
        items = {item.key: item for item in self._known.by_patient(patient)} | self._written
        return [item for item in items.values() if item.patient == patient]

    def _open(self, patient: EntityId) -> list[Item]:
        return [item for item in self._all(patient) if item.status not in TERMINAL]

    def _told(self, patient: EntityId, attributes: Attributes) -> Attributes:
        """What is known of the patient and what the message says, the newer one first: a late merge still merges."""
        known = self._known.demographics(patient)
        if known is None:
            return attributes
        is_older = known.from_adt and self._event.at and self._event.at < known.at
        return {**attributes, **known.attributes} if is_older else {**known.attributes, **attributes}

    def _learn(self, patient: EntityId, attributes: Attributes, known: Demographics | None) -> None:
        before = known.attributes if known is not None else {}
        now = Demographics({**merged(before, attributes), **identity(patient)}, from_adt=True, at=self._latest(known))
        if known is None or (known.attributes, known.from_adt) != (now.attributes, True):
            self._decision.changes.append(Know(patient, now))

    def _latest(self, known: Demographics | None) -> str:
        return max(self._event.at, known.at) if known is not None else self._event.at

    def _put(self, item: Item, before: Item, what: str) -> None:
        if item != before:
            self._written[item.key] = item
            self._decision.changes.append(Put(item, before, what))

    def _warn(self, code: str, text: str, location: str) -> None:
        self._decision.warnings.append(Problem(code, text, location, "207", is_refusal=False))
