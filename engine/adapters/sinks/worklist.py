"""The worklist sink: what a message says about the worklist is held against what is there, and what it changes is
written with the record of its delivery (ADR 0020).

What an attempt comes to::

    decided, all of it can be written     Delivered, with the changes; they are there once the end is recorded
    nothing to change (a resend)          Delivered
    against the rules of the worklist     Refused("AE"): the note has code and place, never a value
    an item that DICOM cannot hold        Refused("AE"), E445 with the attribute
    nothing for a worklist                Unsendable, E446
    the store cannot be read              Unreachable

Several deliveries are decided on in one call, each on what those before it will have written, and recorded in one
commit. Each names the epoch that the one before it leaves behind, so that none is written where that one was not. What
does not end by a change (a refusal) stands on what is stored alone: what is behind it, and itself where it is behind a
change, is left UNDECIDED: the store takes nothing of it, and the lane gives it again at once, no attempt counted.

The lanes of one worklist take turns, from reading to the record: a merge that takes long to decide would else never
come to its end beside a busy feed of orders. What else writes (a scanner's performed step) may come between; then the
store takes nothing of the delivery, and the lane tries it again at once.
"""

import asyncio
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Final

from engine.config.worklist import WORKLIST, WorklistOptions
from engine.hl7.convert import Form
from engine.model.envelope import Delivery
from engine.model.outcome import UNDECIDED, Delivered, Effects, Outcome, Refused, Unreachable, Unsendable
from engine.pipeline.worklist import path_of
from engine.ports.clock import Clock
from engine.ports.store import StoreError
from engine.ports.worklist import WorklistQueries
from engine.worklist.changes import Change, Decision, Known, Put
from engine.worklist.event import Event, OrderEvent
from engine.worklist.item import Item, Problem, Problems
from engine.worklist.json_form import NotAnEvent, load_event
from engine.worklist.orders import decide_order
from engine.worklist.overlay import Overlay
from engine.worklist.patients import decide_patient

MOST_BATCH: Final = 32
"""Deliveries that are decided on at once: what is read meanwhile holds up the store's checkpoint."""
_APART: Final = 1 << 16
"""Epochs of one batch are at least so far apart: nothing that comes between gets there by counting."""
MOST_NOTED: Final = 3
"""Warnings and refusals that a note names; the others are counted."""
NOT_AN_EVENT: Final = Problem("E446", "what waits was not written for a worklist; reprocess the message", "")


