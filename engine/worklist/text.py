r"""HL7 text as a value of a VR: what it forbids is replaced, what is too long is cut or refused (dicom.md 1.5, 1.6).

A backslash separates values in DICOM, so `\E\` in a description would become two values: it is written as `/`. Lengths
are characters, not bytes (PS3.5 section 6.2).
"""

import re
import unicodedata
from typing import Final

from engine.worklist.attributes import Attribute

_MULTILINE: Final = frozenset({"ST", "LT", "UT"})
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_CONTROLS_BUT_LINES: Final = re.compile(r"[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f]+")
_LINE_END: Final = re.compile(r"\r\n?|\n")
_NOT_CS: Final = re.compile(r"[^A-Z0-9 _]")
UID: Final = re.compile(r"(?=.{1,64}$)(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))+")
"""PS3.5 section 9.1: no component with a leading zero."""


class TooLong(ValueError):
    """An identifier that does not fit its VR; cut, it would be another one."""


def clean(text: str, attribute: Attribute) -> str:
    """`text` with what the attribute's VR cannot hold replaced; its length is as it comes out.

    Code strings are in capitals. Of a PN this is for one component: `^` and `=` separate its parts.
    """
    if attribute.vr in _MULTILINE:
        return _CONTROLS_BUT_LINES.sub(" ", _LINE_END.sub("\r\n", text)).rstrip(" ")
    text = _CONTROLS.sub(" ", text).replace("\\", "/").strip(" ")
    if attribute.vr == "PN":
        return text.replace("^", " ").replace("=", " ").strip(" ")
    if attribute.vr == "CS":
        return _NOT_CS.sub(" ", text.upper()).strip(" ")
    return text


def fit(text: str, attribute: Attribute) -> tuple[str, bool]:
    """The cleaned text within the attribute's limit, and whether it was cut.

    Texts are cut on a character's boundary, and not between a letter and its combining marks. Raises TooLong for an
    identifier, a code or an enumeration.
    """
    text = clean(text, attribute)
    most = attribute.most
    if not most or len(text) <= most:
        return text, False
    if attribute.kind != "text":
        raise TooLong(f"{len(text)} characters, and {attribute.keyword} has room for {most}")
    end = most
    while end > 0 and _joins(text[end]):
        end -= 1
    return text[: end or most].rstrip(" "), True


def _joins(character: str) -> bool:
    """Whether it belongs to the character before it: a combining mark, a variation selector, a joiner."""
    return unicodedata.combining(character) != 0 or character in "\u200d\ufe0e\ufe0f"


def is_uid(text: str) -> bool:
    """Whether it is a UID as PS3.5 section 9.1 writes them."""
    return UID.fullmatch(text) is not None
