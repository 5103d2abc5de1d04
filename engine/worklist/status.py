"""What a hospital system is told of a step: an order message with ORC-1 `SC` and the status in ORC-5 (dicom.md 1.9).

The numbers stand in it as the order brought them, with all their components, as long as the order's bytes are kept;
else as the item has them. What follows the patient is the item's: after a merge the order's would be the wrong ones.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, get_args

from engine.hl7.delimiters import STANDARD
from engine.hl7.errors import UnreadableMessage
from engine.hl7.escape import escape
from engine.hl7.message import Message
from engine.hl7.values import format_moment
from engine.worklist.item import EntityId, Item, Status, items, text
from engine.worklist.view import Repetition, View, part_of

StatusMessage = Literal["ORM^O01", "OMG^O19", "OMI^O23"]
STATUS_MESSAGES: Final[tuple[StatusMessage, ...]] = get_args(StatusMessage)

OrderStatus = Literal["IP", "CM", "DC", "CA", "SC"]
"""Table 0038, as far as a step comes to it."""
ORDER_STATUSES: Final[tuple[OrderStatus, ...]] = get_args(OrderStatus)

ORDER_STATUS: Final[Mapping[Status, OrderStatus]] = {
    "STARTED": "IP",
    "COMPLETED": "CM",
    "DISCONTINUED": "DC",
    "CANCELED": "CA",
    "SCHEDULED": "SC",
}
"""ARRIVED and READY are nothing that ORC-5 has a word for."""

_VERSIONS: Final[Mapping[StatusMessage, tuple[str, tuple[str, ...]]]] = {
    "ORM^O01": ("2.3.1", ("2.2", "2.3", "2.3.1", "2.4", "2.5", "2.5.1", "2.6")),
    "OMG^O19": ("2.5.1", ("2.4", "2.5", "2.5.1", "2.6", "2.7", "2.7.1", "2.8", "2.8.1", "2.8.2")),
    "OMI^O23": ("2.5.1", ("2.5", "2.5.1", "2.6", "2.7", "2.7.1", "2.8", "2.8.1", "2.8.2")),
}
"""The version that is written where the order says none, and those that have the message."""
_SEX: Final = frozenset({"M", "F", "O"})
_XPN_FORMS: Final = ("A", "I", "P")

Fields = Mapping[int, str]


@dataclass(slots=True, frozen=True)
class OrderReceived:
    """The message that an item is from: MSH-9 as `ORM^O01`, and its bytes, None where they are no longer kept."""

    message_type: str
    raw: bytes | None


@dataclass(slots=True, frozen=True)
class Header:
    """What stands in MSH of what is said. `at`: aware, in the site's time zone."""

    control_id: str
    at: datetime
    fallback: str = "cp1252"


def status_message(
    item: Item, order: OrderReceived | None, header: Header, wanted: StatusMessage | None = None
) -> bytes | None:
    """The message for the item as it is now; None for a status that ORC-5 has no word for.

    `wanted`: its type, whatever the order was; else the order's own, ORM^O01 where that is not known.
    """
    status = ORDER_STATUS.get(item.status)
    if status is None:
        return None
    source = _Source.of(item, order, header.fallback)
    kind = wanted if wanted is not None else kind_of(order.message_type if order is not None else "")
    built = _segments(item, source, kind, status, header.at)
    is_ascii = all(line.isascii() for line in built)
    segments = [_msh(source, kind, header, is_ascii), *built]
    return "".join(f"{segment}\r" for segment in segments).encode("utf-8", "replace")


def kind_of(message_type: str) -> StatusMessage:
    """The message for an order of this type."""
    return next((one for one in STATUS_MESSAGES if one == message_type), "ORM^O01")


