"""Events and items as JSON: the body of a worklist delivery, and DICOM JSON (PS3.18 annex F.2) inside it.

A delivery's body is read by people (`out.modalities.json` of a case), compared by `plan` and `replay`, and carried out
by the sink; so it has one form, sorted and indented, and reads back to the event that it was made from.
"""

import json
from collections.abc import Mapping
from json.encoder import encode_basestring
from typing import Any, Final, cast

from engine.worklist.attributes import (
    CODE_SEQUENCES,
    ISSUER_SEQUENCES,
    ITEM,
    PARTS,
    SPS,
    STEP,
    Attribute,
    Level,
    attribute_in,
)
from engine.worklist.event import Event, Order, OrderEvent, Pair, Patient, PatientAction, PatientEvent, Step
from engine.worklist.item import Attributes, EntityId, ItemKey, OrderKeys, Problem, UidOrigin

_NUMBERS: Final = frozenset({"US"})
_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")


class NotAnEvent(ValueError):
    """Bytes that are no event: never made by `dump_event`."""


def to_dicom_json(attributes: Attributes, sequence: str = "") -> dict[str, Any]:
    """Attributes as a DICOM JSON object, by tag; an attribute without a value has its VR alone."""
    made: dict[str, Any] = {}
    for keyword, values in attributes.items():
        attribute = attribute_in(sequence, keyword)
        element: dict[str, Any] = {"vr": attribute.vr}
        if values:
            element["Value"] = [_value(attribute, value, keyword) for value in values]
        made[f"{attribute.tag:08X}"] = element
    return dict(sorted(made.items()))


def from_dicom_json(made: Mapping[str, Any], sequence: str = "") -> Attributes:
    """The attributes of a DICOM JSON object that `to_dicom_json` made. Raises NotAnEvent."""
    attributes: dict[str, tuple[str, ...] | tuple[Attributes, ...]] = {}
    for tag, element in made.items():
        attribute = _BY_TAG.get((_level(sequence), int(tag, 16)))
        if attribute is None:
            raise NotAnEvent(f"{tag} is no attribute of {sequence or 'an item'}")
        values = element.get("Value", [])
        if attribute.vr == "SQ":
            attributes[attribute.keyword] = tuple(from_dicom_json(value, attribute.keyword) for value in values)
        elif attribute.vr == "PN":
            attributes[attribute.keyword] = tuple(_name(value) for value in values)
        else:
            attributes[attribute.keyword] = tuple(str(value) for value in values)
    return attributes


def dump_event(event: Event) -> bytes:
    """The event as UTF-8 JSON, the same for the same event."""
    made = _order_event(event) if isinstance(event, OrderEvent) else _patient_event(event)
    return (indented(made) + "\n").encode()


def indented(value: Any, margin: str = "\n") -> str:
    """As `json.dumps(value, ensure_ascii=False, indent=1)`, which is not in C and took a fifth of an order's time.

    `value`: dicts by text, lists, and what JSON has beside them. `margin`: a line end and its indent.
    """
    if type(value) is str:
        return encode_basestring(value)
    if type(value) is dict:
        if not value:
            return "{}"
        inner = margin + " "
        rows = [f"{encode_basestring(key)}: {indented(own, inner)}" for key, own in value.items()]
        return f"{{{inner}{f',{inner}'.join(rows)}{margin}}}"
    if type(value) is list:
        if not value:
            return "[]"
        inner = margin + " "
        return f"[{inner}{f',{inner}'.join([indented(own, inner) for own in value])}{margin}]"
    return json.dumps(value, ensure_ascii=False)


