"""The MLLP sink: one kept-open connection to a receiver, one message at a time, its own answer awaited.

What an attempt comes to (hl7.md items 18, 19, 23; reliability.md S1 to S12)::

    no connection, TLS refused                          Unreachable    nothing was sent
    AA or CA with our MSH-10 in MSA-2                   Delivered
    AE, AR, CE, CR with our MSH-10 in MSA-2             Refused        with the first table 0357 code of its ERR
    anything else after the first byte was written      Unanswered     and the connection is dropped
    VT or FS in the message                             Unsendable     the peer would see other blocks

CA takes responsibility for the message ("committed to safe storage in a manner that releases the sending
system from the need to resend", HL7 v2.5.1 section 2.2.4), so it is the end of a delivery. The
application's own AA, AE or AR that may follow on the same connection is recognised and passed over.
"""

import asyncio
import re
import ssl
from collections.abc import Callable, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from engine.adapters.mllp_connection import ConnectFailed, End, MllpConnection, Posted, Target, connect, explain
from engine.adapters.mllp_release2 import Release2Connection
from engine.adapters.outgoing import asks_application, control_id_of, expects_answer
from engine.adapters.tls import client_context
from engine.config.base import ConfigModel
from engine.config.types import FileText
from engine.config.units import Duration, Size
from engine.hl7.convert import Form
from engine.hl7.errors import UnreadableMessage
from engine.mllp.exchange import POSITIVE, Answered, Broken, Foreign
from engine.mllp.framing import END, VT, PayloadError, check, encode
from engine.model.envelope import Delivery
from engine.model.outcome import Delivered, Outcome, Refused, Unanswered, Unreachable, Unsendable
from engine.ports.clock import Clock

CLOSE_WITHIN_S = 0.5
LARGE_BYTES = 1 << 20

_HL7_CODE = re.compile("[0-9]{3}")


async def _encoded_in_turns(body: bytes) -> bytes:
    """A large body as a block, made a megabyte a turn of the loop. Raises PayloadError."""
    check(body)
    block = BytesIO()
    block.write(VT)
    view = memoryview(body)
    for at in range(0, len(view), LARGE_BYTES):
        block.write(view[at : at + LARGE_BYTES])
        await asyncio.sleep(0)
    block.write(END)
    return block.getvalue()


def _end(ended: "asyncio.Future[End | Posted]", end: End | Posted) -> None:
    if not ended.done():
        ended.set_result(end)


class ClientTls(ConfigModel):
    """TLS to a receiver. An empty mapping checks its certificate against the system's authorities."""

    ca: FileText | None = Field(None, description="Authorities that may have signed the receiver's certificate, PEM")
    certificate: FileText | None = Field(None, description="What we show to a receiver that asks, PEM with its chain")
    key: FileText | None = Field(None, description="The certificate's key; default: in the same file")
    server_name: str | None = Field(None, description="The name in the receiver's certificate, where it is not `host`")
    verify: bool = Field(True, description="false: encrypt, but believe any certificate")

    def context(self, folder: Path) -> ssl.SSLContext:
        """Raises ConfigError. `folder`: what relative files are relative to."""
        return client_context(
            ca=folder / self.ca if self.ca else None,
            certificate=folder / self.certificate if self.certificate else None,
            key=folder / self.key if self.key else None,
            verify=self.verify,
        )


class MllpSinkSettings(ConfigModel):
    """What stands under `mllp:` in a destination."""

    host: str = Field(min_length=1, description="The receiver's name or address")
    port: int = Field(ge=1, le=65535)
    ack_timeout: Duration = Field(30.0, gt=0, description="How long to wait for the answer once the message is sent")
    connect_timeout: Duration = Field(10.0, gt=0, description="How long name, TCP and TLS together may take")
    write_timeout: Duration = Field(12.0, gt=0, description="How long the receiver may take nothing off the wire")
    keep_open: bool = Field(True, description="false: a new connection for every message")
    idle_close: Duration = Field(0.0, description="Close a connection that was idle for so long; 0: keep it")
    max_ack: Size = Field(64_000, gt=0, description="A longer answer is not read")
    answer: Literal["always", "as-asked"] = Field(
        "always", description="as-asked: a message whose MSH-15 and MSH-16 are NE is done once it is sent"
    )
    release: int = Field(1, ge=1, le=2, description="Of MLLP; 2: the receiver commits each message with a byte")
    commit_timeout: Duration = Field(10.0, gt=0, description="Release 2: how long to wait for that")
    commit_retries: int = Field(2, ge=0, le=100, description="Release 2: how often a message is written again")
    tls: ClientTls | None = None


