"""ORM^O01, OMG^O19 and OMI^O23 as worklist steps (dicom.md section 1.1).

One step is one scheduled procedure step. A message may name several orders, each with several steps: ORC/OBR pairs
that share OBR-18 and OBR-19 are one requested procedure; within it each OBR-20, or each IPC, is a step, and a pair that
repeats an OBR-20 adds a protocol code to that step. Nothing is left out silently: what cannot become a step refuses the
message at its place.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import Final

from engine.hl7.message import Message
from engine.hl7.values import Moment, message_zone, parse_moment
from engine.worklist.attributes import SPS, STEP
from engine.worklist.control import BUILDS, Action, Controls
from engine.worklist.demographics import entity_of, patient_of
from engine.worklist.event import Order, OrderEvent, Step
from engine.worklist.item import (
    AS_ONE,
    Attributes,
    EntityId,
    ItemKey,
    OrderKeys,
    Problem,
    Problems,
    UidOrigin,
    texts,
)
from engine.worklist.mapping import (
    REPEATED,
    SPECIAL,
    MappingTable,
    attribute_of,
    code_items,
    issuer_items,
    plain_value,
)
from engine.worklist.shorten import NOT_AT_ALL, SHORTENED, Shortening
from engine.worklist.stations import PRIORITIES, StationRule, is_ae_title, modality_of, station_of
from engine.worklist.text import clean, is_uid
from engine.worklist.uid import derived_uid
from engine.worklist.view import NULL, View

TYPES: Final = frozenset({"ORM^O01", "OMG^O19", "OMI^O23"})
STEP_ID: Final = "ScheduledProcedureStepID"
_SHARED: Final = ("MSH", "PID", "PD1", "PV1", "PV2", "AL1")
_WEIGHT: Final[Mapping[str, float]] = {"KG": 1.0, "G": 0.001, "LB": 0.45359237, "[LB_AV]": 0.45359237, "": 1.0}
_HEIGHT: Final[Mapping[str, float]] = {"M": 1.0, "CM": 0.01, "MM": 0.001, "[IN_I]": 0.0254, "IN": 0.0254, "": 1.0}
_BODY: Final[Mapping[str, tuple[frozenset[str], Mapping[str, float]]]] = {
    "PatientWeight": (frozenset({"BODY WEIGHT", "29463-7", "3141-9"}), _WEIGHT),
    "PatientSize": (frozenset({"BODY HEIGHT", "3137-7", "8302-2"}), _HEIGHT),
}


_Made = dict[str, tuple[str, ...] | tuple[Attributes, ...]]


@dataclass(slots=True, frozen=True)
class Settings:
    """How a destination makes steps. `feed`: the namespace of derived UIDs. `zone`: the site's, where none is written.

    `authority`: the assigning authority whose identifier in PID-3 is the patient's, '' for the first of type MR, else
    the first. `derive_uid`: whether an order without a Study Instance UID gets one. `without_start`: `received` takes
    the time of the message for a step without a start, `refuse` refuses it. `without_station`: `warn` or `refuse`.
    `fallback_accession`: paths for an accession number where the row has none. `shortenings`: by keyword,
    what becomes of identifiers that are too long.
    """

    feed: str
    zone: tzinfo
    table: MappingTable = field(default_factory=MappingTable)
    controls: Controls = field(default_factory=Controls)
    stations: Sequence[StationRule] = ()
    modalities: Mapping[str, str] = field(default_factory=dict)
    priorities: Mapping[str, str] = field(default_factory=lambda: PRIORITIES)
    authority: str = ""
    derive_uid: bool = True
    without_start: str = "received"
    without_station: str = "warn"
    fallback_accession: Sequence[str] = ()
    shortenings: Mapping[str, Shortening] = field(default_factory=dict)


@dataclass(slots=True)
class _Group:
    """One ORC with what belongs to it, up to the next; `number` counts from 1."""

    number: int
    segments: dict[str, list[int]]


def order_event(message: Message, settings: Settings, now: datetime) -> OrderEvent:
    """What an order message says. Raises Problems with everything that refuses it. `now`: when it was received."""
    return _Builder(message, settings, now).event()


class _Builder:
    def __init__(self, message: Message, settings: Settings, now: datetime) -> None:
        self._message = message
        self._settings = settings
        self._now = now
        self._found: list[Problem] = []
        self._has_unicode = message.codec in ("utf_8", "utf-8", "gb18030")

    def event(self) -> OrderEvent:
        groups = self._groups()
        if not groups:
            raise Problems((Problem("E430", "there is no ORC and no OBR", "ORC^1", "100"),))
        for nth in range(1, len(self._message.indexes("PID"))):
            # Whose the orders behind it are cannot be told: another patient's, or results from before (OMG, OMI).
            self._refuse(
                "E454", "an order message is of one patient, and this one has another PID", f"PID^{nth + 1}", "100"
            )
        patient = patient_of(
            self._message, self._settings.table, self._settings.authority, self._found, self._has_unicode
        )
        views = [self._view(group) for group in groups]
        orders = [self._order(group, view, views) for group, view in zip(groups, views, strict=True)]
        if any(self._builds(order) for order in orders) and not patient.attributes.get("PatientName"):
            self._refuse("E431", "the patient has no name, and a worklist item must", "PID^1^5", "101")
        orders = self._with_protocols(orders)
        found = tuple(dict.fromkeys(self._found))
        if any(problem.is_refusal for problem in found):
            raise Problems(found)
        return OrderEvent(patient, tuple(orders), found)

    def _builds(self, order: Order) -> bool:
        return self._settings.controls.action(order.control, order.status) in BUILDS

    # -- segments -------------------------------------------------------------------------------

    def _groups(self) -> list[_Group]:
        """ORC with all up to the next one. An OBR where its order has one already begins another with the same ORC."""
        groups: list[_Group] = []
        shared: dict[str, list[int]] = {}
        zds: list[int] = []
        begun = False
        for index, name in enumerate(self._message.names()):
            if name == "ORC" or (name == "OBR" and not begun):
                groups.append(_Group(len(groups) + 1, {name: [index]}))
                begun = True
            elif name == "OBR" and "OBR" in groups[-1].segments:
                before = groups[-1].segments
                head: dict[str, list[int]] = {name: before[name] for name in ("ORC", "TQ1") if name in before}
                groups.append(_Group(len(groups) + 1, {**head, "OBR": [index]}))
            elif name == "ZDS":
                zds.append(index)
                if begun:
                    groups[-1].segments.setdefault("ZDS", []).append(index)
            elif begun and name not in _SHARED:
                self._take(groups[-1], name, index)
            else:
                shared.setdefault(name, []).append(index)
        for group in groups:
            for name, indexes in shared.items():
                if name != "NTE":
                    group.segments.setdefault(name, indexes)
        if len(zds) == 1:
            for group in groups:
                group.segments["ZDS"] = zds
        return groups

    def _take(self, group: _Group, name: str, index: int) -> None:
        if name == "NTE" and ("OBX" in group.segments or "OBR" not in group.segments):
            return  # a note about an observation, or about the order's head, is no comment on the procedure
        group.segments.setdefault(name, []).append(index)

    def _view(self, group: _Group, ipc: int | None = None) -> View:
        segments: dict[str, Sequence[int]] = dict(group.segments)
        if ipc is not None:
            segments["IPC"] = [group.segments["IPC"][ipc]]
        return View(self._message, segments)

    # -- one order ------------------------------------------------------------------------------

    def _order(self, group: _Group, view: View, views: Sequence[View]) -> Order:
        location = f"ORC^{group.number}"
        control, status = view.text("ORC-1"), view.text("ORC-5")
        action = self._settings.controls.action(control, status)
        if action is None:
            self._refuse("E410", "no row says what this order control and status do", f"{location}^1", "103")
        steps: list[Step] = []
        names_steps = False
        count = len(group.segments.get("IPC", ()))
        builds = action in BUILDS
        shares_zds = self._is_zds_shared(views)
        for nth in range(max(count, 1)):
            part = self._view(group, nth) if count else view
            place = f"IPC^{nth + 1}" if count else f"OBR^{group.number}"
            names_steps |= bool(self._id("ScheduledProcedureStepID", part))
            step = self._step(part, place, builds, shares_zds)
            if step is not None:
                steps.append(step)
        keys = steps[0].keys if steps else self._keys(view, location, builds, shares_zds)[0]
        is_findable = bool(keys.study_uid or keys.placer or keys.filler or keys.accession)
        if not builds and not is_findable and action not in (None, "none"):
            self._refuse("E432", "the order carries no number to find it by", f"{location}^2", "101")
        visit = entity_of(self._settings.table, "AdmissionID", view)
        return Order(control, status, keys, tuple(steps), names_steps, self._ordered_at(view, action), location, visit)

    def _is_zds_shared(self, views: Sequence[View]) -> bool:
        """Whether one ZDS stands for several requested procedures: it can be the UID of none of them."""
        with_zds = [view for view in views if view.text("ZDS-1.1")]
        if len({view.text("ZDS-1.1") for view in with_zds}) != 1:
            return False
        return len({(view.text("OBR-18"), view.text("OBR-19")) for view in with_zds}) > 1

    def _step(self, view: View, place: str, builds: bool, shares_zds: bool) -> Step | None:
        keys, origin = self._keys(view, place, builds, shares_zds)
        # By whose rules a procedure's or a step's id is made short: those of the identifier that stands in for it.
        procedure_id, of_procedure = self._id("RequestedProcedureID", view), "RequestedProcedureID"
        if not procedure_id:
            procedure_id, of_procedure = keys.accession.id, "AccessionNumber"
        step_id, of_step = self._id("ScheduledProcedureStepID", view), "ScheduledProcedureStepID"
        if not step_id:
            step_id, of_step = procedure_id, of_procedure
        short_step = self._short(of_step, step_id)
        if not builds:
            if not step_id:
                return None
            shown = clean(short_step, STEP["ScheduledProcedureStepID"])
            return Step(ItemKey(keys.study_uid, shown), keys, origin, {}, "", place)
        if not keys.study_uid:
            return None  # refused by _keys
        if not procedure_id:
            self._refuse(
                "E433", "neither a requested procedure id nor an accession number", self._at(place, "19"), "101"
            )
            return None
        attributes, starts_at = self._attributes(view, place, keys, self._short(of_procedure, procedure_id), short_step)
        inner = attributes[SPS][0]
        assert isinstance(inner, Mapping), "a sequence holds items"
        fitted = inner["ScheduledProcedureStepID"]
        if not fitted or not isinstance(fitted[0], str):
            if not any(problem.is_refusal for problem in self._found):  # as where it is too long
                self._refuse("E433", "the step's id has no character that DICOM can hold", self._at(place, "20"), "102")
            return None
        ordered = {"AccessionNumber": keys.accession.id, "RequestedProcedureID": procedure_id, STEP_ID: step_id}
        originals = {
            keyword: number
            for keyword, number in ordered.items()
            if (own := texts(inner if keyword == STEP_ID else attributes, keyword)) and own[0] != number
        }
        return Step(ItemKey(keys.study_uid, fitted[0]), keys, origin, attributes, starts_at, place, originals)

    def _short(self, keyword: str, number: str) -> str:
        """An identifier as DICOM has it, by what the destination says of those that are too long."""
        return self._settings.shortenings.get(keyword, NOT_AT_ALL).short(number, attribute_of(keyword))

    def _id(self, target: str, view: View) -> str:
        """An id of the order; HL7's null is none."""
        text = self._settings.table.texts(target, view)[0]
        return "" if text == NULL else text

    def _keys(self, view: View, place: str, builds: bool, shares_zds: bool) -> tuple[OrderKeys, UidOrigin]:
        table = self._settings.table
        placer = entity_of(table, "PlacerOrderNumberImagingServiceRequest", view)
        filler = entity_of(table, "FillerOrderNumberImagingServiceRequest", view)
        accession = entity_of(table, "AccessionNumber", view)
        for path in self._settings.fallback_accession:
            if not accession and (text := view.text(path)) and text != NULL:
                accession = EntityId(text)
        uid, origin = self._study_uid(view, place, accession, placer, filler, builds, shares_zds)
        return OrderKeys(uid, placer, filler, accession), origin

    def _study_uid(
        self,
        view: View,
        place: str,
        accession: EntityId,
        placer: EntityId,
        filler: EntityId,
        builds: bool,
        shares_zds: bool,
    ) -> tuple[str, UidOrigin]:
        text, path = self._settings.table.texts("StudyInstanceUID", view)
        is_zds = path.startswith("ZDS")
        if text and text != NULL and not (is_zds and shares_zds):
            if not is_uid(text):
                where = "ZDS^1^1" if is_zds else self._at(place, path.partition("-")[2].partition(".")[0])
                self._refuse("E434", "this is not a UID", where, "102")
                return "", "zds"
            return text, "ipc" if path.startswith("IPC") else "zds"
        for nth in range(view.count("OBX")):
            if view.text("OBX-3.1", nth) == "113014" and is_uid(view.text("OBX-5.1", nth)):
                return view.text("OBX-5.1", nth), "obx"
        procedure_id = self._id("RequestedProcedureID", view)
        # Without accession and procedure id the order's own number says which order it is.
        basis = accession if accession or procedure_id else (filler or placer)
        uid = derived_uid(self._settings.feed, basis, procedure_id)
        if uid is None:
            if builds:
                self._refuse(
                    "E435", "the order has no number to derive a Study Instance UID from", self._at(place, "18"), "101"
                )
            return "", "derived"
        if builds and not self._settings.derive_uid:
            self._refuse("E436", "the order brings no Study Instance UID, and none may be derived", "ZDS^1^1", "101")
        # Of a message that makes no item it is not said by the sender, so it must not take part in finding one
        # whose UID came from elsewhere.
        return (uid, "derived") if builds else ("", "derived")

    # -- attributes -----------------------------------------------------------------------------

    def _attributes(
        self, view: View, place: str, keys: OrderKeys, procedure_id: str, step_id: str
    ) -> tuple[Attributes, str]:
        table = self._settings.table
        outer: _Made = {}
        inner: _Made = {}
        for target in table.order_targets:
            if target in SPECIAL:
                continue
            holder = inner if target in STEP else outer
            holder[target] = self._value(target, view, place)
        outer["StudyInstanceUID"] = (keys.study_uid,)
        outer["AccessionNumber"] = plain_value(
            "AccessionNumber",
            self._short("AccessionNumber", keys.accession.id),
            self._at(place, "18"),
            self._found,
        )
        outer["RequestedProcedureID"] = plain_value(
            "RequestedProcedureID", procedure_id, self._at(place, "19"), self._found
        )
        inner["ScheduledProcedureStepID"] = plain_value(
            "ScheduledProcedureStepID", step_id, self._at(place, "20"), self._found
        )
        outer["RequestedProcedurePriority"] = self._priority(view)
        outer["PregnancyStatus"] = self._pregnancy(view)
        for target in _BODY:
            outer[target] = self._body(target, view)
        modality = self._modality(view, place)
        inner["Modality"] = (modality,) if modality else ()
        self._station(view, place, modality, inner)
        starts_at, offset = self._start(view, place)
        inner["ScheduledProcedureStepStartDate"] = (starts_at[:8],)
        inner["ScheduledProcedureStepStartTime"] = (starts_at[8:14],)
        if offset:
            outer["TimezoneOffsetFromUTC"] = (offset,)
        self._describe(outer, inner, place)
        outer[SPS] = (inner,)
        return outer, starts_at

    def _value(self, target: str, view: View, place: str) -> tuple[str, ...] | tuple[Attributes, ...]:
        table, attribute = self._settings.table, attribute_of(target)
        if attribute.kind == "name":
            name = table.name(target, view, has_ideographs_alone=self._has_unicode)
            if name.is_shortened:
                self._found.append(Problem("W429", f"{target} is shortened", place, is_refusal=False))
            return (name.text,) if name.text else ()
        if attribute.vr == "SQ":
            if target.startswith(("Issuer", "OrderPlacer", "OrderFiller")):
                _, namespace, universal, kind, _ = table.entity(target, view)
                return issuer_items(namespace, universal, kind)
            return code_items(target, table.code(target, view), place, self._found)
        if target in REPEATED:
            return self._several(target, view, place)
        if attribute.kind == "identifier":
            number = entity_of(table, target, view).id
            shown = self._short(target, number) if target in SHORTENED else number
            return plain_value(target, shown, self._place_of(target, view, place), self._found)
        text, path = table.texts(target, view)
        return plain_value(target, text, _location(path) or place, self._found)

    def _several(self, target: str, view: View, place: str) -> tuple[str, ...]:
        found = [text for text in self._settings.table.all_texts(target, view) if text != NULL]
        if not attribute_of(target).multiple:
            found = ["\r\n".join(found)] if found else []
        values = [value for text in found for value in plain_value(target, text, place, self._found)]
        return tuple(dict.fromkeys(values))

    def _place_of(self, target: str, view: View, place: str) -> str:
        return _location(self._settings.table.texts(target, view)[1]) or place

    def _at(self, place: str, field: str) -> str:
        return f"{place}^{field}" if place.startswith("OBR") else place

    def _describe(self, outer: _Made, inner: _Made, place: str) -> None:
        """A description or a code is required of the step and of the procedure; one stands in for the other."""
        texts = (
            inner.get("ScheduledProcedureStepDescription"),
            outer.get("RequestedProcedureDescription"),
        )
        text = next((value for value in texts if value), ())
        if (
            not text
            and not inner.get("ScheduledProtocolCodeSequence")
            and not outer.get("RequestedProcedureCodeSequence")
        ):
            self._refuse(
                "E437", "the order says neither by text nor by code what is to be done", self._at(place, "4"), "101"
            )
        inner["ScheduledProcedureStepDescription"] = inner.get("ScheduledProcedureStepDescription") or text
        outer["RequestedProcedureDescription"] = outer.get("RequestedProcedureDescription") or text

    def _priority(self, view: View) -> tuple[str, ...]:
        text = self._settings.table.texts("RequestedProcedurePriority", view)[0]
        mapped = self._settings.priorities.get(text.upper(), "")
        return (mapped,) if mapped else ()

    def _pregnancy(self, view: View) -> tuple[str, ...]:
        """3 is possibly or surely pregnant by PV1-15 (B6), 4 unknown (PS3.3 section C.7.1.1)."""
        text = self._settings.table.texts("PregnancyStatus", view)[0]
        if text in ("1", "2", "3", "4"):
            return (text,)
        return ("3",) if text == "B6" else ("4",)

    def _body(self, target: str, view: View) -> tuple[str, ...]:
        text = self._settings.table.texts(target, view)[0]
        if text:
            return plain_value(target, text, "", self._found)
        wanted, factors = _BODY[target]
        for nth in range(view.count("OBX")):
            names = {view.text("OBX-3.1", nth).upper(), view.text("OBX-3.2", nth).upper()}
            factor = factors.get(view.text("OBX-6.1", nth).upper())
            if names & wanted and factor is not None:
                try:
                    number = float(view.text("OBX-5", nth))
                except ValueError:
                    continue
                if 0 < number * factor < 1000:
                    return (f"{number * factor:.6g}",)
        return ()

    def _modality(self, view: View, place: str) -> str:
        text, path = self._settings.table.texts("Modality", view)
        modality = modality_of(text, self._settings.modalities)
        if not modality:
            where = place if path.startswith("IPC") else self._at(place, "24")
            if text:
                self._refuse("E438", "no map knows this modality", where, "103")
            else:
                self._refuse("E439", "the order has no modality", where, "101")
        return modality

    def _station(self, view: View, place: str, modality: str, inner: _Made) -> None:
        titles = [part[0][0].strip(" ") for part in view.repetitions("IPC", 9) if part and part[0]]
        titles += [self._settings.table.texts("ScheduledStationAETitle", view)[0]]
        titles = [title for title in dict.fromkeys(titles) if title]
        station = station_of(view, modality, self._settings.stations)
        if not titles:
            titles = list(station.ae)
            if station.name:
                inner["ScheduledStationName"] = (station.name[:16],)
            if station.location:
                inner["ScheduledProcedureStepLocation"] = (station.location[:16],)
        bad = [title for title in titles if not is_ae_title(title)]
        if bad:
            self._refuse(
                "E440", "this is no AE title", place if place.startswith("IPC") else self._at(place, "24"), "102"
            )
        if not titles:
            text = "no rule names a station; consoles that ask for their own list will not see the step"
            if self._settings.without_station == "refuse":
                self._refuse("E441", text, place, "103")
            else:
                self._found.append(Problem("W430", text, place, is_refusal=False))
        inner["ScheduledStationAETitle"] = tuple(titles)

    # -- times ----------------------------------------------------------------------------------

    def _start(self, view: View, place: str) -> tuple[str, str]:
        """The step's start, `YYYYMMDDHHMMSS.ffffff` as it is written, and its offset from UTC where it has one."""
        text, path = self._settings.table.texts("ScheduledProcedureStepStartDate", view)
        moment = parse_moment(text) if text and text != NULL else None
        where = path.replace("-", "^1^", 1).partition(".")[0] if path else place
        if text and text != NULL and (moment is None or moment.to_date() is None):
            self._refuse("E442", "this is no start: a day at least is needed", where, "102")
        if moment is None or moment.to_date() is None:
            if self._settings.without_start == "refuse":
                self._refuse("E443", "the order does not say when", where, "101")
            else:
                self._found.append(
                    Problem(
                        "W431", "the order does not say when; the time of the message is taken", where, is_refusal=False
                    )
                )
            return self._message_time(), ""
        if moment.precision == "day":
            self._found.append(
                Problem("W432", "the start is a day without a time; 00:00 is taken", where, is_refusal=False)
            )
        return _local(moment), _offset(moment)

    def _message_time(self) -> str:
        moment = parse_moment(self._message.get("MSH-7") or "")
        if moment is not None and moment.to_date() is not None:
            return _local(moment)
        return self._now.astimezone(self._settings.zone).strftime("%Y%m%d%H%M%S.%f")

    def _ordered_at(self, view: View, action: Action | None) -> str:
        """ORC-9, else MSH-7, in UTC, so that messages can be told older from newer; '' where neither says it.

        Of a cancel the later of both: senders repeat the order's own time in ORC-9, and a cancel that is taken for
        older than the last change would leave the step on the list.
        """
        zone = message_zone(self._message, self._settings.zone)
        found: list[str] = []
        for path in ("ORC-9", "MSH-7"):
            moment = parse_moment(view.text(path))
            if moment is not None and moment.to_date() is not None:
                found.append(moment.to_datetime(zone).astimezone(UTC).strftime("%Y%m%d%H%M%S.%f"))
        if action in ("cancel", "discontinue"):
            return max(found, default="")
        return found[0] if found else ""

    # -- several pairs of one step --------------------------------------------------------------

    def _with_protocols(self, orders: list[Order]) -> list[Order]:
        """Pairs that name one step again add their protocol code to it; the later ones have no step of their own."""
        first: dict[ItemKey, tuple[int, int]] = {}
        steps = [list(order.steps) for order in orders]
        for place, order in enumerate(orders):
            if not self._builds(order):
                continue
            for nth, step in enumerate(order.steps):
                if step.key not in first:
                    first[step.key] = (place, nth)
                    continue
                at, index = first[step.key]
                if step.originals.get(STEP_ID) != steps[at][index].originals.get(STEP_ID):
                    self._refuse("E457", AS_ONE, self._at(step.location, "20"), "205")
                if _modality(step) != _modality(steps[at][index]):
                    self._refuse("E456", "two orders of one step, of different modalities", step.location, "102")
                steps[at][index] = _with_protocol(steps[at][index], step)
                steps[place].remove(step)
        return [
            Order(o.control, o.status, o.keys, tuple(own), o.names_steps, o.at, o.location, o.visit)
            for o, own in zip(orders, steps, strict=True)
        ]

    def _refuse(self, code: str, text: str, location: str, hl7_code: str) -> None:
        self._found.append(Problem(code, text, location, hl7_code))