class _Source:
    """The order's own words: of MSH, PID and PV1, and of the ORC, OBR and IPC that the item is from."""

    def __init__(self, view: View | None, group: View | None) -> None:
        self._view = view
        self._group = group

    @staticmethod
    def of(item: Item, order: OrderReceived | None, fallback: str) -> "_Source":
        """An order whose bytes are gone, or cannot be read, says nothing."""
        if order is None or order.raw is None:
            return _Source(None, None)
        try:
            message = Message.parse(order.raw, fallback=fallback)
            names = message.names()
        except UnreadableMessage:
            return _Source(None, None)
        shared: dict[str, Sequence[int]] = {
            name: [names.index(name)] for name in ("MSH", "PID", "PV1") if name in names
        }
        views = [View(message, {**shared, **group}) for group in _groups(names)]
        own = [view for view in views if _is_of(view, item)]
        return _Source(View(message, shared), own[0] if own else None)

    def head(self, path: str) -> str:
        """A value of MSH."""
        return self._view.text(path) if self._view is not None else ""

    def own(self, segment: str, field: int) -> str:
        """A field of the item's own order, as it was written, in the standard's delimiters."""
        return _written(self._group.repetitions(segment, field)) if self._group is not None else ""

    def number(self, segment: str, field: int, number: EntityId) -> str:
        """An EI: as the order has it where it is the same number, else as the item has it."""
        if self._group is not None:
            found = self._group.repetitions(segment, field)
            if number and part_of(found, 1) == number.id:
                return _written(found[:1])
        return _ei(number)

    def patient(self, patient: EntityId) -> str:
        """PID-3: the repetition of the order that has the patient's identifier, with its type; else as it is now."""
        found = self._view.repetitions("PID", 3) if self._view is not None else []
        same = [one for one in found if part_of([one], 1) == patient.id]
        namespaces = [one for one in same if patient.issuer in ("", part_of([one], 4, 1), _universal(one))]
        return _written(namespaces[:1]) or _cx(patient)

    def visit(self, visit: EntityId) -> tuple[str, str]:
        """PV1-2 and PV1-19, where the order's visit is the item's; else nothing."""
        found = self._view.repetitions("PV1", 19) if self._view is not None else []
        if self._view is None or not visit or part_of(found, 1) != visit.id:
            return "", ""
        return _written(self._view.repetitions("PV1", 2)), _written(found[:1])


def _groups(names: Sequence[str]) -> list[dict[str, Sequence[int]]]:
    """ORC, OBR and IPC that belong together, one for each IPC; an OBR without an ORC of its own has the one before."""
    found: list[dict[str, Sequence[int]]] = []
    orc: list[int] = []
    obr: list[int] = []
    for index, name in enumerate(names):
        if name == "ORC":
            orc, obr = [index], []
            found.append({"ORC": orc, "OBR": obr, "IPC": []})
        elif name == "OBR":
            if obr or not found:
                obr = []
                found.append({"ORC": orc, "OBR": obr, "IPC": []})
            obr.append(index)
        elif name == "IPC" and found:
            if found[-1]["IPC"]:
                found.append({"ORC": orc, "OBR": obr, "IPC": [index]})
            else:
                found[-1]["IPC"] = [index]
    return found


def _is_of(view: View, item: Item) -> bool:
    """Whether this part of an order is the item's: it names the step, or none, and one of the order's numbers."""
    step = view.text("IPC-4") or view.text("OBR-20")
    if step and step not in (item.key.step_id, item.original("ScheduledProcedureStepID")):
        return False
    keys = item.keys
    numbers = (
        (keys.placer.id, view.text("ORC-2"), view.text("OBR-2")),
        (keys.filler.id, view.text("ORC-3"), view.text("OBR-3")),
        (keys.accession.id, view.text("IPC-1"), view.text("OBR-18")),
        (keys.study_uid, view.text("IPC-3"), ""),
    )
    return any(own and own in found for own, *found in numbers)


# -- segments ------------------------------------------------------------------------------------


def _msh(source: _Source, kind: StatusMessage, header: Header, is_ascii: bool) -> str:
    """Back the way the order came: who it was for is who says it now."""
    default, known = _VERSIONS[kind]
    said = source.head("MSH-12")
    version = said if said in known else default
    is_named = kind != "ORM^O01" or version not in ("2.2", "2.3", "2.3.1")
    fields = {
        3: _leaf(source.head("MSH-5") or "SEGMILL"),
        4: _leaf(source.head("MSH-6")),
        5: _leaf(source.head("MSH-3")),
        6: _leaf(source.head("MSH-4")),
        7: format_moment(header.at),
        9: f"{kind}^{kind.replace('^', '_')}" if is_named else kind,
        10: _leaf(header.control_id),
        11: _leaf(source.head("MSH-11") or "P"),
        12: version,
        18: "" if is_ascii else "UNICODE UTF-8",
    }
    return f"MSH|^~\\&|{_joined(fields, 3)}"


