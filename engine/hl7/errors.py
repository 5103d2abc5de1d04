"""What can be wrong with HL7 text, as values and exceptions that never hold a field's content.

A `Notice` is a tolerance that let something pass; its codes are listed in `NOTICES`.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class Notice(NamedTuple):
    """One oddity of a message that was read all the same.

    `code` is a key of `NOTICES`; `text` a sentence without field values; `location` a path text or '';
    `hl7_code` the table 0357 code that an ERR segment would carry, or ''.
    """

    code: str
    text: str
    location: str = ""
    hl7_code: str = ""


NOTICES: Mapping[str, str] = MappingProxyType(
    {
        "W301": "MSH-18 is empty, the text is valid UTF-8 and was read as such",
        "W302": "MSH-18 declares another character set, but the text is valid UTF-8 and was read as such",
        "W303": "the text is not valid in the character set of MSH-18 and was read with the fallback",
        "W304": "some bytes are not valid in the character set of the message; they are kept as they are",
        "W305": "MSH-18 names no character set that can be read here",
        "W306": "MSH-18 is empty, the text is neither ASCII nor UTF-8 and was read with the fallback",
        "W307": "MSH-18 declares 8859/1, but the text holds Windows characters and was read as windows-1252",
        "W310": "MSH-2 was written with a known mistake and was repaired",
        "W311": "MSH-2 holds characters that cannot be delimiters, or one twice",
        "W312": "MSH-2 is short; the delimiters that it leaves out are not in use",
        "W320": "what stood before the first MSH segment was ignored",
        "W321": "a second MSH segment stands inside the message",
        "W322": "segments end in LF or CRLF instead of CR",
        "W350": "MSH-9.3 is not the structure of this message type and event; the standard's was taken",
        "W351": "the version of the standard has no structure for this message type and event",
        "W330": "MSH-15 or MSH-16 holds no code of table 0155 and is taken as AL",
    }
)


class Hl7Error(Exception):
    """What every exception of this package is."""


class UnreadableMessage(Hl7Error):
    """The bytes are no HL7 message: no MSH, FHS or BHS, or a field separator that cannot be one.

    `reason` is a sentence without values; `hl7_code` the table 0357 code for the answer.
    """

    def __init__(self, reason: str, hl7_code: str = "100") -> None:
        super().__init__(reason)
        self.reason = reason
        self.hl7_code = hl7_code


class TooMuchWork(Hl7Error):
    """A message's steps have spent what one message may cost the process that all channels share."""


class PathError(Hl7Error):
    """A path text that cannot be understood. `column` is 0-based in that text."""

    def __init__(self, message: str, column: int) -> None:
        super().__init__(message)
        self.message = message
        self.column = column


class EditError(Hl7Error):
    """An edit that would break the message. `location` is a path text."""

    def __init__(self, reason: str, location: str) -> None:
        super().__init__(f"{location}: {reason}" if location else reason)
        self.reason = reason
        self.location = location


class UnencodableText(EditError):
    """A text that this message cannot carry: a character outside its charset, or a delimiter it has no escape for."""
