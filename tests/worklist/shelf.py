"""What is stored, in plain dicts: for decisions on a worklist without a store."""

from collections.abc import Callable, Sequence

from engine.worklist.changes import Bury, Decision, Demographics, Drop, Know, Merge, Policy, Put
from engine.worklist.event import Order, OrderEvent, Pair, Patient, PatientEvent, Step
from engine.worklist.item import Attributes, EntityId, Item, ItemKey, OrderKeys
from engine.worklist.orders import decide_order
from engine.worklist.patients import decide_patient

MRN = EntityId("900001", "HIS")


class Shelf:
    """Items, aliases, tombstones and patients, and decisions carried out on them."""

    def __init__(self, policy: Policy | None = None) -> None:
        self.items: dict[ItemKey, Item] = {}
        self.aliases: dict[EntityId, EntityId] = {}
        self.buried: list[Bury] = []
        self.patients: dict[EntityId, Demographics] = {}
        self.policy = policy or Policy()
        self.performing: set[ItemKey] = set()

    def _where(self, wanted: Callable[[Item], bool]) -> Sequence[Item]:
        return [item for item in self.items.values() if wanted(item)]

    def by_study(self, uid: str) -> Sequence[Item]:
        return self._where(lambda item: item.key.study_uid == uid)

    def by_placer(self, number: str) -> Sequence[Item]:
        return self._where(lambda item: item.keys.placer.id == number)

    def by_filler(self, number: str) -> Sequence[Item]:
        return self._where(lambda item: item.keys.filler.id == number)

    def by_accession(self, number: str) -> Sequence[Item]:
        return self._where(lambda item: number in (item.keys.accession.id, item.shown_accession))

    def by_patient(self, patient: EntityId) -> Sequence[Item]:
        return self._where(lambda item: item.patient == patient)

    def survivor(self, patient: EntityId) -> EntityId:
        while patient in self.aliases:
            patient = self.aliases[patient]
        return patient

    def demographics(self, patient: EntityId) -> Demographics | None:
        return self.patients.get(patient)

    def in_progress(self, item: Item) -> bool:
        return item.key in self.performing

    def tombstone(self, keys: OrderKeys, step_id: str) -> str | None:
        for bury in self.buried:
            same = [
                bury.keys.study_uid and bury.keys.study_uid == keys.study_uid,
                bury.keys.placer and bury.keys.placer == keys.placer,
                bury.keys.filler and bury.keys.filler == keys.filler,
                bury.keys.accession and bury.keys.accession == keys.accession,
            ]
            if any(same) and bury.step_id in ("", step_id):
                return bury.at
        return None

    def take(self, event: OrderEvent | PatientEvent) -> Decision:
        """Decide and carry out."""
        if isinstance(event, OrderEvent):
            decision = decide_order(event, self, self.policy)
        else:
            decision = decide_patient(event, self, self.policy)
        for change in decision.changes:
            match change:
                case Put(item=item, before=before):
                    assert self.items.get(item.key) == before or before is None or item.key in self.items
                    self.items[item.key] = item
                case Drop(item=item):
                    del self.items[item.key]
                case Bury():
                    self.buried.append(change)
                case Merge(prior=prior, survivor=survivor):
                    self.aliases[prior] = survivor
                case Know(patient=patient, demographics=demographics):
                    self.patients[patient] = demographics
        return decision

    def statuses(self) -> list[str]:
        return [item.status for _, item in sorted(self.items.items())]


def patient(id: EntityId = MRN, name: str = "Muster^Anna", **more: tuple[str, ...]) -> Patient:
    return Patient(id, {"PatientName": (name,), **more})


def step(
    step_id: str = "S1",
    study: str = "1.2.3",
    *,
    accession: str = "A1",
    placer: str = "P1",
    description: str = "CT head",
    number: int = 1,
) -> Step:
    keys = OrderKeys(study, EntityId(placer, "HIS"), EntityId(""), EntityId(accession))
    inner: Attributes = {"ScheduledProcedureStepID": (step_id,), "Modality": ("CT",)}
    attributes: Attributes = {
        "AccessionNumber": (accession,),
        "RequestedProcedureDescription": (description,),
        "ScheduledProcedureStepSequence": (inner,),
    }
    return Step(ItemKey(study, step_id), keys, "zds", attributes, "20260102100000.000000", f"OBR^{number}")


def order(
    control: str = "NW",
    status: str = "SC",
    *steps: Step,
    keys: OrderKeys | None = None,
    names_steps: bool = True,
    at: str = "20260101120000.000000",
    who: Patient | None = None,
    visit: EntityId | None = None,
) -> OrderEvent:
    keys = keys or (steps[0].keys if steps else OrderKeys())
    one = Order(control, status, keys, steps, names_steps, at, "ORC^1", visit or EntityId(""))
    return OrderEvent(who or patient(), (one,))


def merge(survivor: EntityId, prior: EntityId, name: str = "Muster^Anna", **more: str) -> PatientEvent:
    return PatientEvent("merge", (Pair(patient(survivor, name), prior, "1"),), more.get("at", "20260101130000.000000"))
