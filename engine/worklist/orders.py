"""What an order message does to the items that are there: the rules of dicom.md section 1.3, as a pure decision.

All of an event, or nothing of it. The rules, in the order of the harm that they prevent:

- the wrong patient never: an order whose patient is not the item's (and no merge links the two) is refused;
- keys that point at different orders are refused;
- what has ended stays ended: only a newer `XO` that a channel allows to (`reopen`) brings an item back;
- an older message changes nothing;
- a cancel that comes first is remembered, so that a late order does not bring back what is off;
- orders give a patient's demographics where nobody has; ADT overwrites (`demographics: adt`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final, Literal

from engine.worklist.changes import (
    Bury,
    Decision,
    Demographics,
    Drop,
    Know,
    Known,
    Policy,
    Put,
    identity,
    is_same,
    keys_together,
    merged,
    refuse,
)
from engine.worklist.control import Action
from engine.worklist.event import Order, OrderEvent, Step
from engine.worklist.item import (
    AS_ONE,
    STATUS_MOVES,
    TERMINAL,
    Attributes,
    EntityId,
    Item,
    ItemKey,
    OrderKeys,
    Problem,
    Status,
    text,
)

UNSAID: Final = frozenset({"derived", "random"})
"""Origins of a Study Instance UID that the message did not bring."""
PROCEDURE: Final = "RequestedProcedureID"
ACCESSION: Final = "AccessionNumber"
STEP_ID: Final = "ScheduledProcedureStepID"


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
        has_replacements = any(order.control == "RO" for order in self._event.orders)
        for order in self._event.orders:
            action = self._policy.controls.action(order.control, order.status)
            if has_replacements and order.control in ("RP", "RU") and action == "replace":
                action = "cancel"  # what takes its place comes as RO in the same message (HL7 v2.5.1 section 4.5.1.1)
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
                    self._hold(item, order, action)
            case "cancel" | "discontinue":
                self._end(order, action)
            case "start" | "complete" | "arrive" | "schedule":
                status: Status = _STATUS_OF[action]
                for item in self._meant(order):
                    self._move(item, status, order)

    # -- making items ---------------------------------------------------------------------------

    def _create(self, order: Order) -> None:
        for step in order.steps:
            self._build(order, self._linked(order, step))

    def _replace(self, order: Order) -> None:
        """The steps that are named are the steps of their study: those not begun that are not named go."""
        steps = [self._linked(order, step) for step in order.steps]
        studies = {step.key.study_uid for step in steps}
        named = {step.key for step in steps}
        named |= {self._linked(other, step).key for other in self._event.orders for step in other.steps}
        for step in steps:
            self._build(order, step)
        for uid in studies:
            for item in self._of_study(uid):
                if item.key in named or item.status not in ("SCHEDULED", "ARRIVED", "READY"):
                    continue
                self._check_patient(item, order)
                if self._is_older(order, item):
                    continue
                self._written.pop(item.key, None)
                self._decision.changes.append(Drop(item, "no longer named by its order"))
                self._warn("W437", "a step that the change does not name is taken off the worklist", order.location)

    def _linked(self, order: Order, step: Step) -> Step:
        """The step under the study that it has on the worklist already, where the message brings no UID of its own."""
        if step.uid_origin not in UNSAID or not step.key.study_uid or self._of_study(step.key.study_uid):
            return step
        before = self._elsewhere(order, step)
        if before is None:
            return step
        uid = before.key.study_uid
        attributes = {**step.attributes, "StudyInstanceUID": (uid,)}
        keys = replace(step.keys, study_uid=uid)
        return replace(
            step,
            key=replace(step.key, study_uid=uid),
            keys=keys,
            uid_origin=before.uid_origin,
            attributes=attributes,
        )

    def _elsewhere(self, order: Order, step: Step) -> Item | None:
        """The same step where it is stored under another study: of the same numbers, procedure and step.

        A change may bring another accession number, and ids that follow it; then the filler's number says which it is.
        """
        found = {item.key: item for items in self._each_key(replace(step.keys, study_uid="")) for item in items}
        others = [
            item
            for item in found.values()
            if item.key.study_uid != step.key.study_uid
            and is_same(self._known.survivor(item.patient), self._patient)
            and _agree(item.keys.placer, step.keys.placer)
            and _agree(item.keys.filler, step.keys.filler)
        ]
        procedure = text(step.attributes, PROCEDURE)
        same = [
            item
            for item in others
            if procedure and item.key.step_id == step.key.step_id and text(item.attributes, PROCEDURE) == procedure
        ]
        if not same and self._policy.controls.action(order.control, order.status) == "replace":
            same = [item for item in others if step.keys.filler and is_same(item.keys.filler, step.keys.filler)]
        return same[0] if len(same) == 1 else None

    def _rekeyed(self, order: Order, step: Step) -> Item | None:
        """Of a step that is not stored under its own UID: the item under another one, where it is to go on."""
        before = self._elsewhere(order, step)
        if before is None or step.uid_origin in UNSAID:
            return None
        return before

    def _build(self, order: Order, step: Step) -> None:
        stored = self._of_study(step.key.study_uid)
        for item in stored:
            self._check_patient(item, order)
        self._check_keys(step.keys, step.key.study_uid, order)
        self._check_shown(step, stored)
        before = next((item for item in stored if item.key == step.key), None)
        before = before or self._rekeyed(order, step)
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
        attributes = self._with_patient(step.attributes, self._patient)
        item = Item(
            step.key,
            self._patient,
            step.keys,
            attributes,
            step.starts_at,
            step.uid_origin,
            ordered_at=order.at,
            visit=order.visit,
            originals=step.originals,
        )
        self._put(item, None, "created")

    def _update(self, order: Order, step: Step, before: Item) -> None:
        status: Status = "SCHEDULED" if before.status in TERMINAL else before.status
        # An order that does not say who assigned the number says it no better than the item does.
        is_better = self._patient.issuer and not before.patient.issuer
        patient = self._patient if is_better else self._known.survivor(before.patient)
        attributes = self._with_patient(merged(before.attributes, step.attributes), patient)
        item = replace(
            before,
            key=step.key,
            patient=patient,
            keys=keys_together(before.keys, step.keys),
            attributes=attributes,
            starts_at=step.starts_at or before.starts_at,
            uid_origin=step.uid_origin,
            status=status,
            visit=order.visit or before.visit,
            originals=step.originals,
        )
        if item == before:
            return  # a resend
        if item.key != before.key:
            text_ = "the step goes on under the Study Instance UID of the order"
            begun = "; it was begun under another" if before.status == "STARTED" else ""
            self._warn("W435", text_ + begun, step.location)
            self._written.pop(before.key, None)
            self._decision.changes.append(Drop(before, "goes on under another study UID"))
            self._put(replace(item, ordered_at=max(order.at, before.ordered_at), revision=0), None, "study UID changed")
            return
        if order.control == "NW" and before.status not in TERMINAL:
            self._warn("W424", "a new order for a step that is there with other content; it is updated", step.location)
        self._put(replace(item, ordered_at=max(order.at, before.ordered_at)), before, "updated")

    def _with_patient(self, attributes: Attributes, patient: EntityId) -> Attributes:
        """The order's attributes with the patient's, by who may overwrite whom."""
        own = self._event.patient.attributes
        known = self._known.demographics(patient)
        if known is None:
            self._know(patient, Demographics(own, from_adt=False))
            return {**attributes, **own, **identity(patient)}
        if known.from_adt and self._policy.demographics == "adt":
            return {**attributes, **own, **known.attributes, **identity(patient)}
        return {**attributes, **known.attributes, **own, **identity(patient)}

    def _know(self, patient: EntityId, demographics: Demographics) -> None:
        change = Know(patient, demographics)
        if change not in self._decision.changes:
            self._decision.changes.append(change)

    # -- ending and moving ----------------------------------------------------------------------

    def _end(self, order: Order, action: Literal["cancel", "discontinue"]) -> None:
        for keys, ids, items in self._groups(order):
            if not items:
                self._bury(order, keys, ids)
            for stored in items:
                item = self._written.get(stored.key, stored)
                # What was begun cannot be cancelled any more, only broken off.
                has_begun = item.status == "STARTED"
                status: Status = "DISCONTINUED" if has_begun or action == "discontinue" else "CANCELED"
                self._move(item, status, order)

    def _bury(self, order: Order, keys: OrderKeys, step_ids: Sequence[str]) -> None:
        if self._policy.unknown_cancel == "refuse":
            raise refuse("E411", "the order to cancel is not there", order.location, "204")
        self._warn("W425", "a cancel of an order that is not there; it is remembered", order.location)
        self._decision.changes += [Bury(keys, step_id, order.at) for step_id in step_ids or [""]]

    def _move(self, item: Item, status: Status, order: Order) -> None:
        if item.status == status:
            return
        if status == "SCHEDULED" and item.status in TERMINAL and self._may_reopen(order, item):
            self._put(replace(item, status=status, ordered_at=order.at), item, "reopened")
        elif self._is_older(order, item):
            self._warn("W421", "an older message than the one that the item is from; nothing changed", order.location)
        elif status == "SCHEDULED" and item.status == "STARTED" and self._known.in_progress(item):
            self._warn("W420", "a scanner is at the step, and it stays STARTED", order.location)
        elif status not in STATUS_MOVES[item.status]:
            self._warn("W420", f"the step is {item.status} and stays so", order.location)
        else:
            at = max(order.at, item.ordered_at)
            self._put(replace(item, status=status, ordered_at=at), item, status.lower())

    def _hold(self, item: Item, order: Order, action: Literal["hold", "release"]) -> None:
        if self._is_older(order, item):
            self._warn("W421", "an older message than the one that the item is from; nothing changed", order.location)
            return
        # Also where it changes nothing: a hold from before this release, and late, must not hide the step.
        self._put(replace(item, is_held=action == "hold", ordered_at=max(order.at, item.ordered_at)), item, action)

    def _may_reopen(self, order: Order, item: Item) -> bool:
        return (
            self._policy.reopen
            and order.control == "XO"
            and order.status in ("", "SC")
            and bool(order.at)
            and order.at > item.ordered_at
        )

    # -- finding --------------------------------------------------------------------------------

    def _meant(self, order: Order) -> list[Item]:
        """The items that the order means, by every key that it carries; all of the same patient."""
        items = {item.key: item for _, _, found in self._groups(order) for item in found}
        if not items:
            self._warn("W426", "no such order is on the worklist; nothing changed", order.location)
        return list(items.values())

    def _groups(self, order: Order) -> list[tuple[OrderKeys, Sequence[str], list[Item]]]:
        """The numbers that an order carries, the steps that it names by them, and the items that these are.

        An order of several IPCs has a study, an accession number for each. Without a step it means all of its numbers.
        """
        named: dict[OrderKeys, list[str]] = {}
        for step in order.steps:
            named.setdefault(step.keys, []).append(step.key.step_id)
        found: list[tuple[OrderKeys, Sequence[str], list[Item]]] = []
        for keys, ids in (named or {order.keys: []}).items():
            step_ids = ids if order.names_steps else []
            items = [item for item in self._by_keys(keys, order) if not step_ids or item.key.step_id in step_ids]
            for item in items:
                self._check_patient(item, order)
            found.append((keys, step_ids, items))
        return found

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
        found = [item for item in found or () if not _is_another(item, keys)]
        for own in ("placer", "filler", "accession"):
            issuers = {getattr(item.keys, own).issuer for item in found} - {""}
            if getattr(keys, own) and len(issuers) > 1:
                # Without an issuer it is a number of each of them.
                raise refuse("E413", "the order's number belongs to different orders", order.location, "205")
        return found

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
                items = self._stored([*find(wanted.id), *self._written.values()])
                yield [item for item in items if is_same(getattr(item.keys, own), wanted)]

    def _check_keys(self, keys: OrderKeys, study_uid: str, order: Order) -> None:
        """An accession number of another patient's order is one that two orders share: refused."""
        for item in self._each_other(keys, study_uid):
            if not is_same(item.patient, self._patient):
                raise refuse("E414", "the order's number belongs to another patient's order", order.location, "205")

    def _check_shown(self, step: Step, stored: Sequence[Item]) -> None:
        """What DICOM has in another way than it was ordered must be no other order's: scanners could not tell them.

        A step's id is one in its study, a procedure's in its study or accession number (PS3.3 section C.4.10, C.4.11).
        """
        shown = text(step.attributes, ACCESSION)
        others = self._stored([*self._known.by_accession(shown), *self._written.values()]) if shown else []
        others = [item for item in others if item.shown_accession == shown]
        ordered = step.keys.accession
        for item in others:
            own = item.keys.accession
            is_elsewhere = bool(own.issuer and ordered.issuer) and own.issuer != ordered.issuer
            if item.key != step.key and own.id != ordered.id and not is_elsewhere:
                raise refuse("E457", AS_ONE, _field(step, "18"), "205")
        procedure = text(step.attributes, PROCEDURE)
        for item in (*stored, *others):
            if item.key == step.key and item.original(STEP_ID) != step.originals.get(STEP_ID, step.key.step_id):
                raise refuse("E457", AS_ONE, _field(step, "20"), "205")
            is_same_shown = item.key != step.key and text(item.attributes, PROCEDURE) == procedure
            if is_same_shown and item.original(PROCEDURE) != step.originals.get(PROCEDURE, procedure):
                raise refuse("E457", AS_ONE, _field(step, "19"), "205")

    def _each_other(self, keys: OrderKeys, study_uid: str) -> Iterable[Item]:
        for items in self._each_key(replace(keys, study_uid="")):
            yield from (item for item in items if item.key.study_uid != study_uid and item.status not in TERMINAL)

    def _check_patient(self, item: Item, order: Order) -> None:
        if not is_same(self._known.survivor(item.patient), self._patient):
            raise refuse(
                "E415", f"{order.location.replace('^', ' ')} is of an order of another patient", "PID^1^3", "204"
            )

    def _of_study(self, uid: str) -> list[Item]:
        found = self._stored([*self._known.by_study(uid), *self._written.values()])
        return [item for item in found if item.key.study_uid == uid]

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


def _field(step: Step, field: str) -> str:
    """Where it stands, in an OBR at that field."""
    return f"{step.location}^{field}" if step.location.startswith("OBR") else step.location


def _agree(one: EntityId, other: EntityId) -> bool:
    """Whether two numbers may be of one order: the same, or not both said."""
    return not one or not other or is_same(one, other)


def _is_another(item: Item, keys: OrderKeys) -> bool:
    """Whether both study and accession number say that it is another procedure, of the same order as it may be."""
    is_other_study = bool(keys.study_uid) and item.key.study_uid != keys.study_uid and item.uid_origin not in UNSAID
    return is_other_study and not _agree(item.keys.accession, keys.accession)
