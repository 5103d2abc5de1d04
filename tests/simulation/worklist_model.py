"""What must be true of worklists in a history: the store's items are those that what is durable makes, and no others.

The disk says which deliveries became durable, and in what order their ends did; each end is carried out on the
reference then, and the store is compared with it as it is at that moment.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from engine.model.envelope import AckUpdate, Batch, Committed, Delivery
from engine.model.ids import DeliveryId, VersionId
from engine.model.states import DeliveryState
from engine.ports.operations import Change, Changed
from engine.ports.reload import ReloadReport
from engine.ports.worklist import MppsReply, PerformedOrder, WorklistView
from engine.worklist.item import ItemKey, text
from tests.simulation.disk import Read
from tests.simulation.editions import Editions
from tests.simulation.loop import Loop
from tests.simulation.records import Item
from tests.simulation.sites import Site
from tests.simulation.worklist_reference import TERMINAL, Key, Reference, Said
from tests.simulation.worklist_sites import WORKLISTS

View = Callable[[str], Any]
"""A worklist in the store as it is now, by its name: a context manager."""


@dataclass(slots=True)
class Owed:
    """A durable delivery to a worklist."""

    id: DeliveryId
    to: str
    said: Said
    control_id: str
    state: DeliveryState = "queued"


class WorklistModel:
    """Of one history."""

    def __init__(self, site: Site, loop: Loop) -> None:
        self.site = site
        self.loop = loop
        self.items: dict[bytes, Item] = {}
        self.said: dict[bytes, Said] = {}
        self.rows: dict[Item, list[Any]] = {}
        """For senders that repeat themselves at the edge of the window of duplicates."""
        self.by_seq: dict[int, bytes] = {}
        self.received: set[int] = set()
        """Stored, and not processed yet."""
        self.owed: dict[DeliveryId, Owed] = {}
        self.worklists: dict[str, Reference] = defaultdict(Reference)
        self.ended: dict[tuple[str, Key], str] = {}
        """Steps that were seen to have ended, and how."""
        self.scans: dict[str, Key] = {}
        """Which step each performed one is of."""
        self.last: dict[str, DeliveryId] = {}
        """The last delivery of each destination that ended."""
        self.editions = Editions(site, self.breach, lambda: loop.now_us)
        self.lanes: dict[str, Any] = defaultdict(SimpleNamespace)
        self.view: View | None = None
        self.breaches: list[str] = []
        self.counts: Counter[str] = Counter()
        self.is_ending = False
        self.wall_ahead_us = self.first_ahead_us = self.jumped_us = self.first_jump_us = 0
        self.prunes = False
        self.jumps = ""

    def breach(self, sentence: str) -> None:
        self.loop.note("BREACH %s", sentence)
        self.breaches.append(sentence)

    @property
    def is_whole(self) -> bool:
        return not self.breaches

    # -- what the engine and its peers do -------------------------------------------------------

    def run_ended(self) -> None:
        self.editions.ended()
        self.is_ending = False

    def hung_up(self, sender: str, since: int) -> None:
        if not self.is_ending and since == self.editions.port_changes and not self.editions.may_change_port:
            self.breach(f"the connection of {sender} is closed, and nothing of its port has changed")

    def answered(self, peer: str, at: int, item: Item, code: str, control_id: str, ack: bytes) -> None:
        self.loop.note("answer: %s to %s", code, item.control_id)
        self.counts[code] += 1
        if control_id != item.control_id:
            self.breach(f"an answer to {control_id} came where one to {item.control_id} was due")
        if code != "AA":
            item.no += 1
            return
        item.yes += 1
        if item not in self.rows:
            self.breach(f"{item.control_id} is acknowledged, and is not in the store")

    def reloaded(self, report: ReloadReport) -> None:
        self.editions.reloaded(report)

    def take_block(self, peer: str, wall_us: int) -> None:
        """Nothing hangs on when it came."""

    def take(self, peer: str, payload: bytes, wall_us: int) -> None:
        """As above."""

    def recording(self, result: object) -> None:
        """It counts when it is durable."""

    def told(self, destination: str, *, is_over: bool) -> None:
        """Nobody does anything by hand here."""

    def learned(self, seq: object) -> None:
        """It counts when it is durable."""

    # -- what is durable ------------------------------------------------------------------------

    def committed(self, batch: Batch, committed: Committed, *, by_this_run: bool = True) -> None:
        for intake, seq, deliveries in zip(batch.intakes, committed.seqs, committed.deliveries, strict=True):
            item = self.items.get(intake.raw)
            if item is None:
                self.breach(f"message {seq} is stored, and nobody sent it")
                continue
            self.by_seq[seq] = intake.raw
            self.rows.setdefault(item, []).append(SimpleNamespace(came_us=self.loop.now_us))
            self.loop.note("disk: %s is message %d, %s", item.control_id, seq, intake.state)
            if intake.state == "received":
                self.received.add(seq)
            elif intake.state != "processed":
                self.breach(f"{item.control_id} is {intake.state}")
            self._owe(deliveries)
        for again, deliveries in zip(batch.reprocessed, committed.released, strict=True):
            self.received.discard(again.seq)
            if again.state != "processed":
                self.breach(f"message {again.seq} is {again.state}")
            self._owe(deliveries)
        for result in batch.results:
            if not result.is_stale:
                self._ended(self.owed[result.delivery_id], result.state)
            else:
                self.counts["stale"] += 1
        if batch.results:
            self.compare()

    def performed(self, order: PerformedOrder, reply: MppsReply) -> None:
        """What a scanner has said is durable."""
        if reply.status == 0:
            status = str(order.attributes["PerformedProcedureStepStatus"][0])
            self.worklists[order.worklist].perform(self.scans[order.uid], status)
            self.counts["performed"] += 1
        self.compare()

    def operated(self, change: Change, changed: Changed, read: Read) -> None:
        """Only a director who lets go on what stands still."""

    def returned(self) -> None:
        """Nothing here depends on when the engine knows it."""

    def failing(self) -> None:
        self.is_ending = True

    def amended(self, updates: Sequence[AckUpdate]) -> None:
        """Of answers that waited: none do."""

    def noted(self) -> None:
        """No clock jumps here."""

    def pruned(self, is_forgotten: Callable[[int], bool]) -> None:
        """Nothing is old enough."""

    def versioned(self, version: VersionId, files: Mapping[str, bytes]) -> None:
        """All editions make the same of a message."""

    def _owe(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            raw = self.by_seq[delivery.seq]
            owed = Owed(delivery.id, str(delivery.destination), self.said[raw], self.items[raw].control_id)
            self.owed[delivery.id] = owed

    def _ended(self, owed: Owed, state: DeliveryState) -> None:
        self.loop.note("disk: delivery %d to %s, %s, is %s", owed.id, owed.to, owed.control_id, state)
        if owed.state != "queued":
            self.breach(f"delivery {owed.id} was {owed.state}, and is {state}")
            return
        if state == "queued":
            return
        if owed.id < self.last.get(owed.to, 0):
            self.breach(f"delivery {owed.id} to {owed.to} ended after a later one")
        self.last[owed.to] = owed.id
        owed.state = state
        self.counts[state] += 1
        is_right = self.worklists[WORKLISTS[owed.to]].hear(owed.said)
        if is_right != (state == "delivered"):
            self.breach(f"delivery {owed.id} to {owed.to}, {owed.control_id}, is {state}")

    # -- what the store has ---------------------------------------------------------------------

    def compare(self) -> None:
        """All worklists with what they must be."""
        if self.view is None:
            return
        for name, reference in self.worklists.items():
            with self.view(name) as view:
                self._compare(name, reference, view)

    def _compare(self, name: str, reference: Reference, view: WorklistView) -> None:
        for key, step in reference.steps.items():
            item = view.item(ItemKey(*key))
            if item is None:
                self.breach(f"step {key} is not on worklist {name}")
                continue
            history = view.history(ItemKey(*key))
            shown = (
                item.status,
                item.patient.id,
                text(item.attributes, "PatientID"),
                text(item.attributes, "PatientName"),
                text(item.step, "ScheduledProcedureStepDescription"),
                len(history),
                sum(row.what == "created" for row in history),
            )
            meant = (step.status, step.patient, step.patient, f"{step.name}^Anna", step.description)
            if shown != (*meant, step.changes, step.made):
                self.breach(f"step {key} of worklist {name} is {shown}, not {(*meant, step.changes, step.made)}")
            before = self.ended.get((name, key))
            if before is not None and item.status != before:
                self.breach(f"step {key} of worklist {name} was {before}, and is {item.status}")
            if item.status in TERMINAL:
                self.ended[name, key] = item.status
        for key in reference.gone:
            if view.item(ItemKey(*key)) is not None:
                self.breach(f"step {key} is on worklist {name}, and its order no longer names it")
        for study in {key[0] for key in reference.steps}:
            found = sorted((item.key.study_uid, item.key.step_id) for item in view.by_study(study))
            if found != sorted(key for key in reference.steps if key[0] == study):
                self.breach(f"worklist {name} has {found} of study {study}")

    def waits(self) -> list[str]:
        """What is not done yet, now that nothing stands in its way."""
        waiting = [
            f"delivery {owed.id} to {owed.to}"
            for owed in self.owed.values()
            if owed.state == "queued" and self.editions.is_there(owed.to)
        ]
        waiting += [f"message {seq}" for seq in self.received]
        return waiting + [item.control_id for item in self.items.values() if item.sent and not item.is_settled]

    def orphans(self) -> int:
        """How many wait for what the files no longer have, since before this run."""
        return sum(o.state == "queued" and not self.editions.is_there(o.to) for o in self.owed.values())

    def finish(self, counts: Mapping[tuple[str, str], int]) -> None:
        """Everything is at rest: `counts` are the store's, by worklist and status."""
        self.compare()
        meant = Counter((name, step.status) for name, one in self.worklists.items() for step in one.steps.values())
        if {key: count for key, count in counts.items() if count} != dict(meant):
            self.breach(f"the store counts {dict(counts)}, not {dict(meant)}")
        for item in self.items.values():
            if item.yes and item not in self.rows:
                self.breach(f"{item.control_id} was acknowledged, and is lost")
        self.counts["steps on worklists"] += sum(meant.values())
