"""E275: a message in another form than HL7."""

from types import MappingProxyType
from typing import Final

from engine.config.story import Stories, Story

CONVERT: Final[Stories] = MappingProxyType(
    {
        "E275": Story(
            "the message cannot be written as JSON or XML",
            "A destination with a format, or a convert step, asks for another form than HL7, and the message has "
            "something that this form has no way to write: for XML, a segment whose name is none, or a control "
            "character in a message whose MSH-2 has no escape character. The message is held with all its deliveries.",
            "Delete or correct that place in a step, or have the destination take format: json, which can write every "
            "message. Then: segmill release SEQ, and the message goes through the channel as it is then.",
        ),
    }
)
