"""Who a message is about: the identifier out of PID-3, and what PID says of the patient (dicom.md 1.2 and 1.8)."""

from collections.abc import Sequence
from typing import Final

from engine.hl7.message import Message
from engine.hl7.values import parse_moment
from engine.worklist.attributes import ITEM
from engine.worklist.event import Patient
from engine.worklist.item import NO_ID, Attributes, EntityId, Problem
from engine.worklist.mapping import PATIENT, MappingTable, code_items, issuer_items, plain_value
from engine.worklist.names import aliases
from engine.worklist.text import clean
from engine.worklist.view import NULL, Repetition, View, flat, part_of

_SEXES: Final = {"M": "M", "F": "F", "O": "O", "A": "O", "N": "O"}
MOST_ID: Final = 64
_PATIENT_ID: Final = ITEM["PatientID"]
_ISSUER: Final = ITEM["IssuerOfPatientID"]


def patient_of(
    message: Message, table: MappingTable, authority: str, found: list[Problem], has_unicode: bool, nth: int = 0
) -> Patient:
    """The patient of the message's `nth` PID. What is wrong goes to `found`; the identifier is empty then."""
    indexes = message.indexes("PID")
    segments = {"PID": indexes[nth : nth + 1], "MSH": message.indexes("MSH")[:1]}
    view = View(message, segments)
    place = f"PID^{nth + 1}"
    repetitions = view.repetitions("PID", 3)
    chosen = chosen_id(repetitions, authority)
    if not chosen:
        found.append(Problem("E444", "the patient has no identifier", f"{place}^3", "101"))
    elif len(chosen.id) > MOST_ID:
        found.append(
            Problem("E420", f"{len(chosen.id)} characters, and PatientID has room for 64", f"{place}^3", "102")
        )
    elif chosen.id != clean(chosen.id, _PATIENT_ID):
        found.append(Problem("E455", "PatientID cannot hold a backslash or a control character", f"{place}^3", "102"))
    elif "|" not in chosen.issuer and len(clean(chosen.issuer, _ISSUER)) > MOST_ID:
        nth_id = next(n for n, one in enumerate(repetitions, 1) if entity(one) == chosen)
        text = f"{len(chosen.issuer)} characters, and IssuerOfPatientID has room for 64"
        found.append(Problem("E420", text, f"{place}^3^{nth_id}^4", "102"))
    attributes: dict[str, tuple[str, ...] | tuple[Attributes, ...]] = {}
    for target in PATIENT:
        value = _value(target, table, view, place, found, has_unicode)
        if value is not None:
            attributes[target] = value
    names = aliases([flat(one) for one in view.repetitions("PID", 5)])
    if names:
        attributes["OtherPatientNames"] = names
    others = _others(repetitions, chosen)
    if others:
        attributes["OtherPatientIDsSequence"] = others
    issuer = _issuer_of(repetitions, chosen)
    if issuer:
        attributes["IssuerOfPatientIDQualifiersSequence"] = issuer
    return Patient(chosen, attributes)


def chosen_id(repetitions: Sequence[Repetition], authority: str = "") -> EntityId:
    """The patient's identifier in a CX field: of the configured authority, else of type MR, else the first."""
    found = [(entity(one), part_of([one], 5).upper()) for one in repetitions]
    found = [(id, kind) for id, kind in found if id]
    if authority:
        return next((id for id, _ in found if authority in (id.issuer, *id.issuer.split("|"))), NO_ID)
    return next((id for id, kind in found if kind == "MR"), found[0][0] if found else NO_ID)


def entity(repetition: Repetition) -> EntityId:
    """A CX: its id with its assigning authority, the namespace or else `universal|type`."""
    number = part_of([repetition], 1)
    if number == NULL:
        return NO_ID
    namespace = part_of([repetition], 4, 1)
    universal, kind = part_of([repetition], 4, 2), part_of([repetition], 4, 3)
    return EntityId(number, namespace or (f"{universal}|{kind}" if universal else ""))


def entity_of(table: MappingTable, target: str, view: View) -> EntityId:
    """A number that a row maps, with who assigned it."""
    number, namespace, universal, kind, _ = table.entity(target, view)
    if not number or number == NULL:
        return NO_ID
    return EntityId(number, namespace or (f"{universal}|{kind}" if universal else ""))


def _value(
    target: str, table: MappingTable, view: View, place: str, found: list[Problem], has_unicode: bool
) -> tuple[str, ...] | tuple[Attributes, ...] | None:
    """None: the message says nothing of it; (): it deletes it."""
    if target in ("PatientName", "PatientMotherBirthName"):
        name = table.name(target, view, has_ideographs_alone=has_unicode)
        if name.is_shortened:
            found.append(Problem("W429", f"{target} is shortened", f"{place}^5", is_refusal=False))
        return () if name.is_null else ((name.text,) if name.text else None)
    if target == "PatientPrimaryLanguageCodeSequence":
        return code_items(target, table.code(target, view), place, found) or None
    text, path = table.texts(target, view)
    if not text:
        return None
    if text == NULL:
        return ()
    match target:
        case "PatientBirthDate":
            moment = parse_moment(text)
            day = moment.to_date() if moment is not None else None
            if day is None:
                found.append(
                    Problem("W433", "the date of birth is no day, and is left out", f"{place}^7", is_refusal=False)
                )
                return ()
            return (day.strftime("%Y%m%d").rjust(8, "0"),)
        case "PatientSex":
            mapped = _SEXES.get(text.upper())
            return (mapped,) if mapped else ()
        case _:
            where = path.replace("-", f"^{place[4:]}^", 1).partition(".")[0] if path else place
            return plain_value(target, text, where, found)


def _others(repetitions: Sequence[Repetition], chosen: EntityId) -> tuple[Attributes, ...]:
    made: list[Attributes] = []
    for one in repetitions:
        id = entity(one)
        if not id or id == chosen or len(id.id) > MOST_ID:
            continue
        other: dict[str, tuple[str, ...]] = {"PatientID": (id.id.replace("\\", "/"),), "TypeOfPatientID": ("TEXT",)}
        if id.issuer and "|" not in id.issuer and len(id.issuer) <= MOST_ID:
            other["IssuerOfPatientID"] = (id.issuer.replace("\\", "/"),)
        made.append(other)
    return tuple(made)


def _issuer_of(repetitions: Sequence[Repetition], chosen: EntityId) -> tuple[Attributes, ...]:
    for one in repetitions:
        if entity(one) == chosen and part_of([one], 4, 2):
            return issuer_items("", part_of([one], 4, 2), part_of([one], 4, 3))
    return ()
