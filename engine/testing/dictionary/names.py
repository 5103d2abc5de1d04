"""Names in normal words: hl7apy has `DATE_TIME_OF_MESSAGE` where the standard writes Date/Time of Message."""

import re
from types import MappingProxyType
from typing import Final

_SMALL_WORDS: Final = "a an and as at by for from in into of on or per the than to with"
_CAPITAL_WORDS: Final = (
    "ADT AHA ANSI BP BPO BPX BTX CCL CHAMPUS CDM CMS CPT CPU CT DEA DMV DRG EDI EPSDT HCFA HL7 ICD ID IDS II III IRB "
    "ISO IV LAN LOA LOINC MD MDC MIC NCPDP NDC NM OID PCA PCCL PRN PSRO RX SAAL SGR SGT SI SSN TAT TX UB UB82 UB92 "
    "UOM UPC UID USP VAT VIP W ZIP"
)
_SMALL: Final = frozenset(_SMALL_WORDS.split())
_CAPITALS: Final = frozenset(_CAPITAL_WORDS.split())
_WHOLE: Final = MappingProxyType(
    {
        "DATE_TIME": "Date/Time",
        "E_MAIL": "E-mail",
        "RE_ADMISSION": "Re-admission",
        "PRE_ADMIT": "Pre-admit",
        "NON_PATIENT": "Non-patient",
        "SUB_ID": "Sub-ID",
        "X_RAY": "X-ray",
    }
)
_MISSPELT: Final = MappingProxyType({"FAMILIY": "FAMILY", "ADMINSTRATIVE": "ADMINISTRATIVE", "IDENTIFER": "IDENTIFIER"})
_EXAMPLES: Final = re.compile(r" E G (.+)$")
_OWNER: Final = re.compile(r"\b(\w+) S\b")


def in_words(name: str, data_type: str = "", segment: str = "") -> str:
    """`MOTHER_S_MAIDEN_NAME` as Mother's Maiden Name.

    Of components of 2.2 to 2.4 the last word is often the data type (`STREET_ADDRESS_ST`); it is left out. A word
    that is a `segment` name, as in `SET_ID_PID`, stays in capitals, after a hyphen.
    """
    text = re.sub(r"[\s_]+", "_", name.strip(" _\t"))
    if data_type and text.endswith(f"_{data_type}") and text != f"_{data_type}" and data_type != "ID":
        text = text[: -len(data_type) - 1]
    for run, written in _WHOLE.items():
        text = re.sub(rf"(?<![A-Z0-9]){run}(?![A-Z0-9])", written.replace(" ", "_"), text)
    words = [_word(_MISSPELT.get(word, word), segment) for word in text.split("_") if word]
    if segment and len(words) > 1 and words[-1] == segment:
        words[-2:] = [f"{words[-2]} - {segment}"]
    joined = _OWNER.sub(r"\1's", " ".join(words))
    joined = _EXAMPLES.sub(r" (e.g. \1)", joined)
    return joined[:1].upper() + joined[1:]


def _word(word: str, segment: str) -> str:
    if word in _CAPITALS or word == segment or not word.isupper():
        return "IDs" if word == "IDS" else word
    lower = word.lower()
    return lower if lower in _SMALL else lower.capitalize()
