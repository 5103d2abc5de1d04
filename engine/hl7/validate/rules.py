"""The standard's rules, what a breach of each weighs, and what is said of it.

Two things are kept apart. The **severity** is the standard's own judgement and is the same everywhere: an `error`
breaks it, a `warning` is something that receivers are told to bear, `information` is what a site may well do on
purpose. The **mode** is what it comes to here: `reject`, `warn`, `observe` or off, as the profile's `standard` says.
Where the profile only gives a default, that default counts in full for errors; a warning is at most a `warn`, and
information at most an `observe`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

from engine.hl7.profile import Mode, Rule, Standard, StandardMode

Severity = Literal["error", "warning", "information"]

_BY_MODE: Mapping[Mode, Severity] = MappingProxyType({"reject": "error", "warn": "warning", "observe": "information"})
_MOST: Mapping[Severity, StandardMode] = MappingProxyType({"warning": "warn", "information": "observe"})
_ORDER: Final[tuple[StandardMode, ...]] = ("off", "observe", "warn", "reject")


class StandardRule(NamedTuple):
    """`hl7_code` is of table 0357; `text` goes on from the place: `PID-3 (Patient Identifier List)` + `is ...`."""

    severity: Severity
    hl7_code: str
    text: str


STANDARD_RULES: Mapping[str, StandardRule] = MappingProxyType(
    {
        "structure.missing": StandardRule("error", "100", "is required here and missing"),
        "structure.repeated": StandardRule("error", "100", "stands here more often than the structure allows"),
        "structure.order": StandardRule("warning", "100", "stands behind its place in the structure"),
        "structure.unexpected": StandardRule("warning", "100", "has no place in the structure of this message"),
        "structure.declared": StandardRule(
            "information", "100", "is not the structure that the standard has for the type"
        ),
        "structure.unknown": StandardRule(
            "information", "200", "is no type and event that this version has a structure for"
        ),
        "segment.unknown": StandardRule("warning", "100", "is no segment of this version, and no Z-segment"),
        "field.unknown": StandardRule("information", "199", "is beyond the fields that this version has"),
        "field.withdrawn": StandardRule("information", "199", "is withdrawn in this version, and has a value"),
        "component.unknown": StandardRule("information", "199", "is beyond the components of its data type"),
        "component.withdrawn": StandardRule("information", "199", "is withdrawn in this version, and has a value"),
        "required": StandardRule("error", "101", "is required and empty"),
        "cardinality": StandardRule("error", "198", "repeats more often than it may"),
        "length": StandardRule("warning", "104", "is longer than it may be"),
        "datatype.NM": StandardRule("error", "102", "is no number"),
        "datatype.SI": StandardRule("error", "102", "is no sequence number"),
        "datatype.DT": StandardRule("error", "102", "is no date"),
        "datatype.TM": StandardRule("error", "102", "is no time of day"),
        "datatype.TS": StandardRule("error", "102", "is no point in time"),
        "datatype.DTM": StandardRule("error", "102", "is no point in time"),
        "datatype.blank": StandardRule("warning", "102", "is a number or time of zeros or blanks, or padded with them"),
        "datatype.OBX-5": StandardRule("warning", "101", "has a value, and OBX-2 does not say of which type"),
        "table": StandardRule("error", "103", "is not in the table that HL7 defines for it"),
        "table.suggested": StandardRule("information", "103", "is not among the codes that HL7 suggests"),
    }
)
"""By id. A table's rule has its number behind `table`: `table.0001`; of codes that are only suggested, too."""


@dataclass(slots=True, frozen=True)
class Breach:
    """What is said when one rule is broken at one place, wherever in a message that place occurs."""

    rule: str
    mode: Mode
    severity: Severity
    hl7_code: str
    text: str
    owner: str = ""


class Judge:
    """Makes breaches of the standard's rules as one profile has them."""

    def __init__(self, standard: Standard) -> None:
        self._standard = standard
        self._without_default = replace(standard, default="off")

    def breach(
        self, id: str, place: str, name: str, *, rule: str = "", severity: Severity | None = None
    ) -> Breach | None:
        """Of the rule `id` of STANDARD_RULES at a bare place; None where the profile has it off.

        `rule` is the longer id for `table`; `severity` weighs less than the rule's own.
        """
        said = STANDARD_RULES[id]
        weight = severity or said.severity
        mode = self._mode(rule or id, place, weight)
        if mode == "off":
            return None
        shown = f"{place} ({name})" if name else place
        return Breach(rule or id, mode, weight, said.hl7_code, f"{shown} {said.text}")

    def _mode(self, rule: str, place: str, severity: Severity) -> StandardMode:
        explicit = self._without_default.mode(rule, place)
        mode = self._standard.mode(rule, place)
        if explicit == mode:
            return mode
        most = _MOST.get(severity, "reject")
        return min(mode, most, key=_ORDER.index)


def profile_breach(rule: Rule, hl7_code: str, place: str, name: str, text: str) -> Breach:
    """Of a rule of the profile, in its own words if it has some."""
    shown = f"{place} ({name})" if name else place
    said = rule.message or f"{shown} {text}"
    return Breach(rule.id, rule.mode, _BY_MODE[rule.mode], hl7_code, said, rule.owner)