class MllpSink:
    """One lane's connection to its receiver. One call at a time."""

    name: ClassVar[str] = "mllp"
    model: ClassVar[type[MllpSinkSettings]] = MllpSinkSettings

    def __init__(
        self,
        target: Target,
        *,
        keep_open: bool = True,
        always_answered: bool = True,
        kind: type[MllpConnection] = MllpConnection,
    ) -> None:
        self.max_batch = 1
        self.linger_s = 0.0
        self._target = target
        self._keep_open = keep_open
        self._always_answered = always_answered
        self._awaits_application = False
        self._kind = kind
        self._connection: MllpConnection | None = None
        # With Release 2, what stands behind an answer in one read is not to be taken for the next message's.
        self._may_begin = keep_open and always_answered and kind is MllpConnection

    @staticmethod
    def forms(settings: MllpSinkSettings) -> Sequence[Form]:
        """HL7 only: MLLP could carry XML, but its receivers answer in it, and MSA-2 of the answer must be read."""
        return ("hl7",)

    @classmethod
    def open(cls, settings: MllpSinkSettings, *, folder: Path, lane: str, clock: Clock) -> "MllpSink":
        """Set up, without a connection yet. Raises ConfigError for TLS files that cannot be used."""
        tls = settings.tls
        target = Target(
            host=settings.host,
            port=settings.port,
            tls=tls.context(folder) if tls is not None else None,
            server_name=tls.server_name if tls is not None else None,
            connect_timeout_s=settings.connect_timeout,
            write_timeout_s=settings.write_timeout,
            ack_timeout_s=settings.ack_timeout,
            idle_close_s=settings.idle_close,
            max_answer_bytes=settings.max_ack,
            commit_timeout_s=settings.commit_timeout,
            commit_retries=settings.commit_retries,
        )
        return cls(
            target,
            keep_open=settings.keep_open,
            always_answered=settings.answer == "always",
            kind=MllpConnection if settings.release == 1 else Release2Connection,
        )

    def await_application(self) -> None:
        """As AnsweringSink: CA is not the end of a delivery whose MSH-16 asks for the application's answer."""
        self._awaits_application = True

    @property
    def is_connected(self) -> bool:
        """Whether a connection is open that the next message could use."""
        return self._connection is not None and self._connection.is_open

    async def send(self, deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
        """One delivery a call, as `max_batch` says; more are sent one after the other."""
        if len(deliveries) == 1:
            return (await self._send(deliveries[0].body),)
        return [await self._send(delivery.body) for delivery in deliveries]

    def begin(self, delivery: Delivery, ended: Callable[[Outcome | Exception], None]) -> bool:
        """As DirectSink: where the connection is open and idle, and the message is like nearly all."""
        body = delivery.body
        connection = self._connection
        if connection is None or not self._may_begin or len(body) >= LARGE_BYTES:
            return False
        try:
            block = encode(body)
            control_id = control_id_of(body)
        except (PayloadError, UnreadableMessage):
            return False  # `send` says what is wrong with it
        if connection.has_unread_input or not connection.fits(control_id):
            return False
        if self._awaits_application:
            connection.expect_application(asks_application(body))
        connection.send(block, control_id, partial(self._begun_ended, connection, ended))
        return True

    def _begun_ended(self, connection: MllpConnection, ended: Callable[[Outcome | Exception], None], end: End) -> None:
        outcome: Outcome | Exception
        try:
            outcome = self._outcome(end, connection)
        except Exception as error:  # noqa: BLE001 - a protocol callback does not raise; the lane deals with it
            outcome = error
        ended(outcome)

    def cut_off(self) -> None:
        """As DirectSink: what is on its way may still arrive, and its answer would look like the next message's."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()

    async def close(self) -> None:
        """Say goodbye, and do not wait long for theirs."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
            await connection.closed(CLOSE_WITHIN_S)

    async def _send(self, body: bytes) -> Outcome:
        try:
            block = encode(body) if len(body) < LARGE_BYTES else await _encoded_in_turns(body)
            control_id = control_id_of(body)
        except PayloadError as error:
            return Unsendable(str(error))
        except UnreadableMessage as error:
            return Unsendable(error.reason)
        connection = self._connection
        if connection is not None and connection.has_unread_input:
            await asyncio.sleep(0)  # one turn for the loop to find out, and one to read it
            await asyncio.sleep(0)
        if connection is None or not connection.fits(control_id):
            try:
                connection = await self._connect()
            except ConnectFailed as error:
                return Unreachable(str(error))
        ended: asyncio.Future[End | Posted] = asyncio.get_running_loop().create_future()
        done = partial(_end, ended)
        try:
            if self._awaits_application:
                connection.expect_application(asks_application(body))
            if self._always_answered or expects_answer(body):
                connection.send(block, control_id, done)
            else:
                connection.post(block, done)
            end = await ended
        except asyncio.CancelledError:
            # What is on its way may still arrive, and its answer would then look like the next message's.
            self._connection = None
            connection.abort()
            raise
        if not self._keep_open:
            self._connection = None
            connection.close()
        return self._outcome(end, connection)

    async def _connect(self) -> MllpConnection:
        stale, self._connection = self._connection, None
        if stale is not None:
            stale.close()
        self._connection = connection = await connect(self._target, self._kind)
        return connection

    def _outcome(self, end: End | Posted, connection: MllpConnection) -> Outcome:
        if isinstance(end, Answered):
            answer = end.answer
            if answer.code in POSITIVE:
                return Delivered(end.raw, note=answer.code)
            # Receivers put anything into ERR-3, also what they could not read: only a code of table 0357 is shown.
            hl7_code = answer.hl7_code if _HL7_CODE.fullmatch(answer.hl7_code) else ""
            return Refused(answer.code, hl7_code, end.raw, f"the receiver answered {answer.code} {hl7_code}".rstrip())
        if isinstance(end, Foreign):
            return Unanswered("an answer came, but to another message (its MSA-2 is not our MSH-10)", end.raw)
        if isinstance(end, Broken):
            failure = connection.failure
            if isinstance(failure, ssl.SSLError) and not connection.ever_answered:
                # With TLS 1.3 a receiver turns a client's certificate down after the client has begun to write.
                return Unreachable(explain(failure, self._target))
            note = end.reason
            if end.code == "closed" and failure is not None:
                note = f"{note}: {explain(failure, self._target)}"
            elif end.code == "closed" and self._target.tls is not None and not connection.ever_answered:
                note += "; a receiver that does not accept our certificate does this"
            return Unanswered(note, end.raw)
        return Delivered(note="sent; the message asks for no answer")
