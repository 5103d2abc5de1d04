"""Where messages come from, beside the MLLP ports that the engine opens itself.

A source brings payloads to an `Inlet` and learns what became of each: that is the whole of what it must know of
the engine. Its class is a kind, found by the entry point `engine.sources`::

    class PagerSource:
        name: ClassVar[str] = "pager"
        model: ClassVar[type[PagerSettings]] = PagerSettings      # a ListenOptions

        @classmethod
        def open(cls, places: Sequence[Place], context: Context) -> "PagerSource": ...

and keeps the contract that `engine.testing.source_contract` tests.
"""

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from engine.config.listen import ListenOptions
from engine.model.finding import Finding
from engine.model.ids import MessageSeq
from engine.ports.clock import Clock

Fate = Literal["kept", "rejected", "refused"]


class SourceUnavailable(Exception):
    """The source cannot be opened: a port that is taken, files that cannot be used. The text is a sentence."""


@dataclass(slots=True, frozen=True)
class Taken:
    """What became of one payload, once that is durable.

    `kept`: it is on stable storage and ours to see to, also when it was held or filtered, or is a resend of what
    we have: its sender may forget it. `rejected`: the sender is told no, and keeps it; what came is on record.
    `refused`: nothing was kept, as the store cannot take it now: the same again, later.

    `answer`: the acknowledgments as HL7 text without any frame, b'' where none is due or none can be given.
    `code`: MSA-1 of the first that says no, else of the last; '' without one. `kept` with such a no is a message that
    is ours, and whose destination refuses it (`ack: {when: delivered(x)}`). `findings` hold places and codes, no
    values. `seq`: its number in the store, None where it has none of its own.
    """

    fate: Fate
    answer: bytes = b""
    code: str = ""
    findings: tuple[Finding, ...] = ()
    seq: MessageSeq | None = None


class Inlet(Protocol):
    """Takes payloads for the channels of one place, in their order. Used on the engine's loop only."""

    @property
    def max_message(self) -> int:
        """Bytes of the largest message; more is for `take_oversize`."""
        ...

    def take(self, payload: bytes, peer: str) -> Awaitable[Taken]:
        """Hand over a payload now, in the order of the calls; await what becomes of it.

        One message, or a batch, which comes to the worst of its messages' fates and to one answer. `peer` is
        where it came from, for people, without patient data. A source has few calls outstanding: what is
        not awaited is not bounded.
        """
        ...

    def take_oversize(self, prefix: bytes, size_bytes: int, peer: str) -> Awaitable[Taken]:
        """Of a payload of more than `max_message` bytes, its start: it is refused by name, and that is recorded."""
        ...

    async def ready(self) -> None:
        """Wait until more may be taken: the engine bounds what it holds, and a channel may lag behind."""
        ...


class SourceMeter(Protocol):
    """What a source counts; `event` is one of a closed set, anything else is counted as other."""

    def connections(self, open_count: int) -> None: ...

    def event(self, event: str) -> None: ...

    def files(self, waiting: int, failed: int) -> None:
        """How many wait to be taken, and how many were set aside for a person."""
        ...


@dataclass(slots=True, frozen=True)
class Place:
    """What channels with the same settings asked for, and where their messages go."""

    options: ListenOptions
    inlet: Inlet


@dataclass(slots=True, frozen=True)
class Context:
    """What a source is given beside its settings.

    `name`: for logs, metrics and threads. `site`: the site's folder; `folder`: that of the first channel.
    """

    name: str
    site: Path
    folder: Path
    meter: SourceMeter
    clock: Clock


class Source(Protocol):
    """One open source. All calls come from the engine's loop; blocking work is done on threads of its own."""

    @property
    def address(self) -> str:
        """Where it is, for people: `127.0.0.1:8443`, `folder in/lab`."""
        ...

    @property
    def connection_count(self) -> int:
        """Open connections; 0 where there is no such thing."""
        ...

    async def start(self) -> None:
        """Open what must be open. Raises SourceUnavailable; nothing stays open then.

        What may come back by itself, such as a share that is not mounted yet, is no reason to raise.
        """
        ...

    async def run(self) -> None:
        """Bring messages until `stop` was called. Cancelled when the engine ends at once.

        An exception is logged by its kind and place, and `run` is called again after a while.
        """
        ...

    async def stop(self, deadline_s: float) -> None:
        """Take no more, see what is in hand to its end within the deadline, and let `run` return."""
        ...

    def abort(self) -> None:
        """Let go of everything at once and say nothing more to anybody; also after `stop`, and more than once."""
        ...


class SourceKind(Protocol):
    """A source's class, as the entry point gives it."""

    name: str
    model: type[ListenOptions]

    def open(self, places: Sequence[Place], context: Context) -> Source:
        """Set up without opening anything. `places`: one for each different `apart`; all agree in `SHARED`.

        Raises ConfigError (engine.adapters.errors) for settings that cannot be used.
        """
        ...
