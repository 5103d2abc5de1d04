"""UTF-16 and UTF-32, which files may hold and MLLP cannot carry: their bytes hold those that frame a message.

HL7 v2.5.1 table 0211; MLLP Release 2 section 1.2.3; spec item 59.
"""

import codecs
import re
from typing import Final

_MARKS: Final = (
    # UTF-32 first: its little-endian mark begins with that of UTF-16.
    (codecs.BOM_UTF32_LE, "utf_32"),
    (codecs.BOM_UTF32_BE, "utf_32"),
    (codecs.BOM_UTF16_LE, "utf_16"),
    (codecs.BOM_UTF16_BE, "utf_16"),
)
_CODECS: Final = ("utf_32_le", "utf_32_be", "utf_16_le", "utf_16_be")
_STARTS: Final = tuple((start.encode(codec), codec) for codec in _CODECS for start in ("MSH", "FHS", "BHS", "\x0bMSH"))
_HEADER: Final = re.compile(r"(?:^|(?<=[\r\n\x0b]))MSH(.)[^\r\n]*")
_DECLARED: Final = 17
_WIDE_NAME: Final = re.compile(r"(?:UNICODE[ _-]*)?UTF[ _-]*(?:16|32)(?:[BL]E)?|UNICODE", re.IGNORECASE)


def narrowed(content: bytes) -> bytes:
    """A file's content in UTF-8, and MSH-18 as `UNICODE UTF-8` where it named the wide form.

    The same object for what is not UTF-16 or UTF-32, or not valid as such.
    """
    codec = next((codec for mark, codec in (*_MARKS, *_STARTS) if content.startswith(mark)), None)
    if codec is None:
        return content
    try:
        text = content.decode(codec)
    except UnicodeDecodeError:
        return content
    return _HEADER.sub(_declared_anew, text).encode("utf_8")


def _declared_anew(header: re.Match[str]) -> str:
    fields = header[0].split(header[1])
    if len(fields) > _DECLARED and _WIDE_NAME.fullmatch(fields[_DECLARED].strip()):
        fields[_DECLARED] = "UNICODE UTF-8"
    return header[1].join(fields)
