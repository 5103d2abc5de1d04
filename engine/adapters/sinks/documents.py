"""Documents that travel inside of messages, each in a file of its own, beside the message's file or instead of it.

All documents of a message are decoded before the first is written: one that is broken leaves nothing behind but its
delivery, which is held. They are written before the message's own file, so whoever sees that finds them there.
"""

from collections import Counter
from typing import Final

from pydantic import Field, field_validator

from engine.adapters.sinks.folder import Placed, Writing
from engine.adapters.sinks.names import Inside, compile_name
from engine.config.base import ConfigModel
from engine.hl7.convert import hl7_of
from engine.hl7.encapsulated import Document, documents
from engine.hl7.message import Message
from engine.model.envelope import Delivery

DEFAULT_NAME: Final = "{date(MSH-7)}/{MSH-10}-{n}.{ext}"


class NoDocument(Exception):
    """Only documents are wanted, and the message has none. The text is a sentence."""

    def __init__(self) -> None:
        super().__init__('there is no document in an OBX-5; a route can leave such out: when: any OBX-2 == "ED"')


class DocumentFiles(ConfigModel):
    """The documents of OBX-5 (data type ED), decoded, in files of their own."""

    name: str = Field(
        DEFAULT_NAME,
        description="Made of text, {path}, {date(path)}, {n}, {seq}, {channel}, {destination}, {ext}; a path is "
        "read in the segments nearest above the document",
    )
    only: bool = Field(False, description="Do not write the message itself, and hold one without a document")

    @field_validator("name", mode="after")
    @classmethod
    def _name_is_a_template(cls, name: str) -> str:
        compile_name(name, of_document=True)
        return name


class DocumentWriter:
    """Writes the documents of deliveries into the folder that their sink holds open."""

    def __init__(self, settings: DocumentFiles) -> None:
        self.only = settings.only
        self._template = compile_name(settings.name, of_document=True)

    def put(self, writing: Writing, delivery: Delivery) -> Counter[Placed]:
        """Write them all; what became of how many.

        Raises BrokenDocument, NoDocument, UnreadableMessage and ConversionError before anything is written, and what
        `Writing.put` raises: the same delivery again then finds those that were.
        """
        found = list(documents(Message.parse(hl7_of(delivery.body))))
        if self.only and not found:
            raise NoDocument
        placed: Counter[Placed] = Counter()
        for document in found:
            placed[writing.put(self._name(document, delivery), document.content)] += 1
        return placed

    def _name(self, document: Document, delivery: Delivery) -> tuple[str, ...]:
        template = self._template
        message: Message | None = None
        if template.needs_message:
            message = document.message if template.needs_header else document.context()
        return template.name(message, delivery, Inside(document.number, document.extension))
