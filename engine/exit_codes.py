"""How the process ends, for scripts and supervisors. Codes 64 to 78 have the meanings of BSD's sysexits.h."""

from typing import Final

GOOD: Final = 0
FINDINGS: Final = 1
MISUSE: Final = 2
UNREACHABLE: Final = 69
DEFECT: Final = 70
CANNOT_WRITE: Final = 73
STORE_FAILED: Final = 74
TRY_AGAIN: Final = 75
NOT_ALLOWED: Final = 77
CONFIGURATION: Final = 78

MEANINGS: Final = {
    GOOD: "good",
    FINDINGS: "findings, failed cases, or messages that were refused",
    MISUSE: "the command was used wrongly",
    UNREACHABLE: "no engine or receiver answers there, or a port cannot be opened",
    DEFECT: "a defect in segmill itself",
    CANNOT_WRITE: "a file cannot be written",
    STORE_FAILED: "the store failed",
    TRY_AGAIN: "not now; the same may work later",
    NOT_ALLOWED: "not allowed",
    CONFIGURATION: "the site's files have errors",
}
