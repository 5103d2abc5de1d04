"""Which machines a step is for, and what kind of machine that is (dicom.md section 1.7).

IHE has no HL7 field for the station but IPC-9, so a site has rules: the first that a step fits counts. Several AE
titles mean that any of these machines may do it. A step without a station is found by no console that asks for its own
list; that is said, and never covered up by an invented title.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from engine.worklist.view import View, spec_of

MODALITIES: Final = frozenset(
    {
        "AR",
        "BDUS",
        "BI",
        "BMD",
        "CFM",
        "CR",
        "CT",
        "DG",
        "DX",
        "ECG",
        "EPS",
        "ES",
        "GM",
        "HC",
        "HD",
        "IO",
        "IVOCT",
        "IVUS",
    }
    | {
        "KER",
        "LEN",
        "LS",
        "MG",
        "MR",
        "NM",
        "OAM",
        "OCT",
        "OP",
        "OPM",
        "OPT",
        "OPTBSV",
        "OPTENF",
        "OPV",
        "OT",
        "PT",
        "PX",
    }
    | {"RF", "RG", "RTIMAGE", "SM", "SRF", "TG", "US", "VA", "XA", "XC", "RESP", "OSS", "OPR", "POS", "TM", "VR"}
)
"""Modalities that make images or records (PS3.3 section C.7.3.1.1.1)."""

LOCAL_MODALITIES: Final[Mapping[str, str]] = {
    "XR": "DX",
    "XRAY": "DX",
    "X-RAY": "DX",
    "DR": "DX",
    "RX": "DX",
    "ULTRASOUND": "US",
    "SONO": "US",
    "ECHO": "US",
    "MRI": "MR",
    "MRT": "MR",
    "NMR": "MR",
    "CAT": "CT",
    "FLUORO": "RF",
    "FL": "RF",
    "MAMMO": "MG",
    "MA": "MG",
    "MAM": "MG",
    "ANGIO": "XA",
    "AN": "XA",
    "PET": "PT",
    "PETCT": "PT",
    "NUC": "NM",
    "SPECT": "NM",
    "DEXA": "BMD",
    "DXA": "BMD",
    "BD": "BMD",
    "ENDO": "ES",
}
"""What other systems call them; a channel's own map comes first."""

PRIORITIES: Final[Mapping[str, str]] = {
    "S": "STAT",
    "A": "HIGH",
    "P": "HIGH",
    "C": "HIGH",
    "R": "ROUTINE",
    "T": "MEDIUM",
}
"""HL7's priorities as PS3.3 names them (dicom.md 1.2); others are left empty."""

AE_TITLE: Final = re.compile(r"[\x20-\x5b\x5d-\x7e]{1,16}")
"""PS3.5 section 6.2: no backslash, no control character; not blank alone."""


@dataclass(slots=True, frozen=True)
class StationRule:
    """One rule: `when` maps paths to patterns with `*` and `?`, all of which must fit; none fits everything."""

    when: Mapping[str, str]
    ae: tuple[str, ...]
    name: str = ""
    location: str = ""


@dataclass(slots=True, frozen=True)
class Station:
    """Where a step is done; `ae` () where no rule knows."""

    ae: tuple[str, ...] = ()
    name: str = ""
    location: str = ""


NOWHERE: Final = Station()


def station_of(view: View, modality: str, rules: Sequence[StationRule]) -> Station:
    """The station of the first rule that fits; the path `Modality` in a rule is the mapped one."""
    for rule in rules:
        if all(_fits(view, path, pattern, modality) for path, pattern in rule.when.items()):
            return Station(rule.ae, rule.name, rule.location)
    return NOWHERE


def modality_of(text: str, own: Mapping[str, str]) -> str:
    """The DICOM modality for what an order says, '' for what no map knows."""
    code = text.strip().upper()
    if code in own:
        return own[code]
    if code in MODALITIES:
        return code
    return LOCAL_MODALITIES.get(code, "")


def is_ae_title(text: str) -> bool:
    """Whether it is an AE title: up to 16 characters of ASCII, not blank, no backslash."""
    return AE_TITLE.fullmatch(text) is not None and bool(text.strip(" "))


def _fits(view: View, path: str, pattern: str, modality: str) -> bool:
    value = modality if path == "Modality" else view.text(path)
    return _pattern(pattern).fullmatch(value) is not None


@lru_cache(1024)
def _pattern(text: str) -> re.Pattern[str]:
    # Neighbouring stars say what one says. A rule has few of them, and values are short.
    parts = (re.escape(part).replace(r"\?", ".") for part in re.split(r"\*+", text))
    return re.compile(".*".join(parts), re.DOTALL)


def check_path(path: str) -> None:
    """Raises PathError for what cannot stand in `when`."""
    if path != "Modality":
        spec_of(path)