def load_event(body: bytes) -> Event:
    """The event of `dump_event`. Raises NotAnEvent."""
    try:
        made = json.loads(body)
        if made["event"] == "order":
            orders = tuple(_load_order(order) for order in made["orders"])
            return OrderEvent(_load_patient(made["patient"]), orders, _load_warnings(made))
        pairs = tuple(map(_load_pair, made["pairs"]))
        return PatientEvent(
            cast(PatientAction, made["event"]),
            pairs,
            made["at"],
            _load_id(made.get("visit")),
            tuple(made.get("location", ())),
            _load_warnings(made),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NotAnEvent(f"no worklist event: {type(error).__name__}") from None


def _load_pair(made: Mapping[str, Any]) -> Pair:
    visit, prior = _load_id(made.get("visit")), _load_id(made.get("prior"))
    return Pair(_load_patient(made["patient"]), prior, made["location"], visit)


def _order_event(event: OrderEvent) -> dict[str, Any]:
    return {
        "event": "order",
        "patient": _patient(event.patient),
        "orders": [_order(order) for order in event.orders],
        **_warnings(event.warnings),
    }


def _patient_event(event: PatientEvent) -> dict[str, Any]:
    pairs = [
        {"patient": _patient(pair.patient), "location": pair.location, **_ids(prior=pair.prior, visit=pair.visit)}
        for pair in event.pairs
    ]
    location = {"location": list(event.location)} if event.location else {}
    return {
        "event": event.action,
        "at": event.at,
        "pairs": pairs,
        **_ids(visit=event.visit),
        **location,
        **_warnings(event.warnings),
    }


def _order(order: Order) -> dict[str, Any]:
    return {
        "control": order.control,
        "status": order.status,
        "at": order.at,
        "location": order.location,
        "names_steps": order.names_steps,
        "keys": _keys(order.keys),
        **_ids(visit=order.visit),
        "steps": [
            {
                "study": step.key.study_uid,
                "step": step.key.step_id,
                "uid_origin": step.uid_origin,
                "starts_at": step.starts_at,
                "location": step.location,
                "keys": _keys(step.keys),
                "dicom": to_dicom_json(step.attributes),
                **({"originals": dict(step.originals)} if step.originals else {}),
            }
            for step in order.steps
        ],
    }


def _load_order(made: Mapping[str, Any]) -> Order:
    steps = tuple(
        Step(
            ItemKey(step["study"], step["step"]),
            _load_keys(step["keys"]),
            cast(UidOrigin, step["uid_origin"]),
            from_dicom_json(step["dicom"]),
            step["starts_at"],
            step["location"],
            dict(step.get("originals", {})),
        )
        for step in made["steps"]
    )
    return Order(
        made["control"],
        made["status"],
        _load_keys(made["keys"]),
        steps,
        bool(made["names_steps"]),
        made["at"],
        made["location"],
        _load_id(made.get("visit")),
    )


def _patient(patient: Patient) -> dict[str, Any]:
    return {"id": [patient.id.id, patient.id.issuer], "dicom": to_dicom_json(patient.attributes)}


def _load_patient(made: Mapping[str, Any]) -> Patient:
    return Patient(_load_id(made["id"]), from_dicom_json(made["dicom"]))


def _keys(keys: OrderKeys) -> dict[str, Any]:
    study = {"study": keys.study_uid} if keys.study_uid else {}
    return {**study, **_ids(placer=keys.placer, filler=keys.filler, accession=keys.accession)}


def _load_keys(made: Mapping[str, Any]) -> OrderKeys:
    numbers = (_load_id(made.get(name)) for name in ("placer", "filler", "accession"))
    return OrderKeys(made.get("study", ""), *numbers)


def _ids(**ids: EntityId) -> dict[str, list[str]]:
    return {name: [id.id, id.issuer] for name, id in ids.items() if id}


def _load_id(made: Any) -> EntityId:
    return EntityId(made[0], made[1]) if made else EntityId("")


def _warnings(found: tuple[Problem, ...]) -> dict[str, Any]:
    if not found:
        return {}
    return {"warnings": [[one.code, one.text, one.location, one.hl7_code, one.is_refusal] for one in found]}


def _load_warnings(made: Mapping[str, Any]) -> tuple[Problem, ...]:
    return tuple(Problem(*one) for one in made.get("warnings", ()))


def _value(attribute: Attribute, value: str | Attributes, keyword: str) -> Any:
    if not isinstance(value, str):
        return to_dicom_json(value, keyword)
    if attribute.vr == "PN":
        return {name: group for name, group in zip(_GROUPS, value.split("="), strict=False) if group}
    return int(value) if attribute.vr in _NUMBERS else value


def _name(value: Mapping[str, str]) -> str:
    return "=".join(value.get(group, "") for group in _GROUPS).rstrip("=")


def _level(sequence: str) -> Level:
    if not sequence:
        return "item"
    if sequence == SPS:
        return "step"
    if sequence in CODE_SEQUENCES:
        return "code"
    if sequence in ISSUER_SEQUENCES:
        return "issuer"
    return "patient-id"


_BY_TAG: Final = {(one.level, one.tag): one for one in (*ITEM.values(), *STEP.values(), *PARTS.values())}