class WorklistSink:
    """One lane's way into a worklist. Reading, deciding and encoding are done on the sink's own thread."""

    name: ClassVar[str] = WORKLIST
    model: ClassVar[type[WorklistOptions]] = WorklistOptions
    several_connections: ClassVar[bool] = False
    each_on_record: ClassVar[bool] = True
    needs_store: ClassVar[bool] = True
    own_bodies: ClassVar[bool] = True

    max_batch = MOST_BATCH
    linger_s = 0.0

    def __init__(
        self,
        options: WorklistOptions,
        lane: str,
        queries: WorklistQueries,
        turns: MutableMapping[str, asyncio.Lock],
        clock: Clock,
        refused: Callable[[str], None],
    ) -> None:
        from engine.adapters.dicom.encode import Unencodable, encode  # pydicom: only where there is a worklist

        self._worklist = options.name
        self._turn = turns.setdefault(options.name, asyncio.Lock())
        self._has_turn = False
        self._policy = options.policy
        self._lane = lane
        self._queries = queries
        self._clock = clock
        self._refused = refused
        self._encode: Callable[[Item], bytes] = lambda item: encode(item).dump()
        self._unencodable = Unencodable
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"worklist {lane}")

    @staticmethod
    def forms(options: WorklistOptions) -> Sequence[Form]:
        """What it gets is made of HL7, whatever it is written as."""
        return ("hl7",)

    @classmethod
    def open(
        cls,
        options: WorklistOptions,
        *,
        folder: Path,
        lane: str,
        clock: Clock,
        store: WorklistQueries,
        turns: MutableMapping[str, asyncio.Lock],
        refused: Callable[[str], None] = lambda code: None,
    ) -> "WorklistSink":
        """Set up for a lane. `store`: the engine's, for reading; `turns`: of its worklists, by name.

        `refused` is told of the code of each message that is refused.
        """
        return cls(options, lane, store, turns, clock, refused)

    async def send(self, deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
        """Decide on each; nothing is written before its end is recorded."""
        run = asyncio.get_running_loop().run_in_executor
        await self._turn.acquire()
        self._has_turn = True
        waits = False
        apart = _APART + int.from_bytes(self._clock.random_bytes(4))
        try:
            outcomes = await run(self._thread, self._decide_all, [delivery.body for delivery in deliveries], apart)
            waits = any(isinstance(outcome, Delivered) and outcome.effects is not None for outcome in outcomes)
            for outcome in outcomes:
                if isinstance(outcome, (Refused, Unsendable)):
                    self._refused(outcome.note[: len("E415")])
        finally:
            if not waits:
                self.recorded()
        return outcomes

    def recorded(self) -> None:
        """What was decided is written, or will not be: another lane's turn."""
        if self._has_turn:
            self._has_turn = False
            self._turn.release()

    async def close(self) -> None:
        """Take no more."""
        self.recorded()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _decide_all(self, bodies: Sequence[bytes], apart: int) -> list[Outcome]:
        """On the thread."""
        outcomes: list[Outcome] = []
        try:
            with self._queries.worklist(self._worklist) as view:
                outcomes += self._outcomes(bodies, Overlay(view), view.epoch, apart)
        except StoreError as error:
            # Of what was decided nothing is lost: it is decided anew with the rest.
            return [Unreachable(str(error))] * len(bodies)
        if len(outcomes) < len(bodies):
            outcomes += [self._undecided()] * (len(bodies) - len(outcomes))
        return outcomes

    def _outcomes(self, bodies: Sequence[bytes], known: Overlay, epoch: int, apart: int) -> Iterator[Outcome]:
        """What each comes to, as far as that can be said before the ones before it are written."""
        is_first = True
        for number, body in enumerate(bodies, 1):
            outcome = self._decide(body, known)
            if not isinstance(outcome, tuple):
                yield outcome if is_first else self._undecided()
                return
            changes, note = outcome
            if not changes and is_first:
                yield Delivered(note=note or "nothing to change")
                continue
            then = epoch + apart if number < len(bodies) else None
            yield Delivered(
                note=note or ("" if changes else "nothing to change"),
                effects=Effects(self._worklist, changes, epoch, self._lane, then),
            )
            known.apply(changes)
            epoch += apart
            is_first = False

    def _undecided(self) -> Outcome:
        return Delivered(effects=Effects(self._worklist, (), UNDECIDED, self._lane))

    def _decide(self, body: bytes, known: Known) -> "tuple[tuple[Change, ...], str] | Refused | Unsendable":
        """Its changes, encoded, and what is to be noted; or why there are none."""
        try:
            event = load_event(body)
        except NotAnEvent:
            return Unsendable(_noted((NOT_AN_EVENT,)))
        try:
            decision = self._decision(event, known)
            changes = tuple(self._encoded(change) for change in decision.changes)
        except Problems as error:
            first = next(problem for problem in error.found if problem.is_refusal)
            place = path_of(first.location)
            return Refused("AE", first.hl7_code, note=_noted(error.found), location=place, text=first.text)
        except self._unencodable as error:
            problem = Problem("E445", f"{error.keyword} cannot be written as DICOM", "", "102")
            return Refused("AE", problem.hl7_code, note=_noted((problem,)), text=problem.text)
        return changes, _noted(decision.warnings)

    def _decision(self, event: Event, known: Known) -> Decision:
        if isinstance(event, OrderEvent):
            return decide_order(event, known, self._policy)
        return decide_patient(event, known, self._policy)

    def _encoded(self, change: Change) -> Change:
        return replace(change, encoded=self._encode(change.item)) if isinstance(change, Put) else change


def _noted(problems: Sequence[Problem]) -> str:
    """Codes, places and sentences, without values."""
    told = [f"{one.code} {path_of(one.location)}".rstrip() + f": {one.text}" for one in problems[:MOST_NOTED]]
    more = len(problems) - len(told)
    return "; ".join([*told, f"and {more} more"] if more > 0 else told)
