"""The segments that tell what happened: each from the happening alone, as HL7 v2.5.1 has it.

What another version does not know, or a profile wants otherwise, is put right afterwards (`engine.hl7.generate.fit`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final

from engine.hl7.dictionary import load
from engine.hl7.generate.chance import chance_of
from engine.hl7.generate.journey import Happening
from engine.hl7.generate.orders import Observation, Order
from engine.hl7.generate.people import Doctor

AUTHORITY: Final = "NORTH"
"""Who gives the numbers of the invented hospital; its facility in MSH-4, too."""

Fields = Mapping[int, str]
"""By number, as they stand in a segment."""

_ADT: Final = ("EVN", "PID", "PV1")
_ORDER: Final = ("PID", "PV1", "ORC")

_SEGMENTS: Mapping[str, Sequence[str]] = MappingProxyType(
    {
        "ADT^A01": ("EVN", "PID", "NK1", "PV1", "AL1", "DG1"),
        "ADT^A04": ("EVN", "PID", "NK1", "PV1", "AL1"),
        "ADT^A40": ("EVN", "PID", "MRG"),
        "ORM^O01": (*_ORDER, "OBR"),
        "OMG^O19": (*_ORDER, "TQ1", "OBR"),
        "OMI^O23": (*_ORDER, "TQ1", "OBR", "IPC"),
        "OML^O21": (*_ORDER, "TQ1", "OBR", "SPM"),
        "ORU^R01": (*_ORDER, "OBR", "OBX"),
        "SIU^S12": ("SCH", "PID", "PV1", "RGS", "AIS"),
        "SIU^S13": ("SCH", "PID", "PV1", "RGS", "AIS"),
        "SIU^S15": ("SCH", "PID", "PV1", "RGS", "AIS"),
        "MDM^T02": ("EVN", "PID", "PV1", "TXA", "OBX"),
        "DFT^P03": ("EVN", "PID", "PV1", "FT1"),
        "RDE^O11": (*_ORDER, "RXE", "TQ1", "RXR"),
        "VXU^V04": ("PID", "NK1", "PV1", "ORC", "RXA", "RXR"),
    }
)


@dataclass(slots=True, frozen=True)
class Header:
    """What MSH says beside the type: who sends to whom, in which version and character set (MSH-18)."""

    version: str = "2.5.1"
    application: str = "HIS"
    facility: str = AUTHORITY
    to_application: str = "SEGMILL"
    to_facility: str = AUTHORITY
    charset: str = ""


def segments_of(happening: Happening, type_: str, header: Header, control_id: str) -> list[str]:
    """The message in segments, without what only some site wants."""
    names = _SEGMENTS.get(type_, _ADT if type_.startswith("ADT^") else ())
    lines = [_header(happening, type_, header, control_id)]
    for name in names:
        lines += all_of(name, happening, type_)
    return lines


def all_of(name: str, happening: Happening, type_: str) -> list[str]:
    """The segments of that name that the happening fills; none for one it knows nothing of."""
    if name == "OBX":
        return [_line("OBX", _obx(happening, number, seen)) for number, seen in enumerate(_seen(happening), 1)]
    make = _MAKERS.get(name)
    if make is None:
        return []
    fields = make(happening, type_)
    return [_line(name, fields)] if fields else []


def moment(at: datetime) -> str:
    """A time with its zone, as MSH-7 has it."""
    return f"{at:%Y%m%d%H%M%S%z}"


def _line(name: str, fields: Fields) -> str:
    return "|".join([name, *(fields.get(number, "") for number in range(1, max(fields) + 1))])


def _header(happening: Happening, type_: str, header: Header, control_id: str) -> str:
    code, _, event = type_.partition("^")
    structure = load(header.version).structure_of(code, event).id
    typed = f"{type_}^{structure}" if event and structure else type_
    fields = ["MSH", "^~\\&", header.application, header.facility, header.to_application, header.to_facility]
    fields += [moment(happening.at), "", typed, control_id, "P", header.version]
    if header.charset:
        fields += ["", "", "", "", "", header.charset]
    return "|".join(fields)


# -- each segment --------------------------------------------------------------------------------


def _evn(happening: Happening, type_: str) -> Fields:
    return {1: type_.partition("^")[2], 2: moment(happening.at)}


def _pid(happening: Happening, type_: str) -> Fields:
    who = happening.patient
    return {
        1: "1",
        3: f"{who.mrn}^^^{AUTHORITY}^MR~{who.national_id}^^^NATION^NI",
        5: f"{who.family}^{who.given}^^^^^L",
        7: who.birth_date,
        8: who.sex,
        11: f"{who.street}^^{who.city}^^{who.postcode}^^H",
        13: who.phone,
    }


def _nk1(happening: Happening, type_: str) -> Fields:
    who = happening.patient
    return {1: "1", 2: f"{who.family}^{who.contact}^^^^^L", 3: "SPO^Spouse^HL70063", 5: who.phone}


def _pv1(happening: Happening, type_: str) -> Fields:
    visit = happening.visit
    if happening.kind in ("person", "person changed"):
        return {1: "1", 2: "N"}
    fields = {
        1: "1",
        2: visit.patient_class,
        3: f"{visit.ward}^{visit.room}^{visit.bed}^{AUTHORITY}",
        7: _doctor(visit.attending),
        19: f"{visit.number}^^^{AUTHORITY}^VN",
        44: moment(visit.began_at),
    }
    if happening.kind in ("moved", "became inpatient", "move cancelled") and visit.ward_before:
        fields[6] = f"{visit.ward_before}^^^{AUTHORITY}"
    if visit.ended_at is not None:
        fields[45] = moment(visit.ended_at)
    return fields


def _mrg(happening: Happening, type_: str) -> Fields:
    return {1: f"{happening.prior_mrn}^^^{AUTHORITY}^MR"} if happening.prior_mrn else {}


def _al1(happening: Happening, type_: str) -> Fields:
    if chance_of("allergy", happening.patient.mrn).random() > 0.2:
        return {}
    return {1: "1", 2: "DA^Drug allergy^HL70127", 3: "SYNPEN^Synthetic penicillin^L", 4: "MO^Moderate^HL70128"}


def _dg1(happening: Happening, type_: str) -> Fields:
    number = chance_of("diagnosis", happening.visit.number).randint(1, 40)
    return {1: "1", 3: f"SYN{number:03}^Synthetic diagnosis {number}^L", 5: moment(happening.at), 6: "A"}


def _order_of(happening: Happening) -> Order:
    """The order that it is about; of a happening without one, something to be done at the visit."""
    if happening.order is not None:
        return happening.order
    return Order(f"{happening.visit.number[1:]}00", "SYNSERV", "Synthetic service", "R")


def _placer(order: Order) -> str:
    return f"P{order.number}"


def _filler(order: Order) -> str:
    return f"F{order.number}"


def _orc(happening: Happening, type_: str) -> Fields:
    order = _order_of(happening)
    fields = {1: order.control, 2: _placer(order), 9: moment(happening.at), 12: _doctor(happening.visit.attending)}
    if order.status or order.control == "CA":
        fields[3] = _filler(order)
    if type_ == "ORM^O01":
        fields[7] = _timing(happening, order)
    return fields


def _timing(happening: Happening, order: Order) -> str:
    """TQ, as it was before TQ1: start and priority."""
    return f"^^^{moment(_begins_at(happening))}^^{order.priority}"


def _begins_at(happening: Happening) -> datetime:
    return (happening.at + timedelta(hours=1)).replace(minute=0, second=0)


def _tq1(happening: Happening, type_: str) -> Fields:
    return {1: "1", 7: moment(_begins_at(happening)), 9: _order_of(happening).priority}


def _obr(happening: Happening, type_: str) -> Fields:
    order = _order_of(happening)
    fields = {
        1: "1",
        2: _placer(order),
        4: f"{order.code}^{order.name}^L",
        16: _doctor(happening.visit.attending),
    }
    if order.modality:
        fields |= {18: f"A{order.number}", 19: f"R{order.number}", 20: f"S{order.number}", 24: order.modality}
    if type_ == "ORM^O01":
        fields[27] = _timing(happening, order)
    if order.status:
        fields |= {3: _filler(order), 7: moment(happening.at), 22: moment(happening.at), 25: order.status}
        if not order.modality:
            fields[24] = "LAB"
    return fields


def _ipc(happening: Happening, type_: str) -> Fields:
    order = _order_of(happening)
    number = order.number
    return {1: f"A{number}", 2: f"R{number}", 3: f"1.2.826.0.1.3680043.99.{number}", 4: f"S{number}", 5: order.modality}


def _spm(happening: Happening, type_: str) -> Fields:
    return {1: "1", 2: f"^SP{_order_of(happening).number}", 4: "BLD^Whole blood^HL70487"}


def _seen(happening: Happening) -> Sequence[Observation]:
    if happening.order is not None and happening.order.observations:
        return happening.order.observations
    return (Observation("NOTE", "Note", "TX", "Synthetic letter: nobody was here."),)


def _obx(happening: Happening, number: int, seen: Observation) -> Fields:
    status = happening.order.status if happening.order is not None else ""
    return {
        1: f"{number}",
        2: seen.value_type,
        3: f"{seen.code}^{seen.name}^L",
        5: seen.value,
        6: seen.unit,
        7: seen.range,
        8: seen.flag,
        11: status or "F",
    }


def _sch(happening: Happening, type_: str) -> Fields:
    visit = happening.visit
    begins = moment(visit.began_at)
    state = "Cancelled" if happening.kind == "booking cancelled" else "Booked"
    clerk = "CLK1^Testclerk^Carl"
    return {
        1: f"B{visit.number[1:]}",
        2: f"B{visit.number[1:]}",
        6: f"{type_.partition('^')[2]}^Synthetic appointment^L",
        7: "ROUTINE^Routine appointment^HL70276",
        9: "30",
        10: "MIN",
        11: f"^^30^{begins}",
        16: clerk,
        20: clerk,
        25: state,
    }


def _rgs(happening: Happening, type_: str) -> Fields:
    return {1: "1"}


def _ais(happening: Happening, type_: str) -> Fields:
    return {1: "1", 3: "SYNVISIT^Synthetic visit^L", 4: moment(happening.visit.began_at), 7: "30", 8: "MIN"}


def _txa(happening: Happening, type_: str) -> Fields:
    return {
        1: "1",
        2: "DS",
        3: "TX",
        4: moment(happening.at),
        9: _doctor(happening.visit.attending),
        12: f"D{happening.visit.number[1:]}",
        17: "AU",
    }


def _ft1(happening: Happening, type_: str) -> Fields:
    visit = happening.visit
    return {1: "1", 2: f"T{visit.number[1:]}", 4: moment(happening.at), 6: "CG", 7: "SYNSTAY^Synthetic stay^L", 10: "1"}


def _rxe(happening: Happening, type_: str) -> Fields:
    order = _order_of(happening)
    dose = order.dose or "1"
    return {1: _timing(happening, order), 2: f"{order.code}^{order.name}^L", 3: dose, 5: order.unit or "mg", 6: "TAB"}


def _rxr(happening: Happening, type_: str) -> Fields:
    return {1: "IM^Intramuscular^HL70162" if happening.kind == "vaccinated" else "PO^Oral^HL70162"}


def _rxa(happening: Happening, type_: str) -> Fields:
    at = moment(happening.at)
    return {1: "0", 2: "1", 3: at, 4: at, 5: "SYNVAC^Synthetic vaccine^L", 6: "0.5", 7: "mL", 20: "CP"}


def _doctor(who: Doctor) -> str:
    return f"{who.id}^{who.family}^{who.given}"


_MAKERS: Mapping[str, Callable[[Happening, str], Fields]] = MappingProxyType(
    {
        "EVN": _evn,
        "PID": _pid,
        "NK1": _nk1,
        "PV1": _pv1,
        "MRG": _mrg,
        "AL1": _al1,
        "DG1": _dg1,
        "ORC": _orc,
        "TQ1": _tq1,
        "OBR": _obr,
        "IPC": _ipc,
        "SPM": _spm,
        "SCH": _sch,
        "RGS": _rgs,
        "AIS": _ais,
        "TXA": _txa,
        "FT1": _ft1,
        "RXE": _rxe,
        "RXR": _rxr,
        "RXA": _rxa,
    }
)
