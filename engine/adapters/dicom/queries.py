"""What scanners asked for: the last queries in memory, a line in the log for each, and numbers.

The log never has a value that a patient can be known by; what is kept in memory has it only where the site says so.
"""

import logging
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, Protocol

from engine.ports.worklist import QueryRecord
from engine.worklist.attributes import SPS
from engine.worklist.item import Attributes

log = logging.getLogger("segmill.dicom")

SHOWN_KEYS: Final = frozenset(
    {
        "SpecificCharacterSet",
        "Modality",
        "ScheduledStationAETitle",
        "ScheduledProcedureStepStartDate",
        "ScheduledProcedureStepStartTime",
        "ScheduledProcedureStepStatus",
        "ScheduledStationName",
        "ScheduledProcedureStepLocation",
    }
)
"""Keys by which nobody is known: their values may be shown to all."""
HIDDEN: Final = "***"
STATUSES: Final[Mapping[int, str]] = {
    0x0000: "success",
    0xFE00: "cancelled",
    0xA700: "cut",
    0xA900: "bad_identifier",
    0xC001: "failed",
}


class DicomMeter(Protocol):
    """What is counted."""

    def queried(self, outcome: str, answers: int, seconds: float, rewritten: int) -> None: ...

    def refused_association(self) -> None: ...

    def left_out(self, count: int) -> None: ...


class Queries:
    """A QueryLog. Keeps the newest; any thread."""

    def __init__(self, meter: DicomMeter, *, keep: int, keeps_patients: bool) -> None:
        self._meter = meter
        self._keeps_patients = keeps_patients
        self._kept: deque[QueryRecord] = deque(maxlen=keep)
        self._lock = threading.Lock()

    def change(self, *, keep: int, keeps_patients: bool) -> None:
        """Keep so many from now on; what is kept has patients no longer where the site says so."""
        with self._lock:
            kept = self._kept if keeps_patients else (replace(r, keys=_without_patients(r.keys)) for r in self._kept)
            self._kept = deque(kept, maxlen=keep)
            self._keeps_patients = keeps_patients

    def queried(self, record: QueryRecord) -> None:
        """As QueryLog.queried."""
        hidden = replace(record, keys=_without_patients(record.keys))
        outcome = STATUSES.get(record.status, "failed")
        with self._lock:
            self._meter.queried(outcome, record.answers, record.seconds, record.rewritten)
            self._kept.append(record if self._keeps_patients else hidden)
        log.info("query of %s: %s", _printable(record.calling), summary(hidden))

    def refused(self, calling: str, called: str, peer: str, why: str) -> None:
        """As QueryLog.refused."""
        with self._lock:
            self._meter.refused_association()
        log.warning("association refused: %s calls %s from %s: %s", _printable(calling), _printable(called), peer, why)

    def left_out(self, count: int, why: str) -> None:
        """As QueryLog.left_out."""
        with self._lock:
            self._meter.left_out(count)
        log.error("%d worklist item(s) left out of an answer: %s", count, why)

    @property
    def newest(self) -> Sequence[QueryRecord]:
        """What is kept, the newest last."""
        with self._lock:
            return tuple(self._kept)


def summary(record: QueryRecord) -> str:
    """One line: keys, answers, and which key took how many away."""
    keys = ", ".join(f"{name}={value}" for name, value in _flat(record.keys)) or "no keys"
    text = f"{keys}: {record.answers} answers"
    gained = [f"{count} without {name}" for name, count in record.without.items() if count > record.answers]
    if gained:
        text += f" ({', '.join(gained)})"
    if record.unmatched:
        text += f"; not matched by: {', '.join(record.unmatched[:5])}"
    if record.rewritten:
        text += f"; {record.rewritten} with text that the character set does not have"
    status = STATUSES.get(record.status, "failed")
    return text if status == "success" else f"{text}; {status}"


def _flat(keys: Attributes) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for keyword, values in keys.items():
        for value in values:
            if isinstance(value, str):
                found.append((keyword, _printable(value)))
            elif keyword == SPS:
                found += _flat(value)
    return found


def _without_patients(keys: Attributes) -> Attributes:
    made: dict[str, tuple[str, ...] | tuple[Attributes, ...]] = {}
    for keyword, values in keys.items():
        if keyword in SHOWN_KEYS:
            made[keyword] = values
        elif keyword == SPS:
            made[keyword] = tuple(_without_patients(value) for value in values if not isinstance(value, str))
        else:
            made[keyword] = (HIDDEN,) if any(values) else ()
    return made


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text[:64])