def _with_protocol(step: Step, other: Step) -> Step:
    inner, more = step.attributes[SPS][0], other.attributes[SPS][0]
    assert isinstance(inner, Mapping) and isinstance(more, Mapping), "a sequence holds items"
    target = "ScheduledProtocolCodeSequence"
    codes = [*inner.get(target, ()), *more.get(target, ())]
    unique = [code for n, code in enumerate(codes) if code not in codes[:n]]
    attributes = {**step.attributes, SPS: ({**inner, target: tuple(unique)},)}
    return Step(step.key, step.keys, step.uid_origin, attributes, step.starts_at, step.location, step.originals)


def _local(moment: Moment) -> str:
    fraction = (moment.fraction or "").ljust(6, "0")[:6]
    return (
        f"{moment.year:04}{moment.month:02}{moment.day:02}"
        f"{moment.hour:02}{moment.minute:02}{moment.second:02}.{fraction}"
    )


def _offset(moment: Moment) -> str:
    if moment.offset_minutes is None or moment.offset_unknown:
        return ""
    sign = "-" if moment.offset_minutes < 0 else "+"
    hours, minutes = divmod(abs(moment.offset_minutes), 60)
    return f"{sign}{hours:02}{minutes:02}"


def _modality(step: Step) -> object:
    inner = step.attributes[SPS][0]
    assert isinstance(inner, Mapping), "a sequence holds items"
    return inner.get("Modality")


def _location(path: str) -> str:
    """Where a path's field stands, as ERR-2 says it; '' for no path."""
    return path.replace("-", "^1^", 1).partition(".")[0]
