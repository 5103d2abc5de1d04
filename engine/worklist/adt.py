"""ADT messages as patient events (dicom.md section 1.8)."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, tzinfo
from typing import Final

from engine.hl7.message import Message
from engine.hl7.values import message_zone, parse_moment
from engine.worklist.attributes import ITEM
from engine.worklist.demographics import chosen_id, entity, patient_of
from engine.worklist.event import Pair, PatientAction, PatientEvent
from engine.worklist.item import NO_ID, EntityId, Problem, Problems
from engine.worklist.mapping import MappingTable
from engine.worklist.text import clean
from engine.worklist.view import View

ACTIONS: Final[Mapping[str, PatientAction]] = {
    **dict.fromkeys(("A01", "A04", "A05", "A08", "A28", "A31"), "update"),
    **dict.fromkeys(("A03", "A06", "A07", "A11", "A13", "A38"), "update"),
    **dict.fromkeys(("A02", "A12"), "locate"),
    "A10": "arrive",
    **dict.fromkeys(("A18", "A34", "A35", "A36", "A39", "A40", "A41"), "merge"),
    **dict.fromkeys(("A30", "A46", "A47", "A49"), "rename"),
    **dict.fromkeys(("A43", "A44", "A45"), "move"),
    **dict.fromkeys(("A23", "A29"), "delete"),
    **dict.fromkeys(("A24", "A37"), "none"),
}
"""By trigger event; others change nothing on a worklist. Discharges and cancelled admissions cancel no orders."""

_LOCATION: Final = ITEM["CurrentPatientLocation"]


def patient_event(
    message: Message, table: MappingTable, authority: str, zone: tzinfo, arrivals: frozenset[str] = frozenset()
) -> PatientEvent:
    """What an ADT message says. `arrivals`: more events that make the visit's items ARRIVED, such as A04.

    Raises Problems with everything that refuses it.
    """
    trigger = message.get("MSH-9.2") or message.get("EVN-1") or ""
    action: PatientAction = "arrive" if trigger in arrivals else ACTIONS.get(trigger, "none")
    found: list[Problem] = []
    at = _at(message, zone)
    if action == "none":
        return PatientEvent("none", (), at)
    has_unicode = message.codec in ("utf_8", "utf-8", "gb18030")
    pairs: list[Pair] = []
    for nth, mrg in enumerate(_pairs(message)):
        patient = patient_of(message, table, authority, found, has_unicode, nth)
        if patient.attributes.get("PatientName") == ():
            found.append(Problem("W434", "a name cannot be deleted; it stays", f"PID^{nth + 1}^5", is_refusal=False))
            named = {keyword: value for keyword, value in patient.attributes.items() if keyword != "PatientName"}
            patient = replace(patient, attributes=named)
        view = View(message, {"MRG": [mrg]} if mrg is not None else {})
        prior = chosen_id(view.repetitions("MRG", 1), authority) or chosen_id(view.repetitions("MRG", 1))
        if mrg is None and action in ("merge", "rename", "move"):
            found.append(Problem("E416", "there is no MRG segment", f"MRG^{nth + 1}", "100"))
        if action in ("merge", "rename") and prior and not prior.issuer and patient.id.issuer:
            text = "MRG-1 names no assigning authority; that of PID-3 was taken"
            found.append(Problem("W436", text, f"MRG^{nth + 1}^1", is_refusal=False))
        priors = [prior]
        if action == "merge" and prior:
            priors += [id for id in map(entity, view.repetitions("MRG", 1)) if id and id.issuer == prior.issuer]
        for one in dict.fromkeys(priors):
            # Nobody named: whoever assigned the one that is left.
            known = EntityId(one.id, one.issuer or patient.id.issuer) if one else one
            pairs.append(Pair(patient, known, str(nth + 1), _moved(view) if action == "move" else NO_ID))
    if not pairs:
        found.append(Problem("E444", "there is no PID segment", "PID^1", "100"))
    if any(problem.is_refusal for problem in found):
        raise Problems(tuple(dict.fromkeys(found)))
    visits = View(message, {"PV1": message.indexes("PV1")[:1]})
    location = " ".join(part for n in (1, 2, 3) if (part := visits.text(f"PV1-3.{n}")))
    value = clean(location, _LOCATION)[:64].rstrip(" ")
    visit = chosen_id(visits.repetitions("PV1", 19))
    return PatientEvent(action, tuple(pairs), at, visit, (value,) if value else (), tuple(dict.fromkeys(found)))


def _pairs(message: Message) -> Iterator[int | None]:
    """For each PID the MRG behind it, before the next PID; None where there is none."""
    begun = False
    mrg: int | None = None
    for index, name in enumerate(message.names()):
        if name == "PID":
            if begun:
                yield mrg
            begun, mrg = True, None
        elif name == "MRG" and mrg is None:
            mrg = index
    if begun:
        yield mrg


def _moved(view: View) -> EntityId:
    """The visit that moves (MRG-5), or else the account (MRG-3)."""
    return chosen_id(view.repetitions("MRG", 5)) or chosen_id(view.repetitions("MRG", 3))


def _at(message: Message, zone: tzinfo) -> str:
    """EVN-2, else MSH-7, in UTC; '' where neither says it."""
    own = message_zone(message, zone)
    for path in ("EVN-2", "MSH-7"):
        moment = parse_moment(message.get(path) or "")
        if moment is not None and moment.to_date() is not None:
            return moment.to_datetime(own).astimezone(UTC).strftime("%Y%m%d%H%M%S.%f")
    return ""
