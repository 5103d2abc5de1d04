"""What a worklist destination gets: not the message, but what it says about the worklist, as an event (ADR 0020).

Pure: an order that cannot become an item is known to be so before its sender is answered, and a stored message gives
the same event again at any time.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from typing import Final

from engine.config.hours import zone
from engine.config.table import Table
from engine.config.worklist import WorklistOptions
from engine.hl7.message import Message
from engine.model.finding import Finding
from engine.model.ids import ChannelName
from engine.worklist.adt import patient_event
from engine.worklist.build import TYPES, Settings, order_event
from engine.worklist.event import Event
from engine.worklist.item import Problem, Problems
from engine.worklist.json_form import dump_event

ADT: Final = "ADT"
_ORDERS: Final = frozenset(type_.partition("^")[0] for type_ in TYPES)


class NotForWorklist(Exception):
    """A message that a worklist cannot take; `findings` say why, at least one of them is an error."""

    def __init__(self, findings: tuple[Finding, ...]) -> None:
        super().__init__(", ".join(finding.code for finding in findings))
        self.findings = findings


class WorklistWriter:
    """Makes the bodies of one worklist destination's deliveries."""

    def __init__(
        self,
        channel: ChannelName,
        options: WorklistOptions,
        tables: Mapping[str, Table],
        *,
        strict_charset: bool = False,
    ) -> None:
        """`strict_charset`: the channel's `charset: {strict: true}`."""
        self._is_strict = strict_charset
        self._zone: tzinfo = zone(options.zone) if options.zone is not None else UTC
        self._arrivals = frozenset(options.arrivals)
        self._settings = Settings(
            options.feed or channel,
            self._zone,
            table=options.table,
            controls=options.control_table,
            stations=options.stations(tables),
            modalities={code.strip().upper(): modality for code, modality in options.modalities.items()},
            priorities=options.priority_map,
            authority=options.authority,
            derive_uid=options.derives_uid,
            without_start=options.without_start,
            without_station=options.without_station,
            fallback_accession=tuple(str(text) for text in options.accession),
            shortenings=options.shortenings(tables),
        )

    def write(self, message: Message, now: datetime) -> tuple[bytes, tuple[Finding, ...]]:
        """The event as the body of a delivery, and what was odd. Raises NotForWorklist."""
        try:
            event = self._event(message, now)
        except Problems as error:
            raise NotForWorklist(findings_of(error.found)) from None
        return dump_event(event), findings_of(event.warnings)

    def _event(self, message: Message, now: datetime) -> Event:
        charset = message.charset
        # A guess is good enough for most receivers, and not for the name by which a patient is called in. What is
        # certain to be UTF-8, or Windows' characters in 8859/1, is not what MSH-18 says: a strict channel refuses it.
        is_guessed = charset.evidence == "fallback"
        is_another = charset.evidence in ("utf-8 found", "windows-1252 found")
        if charset.declared and (is_guessed or (self._is_strict and is_another)):
            raise Problems((Problem("E450", "the text is not in the character set of MSH-18", "MSH^1^18", "102"),))
        code = message.get("MSH-9.1") or ""
        if code in _ORDERS:
            return order_event(message, self._settings, now)
        if code == ADT:
            return patient_event(message, self._settings.table, self._settings.authority, self._zone, self._arrivals)
        raise Problems((Problem("E447", "a worklist takes orders and ADT, and no other messages", "MSH^1^9", "200"),))


def findings_of(problems: tuple[Problem, ...]) -> tuple[Finding, ...]:
    """Problems as findings of a message, refusals as errors."""
    return tuple(
        Finding(
            problem.code,
            "error" if problem.is_refusal else "warning",
            problem.text,
            path_of(problem.location),
            problem.hl7_code if problem.is_refusal else "",
        )
        for problem in problems
    )


def path_of(location: str) -> str:
    """A place as ERR-2 has it, `OBR^2^24^1^3`, as a path: `OBR[2]-24.3`, and `PID-3` where the first is meant."""
    segment, *parts = location.split("^")
    number, field, repetition, component = (*parts, "", "", "", "")[:4]
    path = f"{segment}[{number}]" if number not in ("", "1") else segment
    if field:
        path += f"-{field}"
        path += f"[{repetition}]" if repetition not in ("", "1") else ""
        path += f".{component}" if component else ""
    return path
