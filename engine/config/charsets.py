"""The character set of a destination, and what becomes of text that it does not have."""

import re
from typing import Annotated, Final, cast

from pydantic import AfterValidator, BeforeValidator, ValidationInfo, WithJsonSchema

from engine.config.base import did_you_mean
from engine.config.finding import BadValue
from engine.hl7.charset import codec_named
from engine.hl7.recode import NAMES, Policy, Target, UnknownTarget, target_of

_REPLACE: Final = re.compile(r"replace\((.*)\)", re.DOTALL)
_POLICIES: Final = ("hold", "escape", "replace(?)")


def target(charset: str, unencodable: str) -> Target:
    """What a checked destination writes. Raises UnknownTarget for one that was not checked."""
    found = _REPLACE.fullmatch(unencodable)
    if found:
        return target_of(charset, "replace", found[1])
    return target_of(charset, cast(Policy, unencodable))


def _charset(value: object) -> object:
    """The text as table 0211 spells it; MSH-18 repeats where it holds `~`."""
    if not isinstance(value, str):
        return value
    try:
        return target_of(value).name
    except UnknownTarget as error:
        if "no character set" not in error.reason:
            hint = "take UNICODE UTF-8" if "over MLLP" in error.reason else ""
            raise BadValue(error.reason, hint, code="E105") from None
        raise BadValue(error.reason, _meant(error.wanted), code="E105") from None


def _meant(wanted: str) -> str:
    """The name of table 0211 for what other worlds call the set."""
    codec = codec_named(wanted.strip())
    by_codec = [name for name in NAMES if codec is not None and codec_named(name) == codec]
    if by_codec:
        return f"did you mean '{by_codec[0]}'?"
    if codec == "cp1252":
        return "HL7 has no name for it; 8859/1 is its nearest"
    plain = wanted.strip().upper().replace("ISO-", "").replace("ISO8859", "8859").replace("8859-", "8859/")
    return did_you_mean(plain, NAMES) or "such as 8859/1 or UNICODE UTF-8"


def _unencodable(value: object) -> object:
    if not isinstance(value, str) or value in ("hold", "escape") or _REPLACE.fullmatch(value):
        return value
    hint = "write the text in brackets, such as replace(?)" if value == "replace" else did_you_mean(value, _POLICIES)
    raise BadValue(f"'{value}' is not what can become of a character", hint, code="E105")


def _goes_with(value: str, info: ValidationInfo) -> str:
    """`unencodable` is read behind `charset`."""
    if "charset" not in info.data:
        return value  # which has a finding of its own
    charset = info.data["charset"]
    if charset is None:
        raise BadValue("is for a destination with a charset", "such as charset: 8859/1", code="E105")
    try:
        target(charset, value)
    except UnknownTarget as error:
        raise BadValue(error.reason, "take hold or replace(?)", code="E105") from None
    return value


TargetCharset = Annotated[
    str, BeforeValidator(_charset), WithJsonSchema({"type": "string", "examples": [*NAMES, "~ISO IR87"]})
]
Unencodable = Annotated[
    str,
    BeforeValidator(_unencodable),
    AfterValidator(_goes_with),
    WithJsonSchema({"anyOf": [{"enum": ["hold", "escape"]}, {"type": "string", "pattern": r"^replace\(.*\)$"}]}),
]
