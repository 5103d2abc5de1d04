"""Documents that travel inside of messages, each in a file of its own, beside the message's file or instead of it.

All documents of a message are decoded before the first is written: one that is broken leaves nothing behind but its
delivery, which is held. They appear before the message's own file, so whoever sees that finds them there, and none
appears before all of it is on the disk.
"""

from typing import Final

from pydantic import Field, field_validator

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
    """The documents of deliveries as files, named."""

    def __init__(self, settings: DocumentFiles) -> None:
        self.only = settings.only
        self._template = compile_name(settings.name, of_document=True)

    def files(self, delivery: Delivery) -> list[tuple[tuple[str, ...], bytes]]:
        """Name and content of each, in their order.

        Raises BrokenDocument, NoDocument, UnreadableMessage and ConversionError.
        """
        message = Message.parse(hl7_of(delivery.body))
        found = [(self._name(document, delivery), document.content) for document in documents(message)]
        if self.only and not found:
            raise NoDocument
        return found

    def _name(self, document: Document, delivery: Delivery) -> tuple[str, ...]:
        template = self._template
        message: Message | None = None
        if template.needs_message:
            message = document.message if template.needs_header else document.context()
        return template.name(message, delivery, Inside(document.number, document.extension))
