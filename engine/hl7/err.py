"""The ERR segment and the error condition of MSA, in the form of each version (spec items 33 to 35).

HL7 v2.2 to 2.4 section 2 (ERR-1: CM, later ELD), v2.5.1 section 2.15.5 (ERR-2 to ERR-8), tables 0357 and 0516.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from engine.hl7.delimiters import Delimiters
from engine.hl7.errors import PathError
from engine.hl7.escape import escape
from engine.hl7.grammar import Nth
from engine.hl7.path import compile_path
from engine.hl7.version import Version

if TYPE_CHECKING:
    from engine.hl7.message import Message

CONDITIONS: Mapping[str, str] = MappingProxyType(
    {
        "0": "Message accepted",
        "100": "Segment sequence error",
        "101": "Required field missing",
        "102": "Data type error",
        "103": "Table value not found",
        "104": "Value too long",
        "198": "Non-conformant cardinality",
        "199": "Other HL7 error",
        "200": "Unsupported message type",
        "201": "Unsupported event code",
        "202": "Unsupported processing id",
        "203": "Unsupported version id",
        "204": "Unknown key identifier",
        "205": "Duplicate key identifier",
        "206": "Application record locked",
        "207": "Application internal error",
    }
)
"""Table 0357."""

_SEVERITIES: Mapping[str, str] = MappingProxyType(
    {"error": "E", "warning": "W", "information": "I", "fatal": "F", "E": "E", "W": "W", "I": "I", "F": "F"}
)


class AckError(NamedTuple):
    """One thing to report to the sender.

    `hl7_code` of table 0357 ('' for 207); `severity` 'error', 'warning', 'information' or 'fatal' (or the letter
    of table 0516); `location` a path text or ''; `text` a sentence for people, without field values.
    """

    hl7_code: str
    severity: str
    location: str
    text: str


def error_segments(
    errors: Sequence[AckError], version: Version, d: Delimiters, message: "Message | None", *, is_negative: bool
) -> str:
    """The ERR segments, each with its CR.

    From 2.5 one segment an error. Before, one for all, whose ERR-1 repeats and knows no severity, so a positive
    answer has none; in 2.1 it is the first one's bare code.
    """
    if version >= (2, 5, 0):
        return "".join([_modern(error, version, d, message) for error in errors])
    if not is_negative:
        return ""
    f = d.field
    if version < (2, 2, 0):
        return f"ERR{f}{_code(errors[0])}\r"
    listed = errors if d.repetition else errors[:1]
    return f"ERR{f}{d.repetition.join([_early(error, d, message) for error in listed])}\r"


def first_condition(errors: Sequence[AckError], d: Delimiters) -> str:
    """The first error as MSA-6 gives it: `101^Required field missing^HL70357`."""
    return _joined(d.component, [_code(errors[0]), _condition(errors[0], d), "HL70357"])


def safe_text(text: str, d: Delimiters) -> str:
    """`text` escaped; where the message has no escape character, delimiters in it become blanks."""
    try:
        return escape(text, d)
    except ValueError:
        return d.special.sub(" ", text)


def error_location(location: str, message: "Message | None") -> list[str]:
    """The ERL components of a path: segment, its absolute occurrence, field, repetition, component, subcomponent.

    Occurrence and repetition count from 1, and a filter is looked up in the message (spec item 34). Trailing
    parts are left out; [] for a text that is no path.
    """
    try:
        path = compile_path(location)
    except PathError:
        return []
    spec = path.spec
    if isinstance(spec.segment_selector, Nth):
        occurrence = spec.segment_selector.number
    else:
        found = path.segments(message)[:1] if message is not None else []
        occurrence = message.indexes(spec.segment).index(found[0]) + 1 if message is not None and found else 1
    parts = [spec.segment, str(occurrence)]
    if not spec.field:
        return parts
    parts.append(str(spec.field))
    if isinstance(spec.field_selector, Nth):
        parts.append(str(spec.field_selector.number))
    elif spec.component:
        parts.append("1")
    if spec.component:
        parts.append(str(spec.component))
    if spec.subcomponent:
        parts.append(str(spec.subcomponent))
    return parts


def _modern(error: AckError, version: Version, d: Delimiters, message: "Message | None") -> str:
    """`ERR||PID^1^3^1^4|101^Required field missing^HL70357|E||||text`: ERR-1 is deprecated in 2.5 and gone in 2.7."""
    f = d.field
    code = _code(error)
    severity = "I" if code == "0" else _SEVERITIES.get(error.severity, "E")
    condition = _joined(d.component, [code, _condition(error, d), "HL70357"])
    place = _joined(d.component, error_location(error.location, message))
    text = f"{f}{f}{f}{f}{safe_text(error.text, d)}" if error.text else ""
    return f"ERR{f}{f}{place}{f}{condition}{f}{severity}{text}\r"


def _early(error: AckError, d: Delimiters, message: "Message | None") -> str:
    """`PID^1^3^101&Required field missing&HL70357`."""
    condition = _joined(d.subcomponent, [_code(error), _condition(error, d), "HL70357"])
    place = [*error_location(error.location, message), "", "", ""][:3]
    return _joined(d.component, [*place, condition])


def _joined(mark: str, parts: list[str]) -> str:
    """The parts with a delimiter between them; where the message has none, the only one that stands for itself."""
    return mark.join(parts) if mark else (parts[:1] or [""])[0]


def _code(error: AckError) -> str:
    return error.hl7_code if error.hl7_code.isalnum() else "207"


def _condition(error: AckError, d: Delimiters) -> str:
    return safe_text(CONDITIONS.get(_code(error), "Other"), d)
