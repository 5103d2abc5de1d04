"""HL7 v2 text: messages, paths, escapes, character sets, acknowledgements, values. Standard library only, no I/O."""

from engine.hl7.errors import EditError, Hl7Error, Notice, PathError, UnencodableText, UnreadableMessage
from engine.hl7.message import Message
from engine.hl7.path import Path, compile_path

NULL = '""'
"""HL7's delete marker (v2.5.1 section 2.5.3): the receiver should delete its value. Neither absent nor empty."""

__all__ = [
    "NULL",
    "EditError",
    "Hl7Error",
    "Message",
    "Notice",
    "Path",
    "PathError",
    "UnencodableText",
    "UnreadableMessage",
    "compile_path",
]
