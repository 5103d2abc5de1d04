"""The worklist sink: what a message says about the worklist is held against what is there, and what it changes is
written with the record of its delivery (ADR 0020).

What an attempt comes to::

    decided, all of it can be written     Delivered, with the changes; they are there once the end is recorded
    nothing to change (a resend)          Delivered
    against the rules of the worklist     Refused("AE"): the note has code and place, never a value
    an item that DICOM cannot hold        Refused("AE"), E445 with the attribute
    nothing for a worklist                Unsendable, E446
    the store cannot be read              Unreachable

The lanes of one worklist take turns, from reading to the record: a merge that takes long to decide would else never
come to its end beside a busy feed of orders. What else writes (a scanner's performed step) may come between; then the
store takes nothing of the delivery, and the lane tries it again at once.
"""

import asyncio
from collections.abc import Callable, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Final

from engine.config.worklist import WORKLIST, WorklistOptions
from engine.hl7.convert import Form
from engine.model.envelope import Delivery
from engine.model.outcome import Delivered, Effects, Outcome, Refused, Unreachable, Unsendable
from engine.pipeline.worklist import path_of
from engine.ports.clock import Clock
from engine.ports.store import StoreError
from engine.ports.worklist import WorklistQueries, WorklistView
from engine.worklist.changes import Change, Decision, Put
from engine.worklist.event import Event, OrderEvent
from engine.worklist.item import Item, Problem, Problems
from engine.worklist.json_form import NotAnEvent, load_event
from engine.worklist.orders import decide_order
from engine.worklist.patients import decide_patient

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

    max_batch = 1
    linger_s = 0.0

    def __init__(
        self, options: WorklistOptions, lane: str, queries: WorklistQueries, turns: MutableMapping[str, asyncio.Lock]
    ) -> None:
        from engine.adapters.dicom.encode import Unencodable, encode  # pydicom: only where there is a worklist

        self._worklist = options.name
        self._turn = turns.setdefault(options.name, asyncio.Lock())
        self._has_turn = False
        self._policy = options.policy
        self._lane = lane
        self._queries = queries
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
    ) -> "WorklistSink":
        """Set up for a lane. `store`: the engine's, for reading; `turns`: of its worklists, by name."""
        return cls(options, lane, store, turns)

    async def send(self, deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
        """Decide on each; nothing is written before its end is recorded."""
        assert len(deliveries) == 1, "each is recorded before the next is decided on"
        run = asyncio.get_running_loop().run_in_executor
        await self._turn.acquire()
        self._has_turn = True
        waits = False
        try:
            outcome = await run(self._thread, self._decide, deliveries[0].body)
            waits = isinstance(outcome, Delivered) and outcome.effects is not None
        finally:
            if not waits:
                self.recorded()
        return [outcome]

    def recorded(self) -> None:
        """What was decided is written, or will not be: another lane's turn."""
        if self._has_turn:
            self._has_turn = False
            self._turn.release()

    async def close(self) -> None:
        """Take no more."""
        self.recorded()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _decide(self, body: bytes) -> Outcome:
        """On the thread."""
        try:
            event = load_event(body)
        except NotAnEvent:
            return Unsendable(_noted((NOT_AN_EVENT,)))
        try:
            with self._queries.worklist(self._worklist) as known:
                epoch = known.epoch
                decision = self._decision(event, known)
        except Problems as error:
            first = next(problem for problem in error.found if problem.is_refusal)
            return Refused("AE", first.hl7_code, note=_noted(error.found))
        except StoreError as error:
            return Unreachable(str(error))
        try:
            changes = tuple(self._encoded(change) for change in decision.changes)
        except self._unencodable as error:
            problem = Problem("E445", f"{error.keyword} cannot be written as DICOM", "", "102")
            return Refused("AE", problem.hl7_code, note=_noted((problem,)))
        note = _noted(decision.warnings)
        if not changes:
            return Delivered(note=note or "nothing to change")
        return Delivered(note=note, effects=Effects(self._worklist, changes, epoch, self._lane))

    def _decision(self, event: Event, known: WorklistView) -> Decision:
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
