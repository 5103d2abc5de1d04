"""What was noticed about a message: always places and codes, never field values."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Literal

Severity = Literal["error", "warning", "information"]


@dataclass(slots=True, frozen=True)
class Finding:
    """One thing found while a message was read or processed.

    `code` is stable (`segmill explain E214`). `text` is a sentence for people and holds no field
    value. `location` is an HL7 path (`PID-3[2].1`) or ''. `hl7_code` is the table 0357 code that an
    ERR segment would carry, or ''. `step` names the step (`4 map PV1-3.1, channel.yaml:31`) or ''. `rule` is
    the id of the rule of the standard or of a profile that is broken (`length`, `PID-3.usage`), or ''.
    """

    code: str
    severity: Severity
    text: str
    location: str = ""
    hl7_code: str = ""
    step: str = ""
    rule: str = ""


def dump_findings(findings: Iterable[Finding]) -> str:
    """Findings as compact JSON for the store; '' for none."""
    rows = [{k: v for k, v in asdict(f).items() if v} for f in findings]
    return json.dumps(rows, separators=(",", ":"), ensure_ascii=False) if rows else ""


def load_findings(text: str) -> tuple[Finding, ...]:
    """The inverse of `dump_findings`."""
    return tuple(Finding(**row) for row in json.loads(text)) if text else ()
