"""Why a text cannot be converted, without any of its values."""

from engine.hl7.errors import Hl7Error


class ConversionError(Hl7Error):
    """A body that cannot be written in another form, or is none.

    `reason` is a sentence without values; `location` a path of HL7 (`PID-5`), of JSON (`segments[3].5`) or of XML
    (`line 12, column 7`), or ''.
    """

    def __init__(self, reason: str, location: str = "") -> None:
        super().__init__(f"{location}: {reason}" if location else reason)
        self.reason = reason
        self.location = location
