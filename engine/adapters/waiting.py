"""Ways out whose TLS files could not be used at the start: set up as soon as they can be (ADR 58).

What is for them waits, as where the other side cannot be reached, and the files are looked at again by each attempt.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

from engine.adapters.errors import ConfigError, TlsFilesError
from engine.model.envelope import Delivery
from engine.model.outcome import Outcome, Unreachable
from engine.ports.hand_off import Handed, Inventory, Taken, Taker, TakerDown, WaitingStep
from engine.ports.sink import AnsweringSink, RecordedSink, Sink

log = logging.getLogger("segmill")

CODE: Final = "E595"
T = TypeVar("T")


def tell_waiting(place: str, why: str) -> None:
    """Once, at the start. That it goes on is told as where the other side is reached again."""
    log.error("%s %s waits for its TLS files: %s; all else goes on, and they are looked at again", CODE, place, why)


class WhenReady(Generic[T]):
    """What is made once its TLS files can be used: a client. `made`: that, None before."""

    def __init__(self, make: Callable[[], T]) -> None:
        """Tries it at once. `make`: raises TlsFilesError while they cannot be used."""
        self.made: T | None = None
        self._make = make
        self._lock = threading.Lock()
        self._why = ""
        self.why_unready()

    def why_unready(self) -> str:
        """What of the files is in the way, looked at again; '' for nothing. Any thread may ask."""
        with self._lock:
            if self.made is None:
                try:
                    self.made = self._make()
                except TlsFilesError as error:
                    self._why = str(error)
                else:
                    self._why = ""
            return self._why


class WaitingSink:
    """One delivery a call, also where the kind would take more: the lane has asked before it was known."""

    def __init__(self, make: Callable[[], Sink], why: str) -> None:
        """`make`: raises ConfigError while the files cannot be used; `why`: what it said."""
        self.max_batch = 1
        self.linger_s = 0.0
        self.why_unready = why
        self._make = make
        self._sink: Sink | None = None
        self._awaits_application = False

    def await_application(self) -> None:
        """As AnsweringSink; nothing where the kind is none."""
        self._awaits_application = True
        sink: object = self._sink
        if isinstance(sink, AnsweringSink):
            sink.await_application()

    def recorded(self) -> None:
        """As RecordedSink; nothing where the kind is none."""
        sink: object = self._sink
        if isinstance(sink, RecordedSink):
            sink.recorded()

    async def send(self, deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
        """Nothing has left the engine while the files cannot be used."""
        if self._sink is None:
            try:
                sink = await asyncio.to_thread(self._make)
            except ConfigError as error:
                self.why_unready = str(error)
                return [Unreachable(self.why_unready)] * len(deliveries)
            self._sink, self.why_unready = sink, ""
            if self._awaits_application:
                self.await_application()
        return await self._sink.send(deliveries)

    async def close(self) -> None:
        """Let go of what was set up."""
        if self._sink is not None:
            await self._sink.close()


class WaitingTaker:
    """The same of a hand-off."""

    def __init__(self, kind: str, make: Callable[[], Taker], why: str) -> None:
        """As WaitingSink."""
        self.kind = kind
        self.most = 1
        self.why_unready = why
        self._make = make
        self._taker: Taker | None = None

    async def _made(self) -> Taker:
        if self._taker is None:
            try:
                self._taker = await asyncio.to_thread(self._make)
            except ConfigError as error:
                self.why_unready = str(error)
                raise TakerDown(self.why_unready) from error
            self.why_unready, self.most = "", self._taker.most
        return self._taker

    async def take(self, steps: Sequence[WaitingStep]) -> Taken:
        """As Taker.take."""
        try:
            taker = await self._made()
        except TakerDown as down:
            return Taken((), str(down))
        return await taker.take(steps)

    async def look(self, handed: Sequence[Handed]) -> Inventory:
        """As Taker.look."""
        return await (await self._made()).look(handed)

    async def close(self) -> None:
        """Let go of what was set up."""
        if self._taker is not None:
            await self._taker.close()
