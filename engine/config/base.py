"""The base of every model that a configuration file is read into."""

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationInfo, field_validator, model_validator
from pydantic.fields import FieldInfo

from engine.config.finding import BadValue, ConfigFinding, at
from engine.config.node import SourceDict, SourceText

if TYPE_CHECKING:
    from engine.config.kinds import Kinds


@dataclass(slots=True)
class Reading:
    """What is known while one file is read into models, and where its findings gather.

    `texts` are the texts with a meaning that were met, each with the segment in focus there: they can be
    checked also where the model as a whole came to nothing. `focus` is that of the step being read.
    """

    file: str
    kinds: "Kinds"
    findings: list[ConfigFinding] = field(default_factory=list)
    texts: list[tuple[SourceText, str | None]] = field(default_factory=list)
    focus: str | None = None


@dataclass(slots=True, frozen=True)
class Doubt:
    """A warning about a key of a model. `code` is from the catalogue."""

    key: str
    code: str
    message: str
    hint: str = ""


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that somebody probably meant, or ''."""
    names = list(known)
    by_lower = {name.lower(): name for name in names}
    close = difflib.get_close_matches(word.lower(), by_lower, n=8, cutoff=0.6)
    # Letters that changed places are the commonest slip, and difflib does not know it: cp1225 is cp1252, not cp1258.
    swapped = [name for name in close if sorted(name) == sorted(word.lower())]
    return by_lower[(swapped or close)[0]] if close else ""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint: the nearest known word, or all of them where there are few."""
    names = sorted(known)
    if close := nearest(word, names):
        return f"did you mean '{close}'?"
    return f"known here: {', '.join(names)}" if 0 < len(names) <= 20 else ""


def keys_hint(text: SourceText) -> str:
    """How a text was probably meant that stands where keys with values must: `host:x`, `host x`; or ''."""
    found = re.fullmatch(r"([A-Za-z][\w.-]*)(:|\s+)(\S+)", text)
    if found is None or text.is_secret:
        return ""
    missing = "a space" if found[2] == ":" else "a colon"
    return f"{missing} is missing: {found[1]}: {found[3]}"


class ConfigModel(BaseModel):
    """A mapping of a configuration file. Unknown keys are findings, and nothing changes after it was read.

    A key has one name: the field's alias, or its own name. `later` names keys that people may expect and
    that this version does not have, with a sentence that says what to do instead. `true` and `false` are
    the only flags, digits the only whole numbers.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
    later: ClassVar[Mapping[str, str]] = {}

    def doubts(self) -> Iterable["Doubt"]:
        """What is no mistake and should be looked at, of a source's or sink's settings: told as warnings."""
        return ()

    @classmethod
    def known_keys(cls) -> dict[str, FieldInfo]:
        """Fields by the key a file has them under."""
        return {info.alias or name: info for name, info in cls.model_fields.items()}

    @model_validator(mode="before")
    @classmethod
    def _report_unknown_keys(cls, data: Any, info: ValidationInfo) -> Any:
        if not isinstance(data, SourceDict) or not isinstance(info.context, Reading):
            return data
        if cls.model_config.get("extra") == "allow":
            return data
        known = cls.known_keys()
        unknown = [key for key in data if key not in known]
        if not unknown:
            return data
        for key in unknown:
            _report_unknown_key(key, known, cls.later, info.context, _emptied(data, key, known))
        kept = SourceDict({key: value for key, value in data.items() if key in known})
        kept.node, kept.owner = data.node, data.owner
        return kept

    @field_validator("*", mode="before")
    @classmethod
    def _read_plainly(cls, value: Any, info: ValidationInfo) -> Any:
        if not isinstance(value, str) or info.field_name is None:
            return value
        described = cls.model_fields[info.field_name]
        if any(isinstance(part, BeforeValidator) for part in described.metadata):
            return value
        if described.annotation in (bool, bool | None):
            return _flag(value)
        if described.annotation in (int, int | None):
            return _whole_number(value)
        return value


def _report_unknown_key(
    key: SourceText, known: Mapping[str, object], later: Mapping[str, str], reading: Reading, emptied: str
) -> None:
    place = key.position()
    assert place is not None, "keys of a SourceDict come from a file"
    if key in later:
        reading.findings.append(at(place, "E119", f"'{key.shown}' is not in this version", later[key]))
    else:
        hint = f"indent it further if it belongs to '{emptied}'" if emptied else did_you_mean(key, known)
        reading.findings.append(at(place, "E101", f"unknown key '{key.shown}'", hint))


def _emptied(data: SourceDict, key: SourceText, known: Mapping[str, object]) -> str:
    """The known key without a value that `key` stands behind, with only unknown ones between; or ''."""
    before = ""
    for other, value in data.items():
        if other == key:
            return before
        if other in known:
            before = other.shown if isinstance(value, SourceText) and value.is_broken and not value else ""
    return ""


def _flag(text: str) -> bool:
    if text not in ("true", "false"):
        close = {"yes": "true", "on": "true", "1": "true", "no": "false", "off": "false", "0": "false"}
        meant = close.get(text.lower(), text.lower() if text.lower() in ("true", "false") else "")
        hint = f"did you mean {meant}?" if meant else "write true or false"
        raise BadValue("is neither true nor false", hint, code="E105")
    return text == "true"


def _whole_number(text: str) -> int:
    digits = text[1:] if text.startswith("-") else text
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 18):
        raise BadValue("is not a whole number", "write digits only, such as 2575", code="E106")
    return int(text)