def _segments(item: Item, source: _Source, kind: StatusMessage, status: OrderStatus, at: datetime) -> list[str]:
    attributes, step, keys = item.attributes, item.step, item.keys
    procedure = item.original("RequestedProcedureID")
    step_id = _leaf(item.original("ScheduledProcedureStepID") or item.key.step_id)
    accession = source.number("IPC", 1, keys.accession)
    if kind != "OMI^O23" or source.own("OBR", 18):
        accession = source.number("OBR", 18, keys.accession)
    placer = source.number("ORC", 2, keys.placer)
    filler = source.number("ORC", 3, keys.filler)
    orc = {1: "SC", 2: placer, 3: filler, 4: source.own("ORC", 4), 5: status, 9: format_moment(at)}
    obr = {
        1: "1",
        2: source.number("OBR", 2, keys.placer) if source.own("OBR", 2) else placer,
        3: source.number("OBR", 3, keys.filler) if source.own("OBR", 3) else filler,
        4: source.own("OBR", 4) or _service(item),
    }
    sex = text(attributes, "PatientSex")
    pid = {
        3: source.patient(item.patient),
        5: _xpn(text(attributes, "PatientName")),
        7: _leaf(text(attributes, "PatientBirthDate")),
        8: sex if sex in _SEX else "",
    }
    segments = [_segment("PID", pid)]
    patient_class, visit = source.visit(item.visit)
    if visit and patient_class:
        segments.append(_segment("PV1", {2: patient_class, 19: visit}))
    segments.append(_segment("ORC", orc))
    modality = _leaf(item.modality)
    if kind == "OMI^O23":
        ipc = {
            1: accession,
            2: _leaf(procedure),
            3: _leaf(item.key.study_uid),
            4: step_id,
            5: modality,
            6: source.own("IPC", 6),
            9: "~".join(_leaf(title) for title in item.stations),
        }
        return [*segments, _segment("OBR", obr), _segment("IPC", ipc)]
    obr |= {18: accession, 19: _leaf(procedure), 20: step_id, 24: modality}
    obr[44] = source.own("OBR", 44)
    uid = text(step, "StudyInstanceUID") or item.key.study_uid
    return [*segments, _segment("OBR", obr), _segment("ZDS", {1: f"{_leaf(uid)}^^Application^DICOM"})]


def _service(item: Item) -> str:
    """OBR-4 of what the item has: the requested procedure, and the protocol behind it."""
    codes = (*items(item.attributes, "RequestedProcedureCodeSequence"), {})[0]
    protocol = (*items(item.step, "ScheduledProtocolCodeSequence"), {})[0]
    parts = ("CodeValue", "CodeMeaning", "CodingSchemeDesignator")
    found = [_leaf(text(code, part)) for code in (codes, protocol) for part in parts]
    if not found[0]:
        found[1] = found[1] or _leaf(text(item.attributes, "RequestedProcedureDescription"))
    return "^".join(found).rstrip("^")


def _segment(name: str, fields: Fields) -> str:
    return f"{name}|{_joined(fields, 1)}"


def _joined(fields: Fields, first: int) -> str:
    last = max((number for number, field in fields.items() if field), default=first)
    return "|".join(fields.get(number, "") for number in range(first, last + 1))


# -- values --------------------------------------------------------------------------------------


def _leaf(value: str) -> str:
    return escape(value, STANDARD)


def _written(repetitions: Sequence[Repetition]) -> str:
    """A field in the standard's delimiters, without what is empty at its end."""
    return "~".join(
        "^".join("&".join(map(_leaf, component)).rstrip("&") for component in repetition).rstrip("^")
        for repetition in repetitions
    ).rstrip("~")


def _ei(number: EntityId) -> str:
    if not number:
        return ""
    universal, mark, kind = number.issuer.partition("|")
    issuer = f"^^{_leaf(universal)}^{_leaf(kind)}" if mark else f"^{_leaf(number.issuer)}"
    return f"{_leaf(number.id)}{issuer}".rstrip("^")


def _cx(number: EntityId) -> str:
    if not number:
        return ""
    universal, mark, kind = number.issuer.partition("|")
    authority = f"&{_leaf(universal)}&{_leaf(kind)}" if mark else _leaf(number.issuer)
    return f"{_leaf(number.id)}^^^{authority}".rstrip("^")


def _universal(repetition: Repetition) -> str:
    """The assigning authority of a CX as an item has it that has no namespace."""
    return f"{part_of([repetition], 4, 2)}|{part_of([repetition], 4, 3)}"


def _xpn(name: str) -> str:
    """A PN as XPN, one repetition a group: suffix and prefix change places (dicom.md 1.5)."""
    groups = [group for group in zip(_XPN_FORMS, name.split("="), strict=False) if group[1].strip("^ ")]
    found: list[str] = []
    for form, group in groups:
        family, given, middle, prefix, suffix = (*map(_leaf, group.split("^")), "", "", "", "", "")[:5]
        parts = [family, given, middle, suffix, prefix, "", "L", form if len(groups) > 1 or form != "A" else ""]
        found.append("^".join(parts).rstrip("^"))
    return "~".join(found)
