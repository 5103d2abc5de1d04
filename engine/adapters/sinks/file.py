"""The file sink: a file a message, or a file a batch, whole and durable or not there at all.

What an attempt comes to::

    file and folder on stable storage                    Delivered     also when that very file was there already
    folder missing, disk full, read-only                 Unreachable   nothing of this message is to be seen
    no name to be made, 999 files of one name            Unsendable
    a document (`documents:`) that is not whole          Unsendable    nothing of this message is to be seen

The same delivery again, after a crash between the rename and the record, finds its own bytes under its own
name and is Delivered without a second copy. Another message of the same name gets a number.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from engine.adapters.outgoing import plain_header
from engine.adapters.sinks.documents import DocumentFiles, DocumentWriter, NoDocument
from engine.adapters.sinks.folder import DurableFolder, FolderUnavailable, NameImpossible, Placed, Writing
from engine.adapters.sinks.names import NameTemplate, compile_name
from engine.config.base import ConfigModel
from engine.config.finding import BadValue
from engine.config.types import FolderText
from engine.config.units import Duration
from engine.hl7.convert import FORMS, ConversionError, Form, form_of, hl7_of
from engine.hl7.encapsulated import BrokenDocument
from engine.hl7.errors import UnreadableMessage
from engine.hl7.message import Message
from engine.model.envelope import Delivery
from engine.model.outcome import Delivered, Outcome, Unreachable, Unsendable
from engine.ports.clock import Clock, from_us

MAX_BATCH = 64
DEFAULT_NAME = "{date(MSH-7)}/{MSH-10}.{ext}"

_TERMINATORS = {"cr": b"\r", "lf": b"\n", "crlf": b"\r\n"}
_NOTES: dict[Placed, str] = {
    "new": "written",
    "renamed": "written with a number: another message has this file name",
    "known": "already there with the same bytes",
}
_ABOUT_THE_MESSAGE = (NameImpossible, UnreadableMessage, ConversionError, BrokenDocument, NoDocument)
"""What a retry cannot mend."""


class FileBatch(ConfigModel):
    """Several messages in one file."""

    count: int = Field(100, ge=1, le=10_000, description="At most so many messages a file")
    every: Duration = Field(60.0, description="Wait at most so long for a file to fill")
    wrap: bool = Field(True, description="Put FHS, BHS, BTS and FTS around the messages, with their counts")


class FileSinkSettings(ConfigModel):
    """What stands under `file:` in a destination."""

    folder: FolderText = Field(description="Where the files go; relative to the site")
    name: str = Field(
        DEFAULT_NAME, description="Made of text, {path}, {date(path)}, {seq}, {channel}, {destination}, {ext}"
    )
    batch: FileBatch | None = Field(None, description="Several messages a file; it is named after the first")
    documents: DocumentFiles | None = Field(None, description="Documents in OBX-5, such as a PDF, each in a file")
    terminator: Literal["cr", "lf", "crlf"] = Field(
        "cr", description="What ends a segment of HL7; the standard says cr"
    )

    @field_validator("name", mode="after")
    @classmethod
    def _name_is_a_template(cls, name: str) -> str:
        compile_name(name)
        return name

    @model_validator(mode="after")
    def _fit_together(self) -> "FileSinkSettings":
        if self.documents is not None and self.batch is not None:
            raise BadValue("has a batch and documents", "documents are written message by message: leave out batch")
        if self.documents is not None and self.documents.only and "name" in self.model_fields_set:
            raise BadValue(
                "has a name for the message, which 'only' leaves out",
                "the name of the documents stands under documents",
            )
        return self


class FileSink:
    """One lane's folder. All file work is done on the sink's own thread."""

    name: ClassVar[str] = "file"
    model: ClassVar[type[FileSinkSettings]] = FileSinkSettings
    several_connections: ClassVar[bool] = False
    """Unfinished files are told apart by their lane, and removed by it."""

    def __init__(self, folder: DurableFolder, settings: FileSinkSettings) -> None:
        batch = settings.batch
        self.max_batch = MAX_BATCH if batch is None else batch.count
        self.linger_s = 0.0 if batch is None else batch.every
        self._folder = folder
        self._template: NameTemplate = compile_name(settings.name)
        self._batch = batch
        self._documents = None if settings.documents is None else DocumentWriter(settings.documents)
        self._terminator = _TERMINATORS[settings.terminator]
        self._is_prepared = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"file {folder.owner}")

    @staticmethod
    def forms(settings: FileSinkSettings) -> Sequence[Form]:
        """Every form, but HL7 only in a batch: JSON and XML have no batch headers, and no two documents are one."""
        return FORMS if settings.batch is None else ("hl7",)

    @classmethod
    def open(cls, settings: FileSinkSettings, *, folder: Path, lane: str, clock: Clock) -> "FileSink":
        """Set up; the folder is made with the first delivery, so that a missing share stops this lane only.

        `folder` is the channel's, `SITE/channels/NAME`; the settings' folder is relative to SITE.
        """
        owner = hashlib.blake2b(lane.encode(), digest_size=6).hexdigest()
        return cls(DurableFolder(folder.parent.parent / settings.folder, owner), settings)

    async def send(self, deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
        """Write them all; durable when this returns. After cancellation the thread may still finish them."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._write, deliveries)

    async def close(self) -> None:
        """Take no more; a write that hangs on its disk is left behind."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _write(self, deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
        """On the thread."""
        try:
            if not self._is_prepared:
                self._folder.prepare()
                self._is_prepared = True
            return self._write_batch(deliveries) if self._batch else self._write_each(deliveries)
        except FolderUnavailable as error:
            return [Unreachable(str(error))] * len(deliveries)

    def _write_each(self, deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
        """A file each, and one sync of every folder for all of them. Raises FolderUnavailable."""
        outcomes: list[Outcome] = []
        with self._folder.opened() as writing:
            for delivery in deliveries:
                try:
                    note = self._write_one(writing, delivery)
                except _ABOUT_THE_MESSAGE as error:
                    outcomes.append(Unsendable(str(error)))
                except FolderUnavailable as error:
                    # Nothing behind it is tried: a shorter message would overtake it on a full disk.
                    outcomes += [Unreachable(str(error))] * (len(deliveries) - len(outcomes))
                    break
                else:
                    outcomes.append(Delivered(note=note))
            writing.sync()
        return outcomes

    def _write_one(self, writing: Writing, delivery: Delivery) -> str:
        """What there is to say of it. Raises FolderUnavailable, and what is about the message."""
        if self._documents is None:
            return _NOTES[writing.put(self._name(delivery), self._content(delivery.body))]
        files = self._documents.files(delivery)
        told = "1 document" if len(files) == 1 else f"{len(files)} documents"
        if not self._documents.only:
            files.append((self._name(delivery), self._content(delivery.body)))
            return f"{_NOTES[writing.put_all(files)[-1]]}, with {told}"
        placed = writing.put_all(files)
        return f"{told} " + (_NOTES["known"] if placed.count("known") == len(placed) else "written")

    def _write_batch(self, deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
        """One file for all. Raises FolderUnavailable."""
        try:
            name = self._name(deliveries[0])
            content = self._content(self._batch_of(deliveries))
            with self._folder.opened() as writing:
                placed = writing.put(name, content)
                writing.sync()
        except _ABOUT_THE_MESSAGE as error:
            return [Unsendable(str(error))] * len(deliveries)
        return [Delivered(note=f"{_NOTES[placed]}, in a batch of {len(deliveries)}")] * len(deliveries)

    def _name(self, delivery: Delivery) -> tuple[str, ...]:
        template, body = self._template, delivery.body
        message: Message | None = None
        if template.needs_message:
            # Of a large body all but the header is read for nothing, and keeps the interpreter from everybody else.
            header = plain_header(body) if template.needs_header else None
            message = Message.parse(hl7_of(body) if header is None else header)
        return template.name(message, delivery)

    def _content(self, body: bytes) -> bytes:
        if self._terminator == b"\r" or form_of(body) != "hl7":
            return body
        return body.replace(b"\r", self._terminator)

    def _batch_of(self, deliveries: Sequence[Delivery]) -> bytes:
        """The messages, wrapped if so configured: HL7 v2.5.1 section 2.10.3, hl7.md item 67.

        The headers say nothing but what the deliveries say, so that the same batch again has the same bytes.
        """
        bodies = [body if body.endswith(b"\r") else body + b"\r" for body in (item.body for item in deliveries)]
        assert self._batch is not None
        if not self._batch.wrap:
            return b"".join(bodies)
        last = max(item.received_at_us for item in deliveries)
        at = f"{from_us(last):%Y%m%d%H%M%S}+0000"
        batch_id = f"{deliveries[0].seq}-{deliveries[-1].seq}"
        header = f"|^~\\&|SEGMILL||||{at}||||{batch_id}\r"
        start = f"FHS{header}BHS{header}".encode()
        return start + b"".join(bodies) + f"BTS|{len(bodies)}\rFTS|1\r".encode()
