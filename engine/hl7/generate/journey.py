"""What happens to invented patients: who comes when, what is ordered, what comes of it, and how they leave.

A journey is the happenings of one patient, in order. `Hospital` lets patients come at the rate that is asked for, more
by day than by night, and gives the happenings of all of them in order of time. Everything follows from a seed.
"""

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from random import Random
from types import MappingProxyType
from typing import Final, Literal

from engine.hl7.generate.chance import chance_of
from engine.hl7.generate.orders import Order, imaging, laboratory, medication
from engine.hl7.generate.people import Doctor, Patient, doctor, patient

Kind = Literal[
    "person", "person changed", "booked", "rebooked", "booking cancelled", "preadmitted", "admitted", "registered",
    "changed", "moved", "became inpatient", "became outpatient", "discharged", "admission cancelled", "move cancelled",
    "discharge cancelled", "merged", "imaging ordered", "imaging cancelled", "laboratory ordered",
    "laboratory cancelled", "imaging resulted", "laboratory resulted", "medication ordered", "vaccinated",
    "documented", "charged", "other",
]  # fmt: skip

MESSAGES: Mapping[Kind, tuple[str, ...]] = MappingProxyType(
    {
        "person": ("ADT^A28",),
        "person changed": ("ADT^A31",),
        "booked": ("SIU^S12",),
        "rebooked": ("SIU^S13",),
        "booking cancelled": ("SIU^S15",),
        "preadmitted": ("ADT^A05",),
        "admitted": ("ADT^A01",),
        "registered": ("ADT^A04",),
        "changed": ("ADT^A08",),
        "moved": ("ADT^A02",),
        "became inpatient": ("ADT^A06",),
        "became outpatient": ("ADT^A07",),
        "discharged": ("ADT^A03",),
        "admission cancelled": ("ADT^A11",),
        "move cancelled": ("ADT^A12",),
        "discharge cancelled": ("ADT^A13",),
        "merged": ("ADT^A40",),
        "imaging ordered": ("OMI^O23", "ORM^O01", "OMG^O19"),
        "imaging cancelled": ("OMI^O23", "ORM^O01", "OMG^O19"),
        "laboratory ordered": ("OML^O21", "ORM^O01", "OMG^O19"),
        "laboratory cancelled": ("OML^O21", "ORM^O01", "OMG^O19"),
        "imaging resulted": ("ORU^R01",),
        "laboratory resulted": ("ORU^R01",),
        "medication ordered": ("RDE^O11",),
        "vaccinated": ("VXU^V04",),
        "documented": ("MDM^T02",),
        "charged": ("DFT^P03",),
    }
)
"""How each happening is told; of several types one is chosen for each order, and kept through its life."""

KNOWN: Final = frozenset(one for types in MESSAGES.values() for one in types)

_DAY: Final = timedelta(days=1)
_WARDS: Final = ("3W", "3E", "4W", "4E", "5S", "ICU", "OBS")
_CLINICS: Final = ("OPD", "RADAMB", "DAY")

_ARRIVALS: Final[Mapping[str, Sequence[float]]] = MappingProxyType(
    {
        # By the hour of the day: planned admissions in the morning, clinics by day, emergencies till late.
        "I": (0, 0, 0, 0, 0, 0, 2, 6, 8, 7, 6, 5, 3, 3, 3, 2, 2, 1, 1, 0, 0, 0, 0, 0),
        "O": (0, 0, 0, 0, 0, 0, 1, 7, 10, 11, 10, 8, 5, 7, 8, 7, 5, 2, 1, 0, 0, 0, 0, 0),
        "E": (2, 1.5, 1, 1, 1, 1, 1.5, 2, 3, 4, 4.5, 4.5, 4, 4, 4, 4, 4, 4.5, 5, 5, 4.5, 4, 3.5, 2.5),
    }
)
HOURS: Final = tuple(sum(hour) for hour in zip(*_ARRIVALS.values(), strict=True))
"""How many come in each hour of the day, beside each other."""


@dataclass(slots=True, frozen=True)
class Visit:
    """One stay or visit, as it is at one time. `patient_class` is of table 0004."""

    number: str
    patient_class: str
    ward: str
    room: str
    bed: str
    attending: Doctor
    began_at: datetime
    ended_at: datetime | None = None
    ward_before: str = ""


@dataclass(slots=True, frozen=True)
class Happening:
    """Something of which a message is sent. `prior_mrn` is the number that a merge gives up, `type` that of `other`."""

    at: datetime
    kind: Kind
    patient: Patient
    visit: Visit
    order: Order | None = None
    prior_mrn: str = ""
    type: str = ""


Wanted = Callable[[Kind, str], bool]
"""Whether a happening of that kind, told in a message of that type, is wanted."""


def types_of(happening: Happening, is_wanted: Wanted) -> tuple[str, ...]:
    """The types that are wanted and can tell it."""
    types = (happening.type,) if happening.kind == "other" else MESSAGES[happening.kind]
    return tuple(one for one in types if is_wanted(happening.kind, one))


class _Journey:
    """One patient's way, written down as it is told."""

    def __init__(self, seed: int, number: int, families: Sequence[str], at: datetime, others: Sequence[str]) -> None:
        self.chance = chance_of("journey", seed, number)
        self._others = others
        self.patient = patient(seed, number, families, at.date())
        self.told: list[Happening] = []
        self._seed, self._number, self._orders = seed, number, 0
        self.visit = Visit(f"V9{seed % 1000:03}{number:05}", "O", "", "", "", doctor(self.chance), at)

    def tell(self, kind: Kind, at: datetime, order: Order | None = None, **more: str) -> None:
        self.told.append(Happening(at, kind, self.patient, self.visit, order, **more))

    def happens(self, probability: float) -> bool:
        return self.chance.random() < probability

    def after(self, at: datetime, least: float, most: float) -> datetime:
        """So many minutes later."""
        return at + timedelta(seconds=round(60 * self.chance.uniform(least, most)))

    def new_order(self, make: Callable[[Random, str], Order]) -> Order:
        self._orders += 1
        return make(self.chance, f"9{self._seed % 1000:03}{self._number:05}{self._orders:02}")

    # -- the kinds of visits --------------------------------------------------------------------

    def inpatient(self, at: datetime) -> None:
        if self.happens(0.3):
            self.tell("person", self.after(at, -9000, -4400))
        if self.happens(0.4):
            self._place("P", self.chance.choice(_WARDS))
            self.tell("preadmitted", self.after(at, -4300, -700))
        self._place("I", self.chance.choice(_WARDS))
        self.tell("admitted", at)
        self._others_at(at)
        if self.happens(0.02):
            self.tell("admission cancelled", self.after(at, 2, 60))
            return
        self._stay(at)

    def outpatient(self, at: datetime) -> None:
        if self.happens(0.1):
            self.tell("person", self.after(at, -9000, -4400))
        self._place("O", self.chance.choice(_CLINICS))
        self._booking(at)
        self.tell("registered", at)
        self._others_at(at)
        if self.happens(0.2):
            self.tell("changed", self.after(at, 1, 15))
        if self.happens(0.15):
            self.tell("vaccinated", self.after(at, 10, 60))
        end = at
        for _ in range(self.chance.choice((0, 1, 1, 2))):
            end = max(end, self._order(self.after(at, 5, 40), swift=True))
        self._leave(self.after(end, 10, 60))
        if self.happens(0.1):
            self.tell("person changed", self.after(end, 1500, 9000))

    def emergency(self, at: datetime) -> None:
        self._place("E", "ER")
        true = self.patient
        if self.happens(0.12):  # registered as somebody new; it turns out that there is a number already
            self.patient = replace(true, mrn=f"8{true.mrn[1:]}")
        self.tell("registered", at)
        self._others_at(at)
        if self.patient != true:
            prior, self.patient = self.patient.mrn, true
            self.tell("merged", self.after(at, 10, 40), prior_mrn=prior)
        end = at
        for _ in range(self.chance.choice((1, 1, 2, 3))):
            end = max(end, self._order(self.after(at, 41, 60), swift=True))
        if self.happens(0.35):
            at = self.after(end, 20, 120)
            self._place("I", self.chance.choice(_WARDS))
            self.tell("became inpatient", at)
            self._stay(at)
        else:
            self._leave(self.after(end, 15, 90))

    # -- what they are made of ------------------------------------------------------------------

    def _place(self, patient_class: str, ward: str) -> None:
        room, bed = f"{self.chance.randint(1, 24)}", self.chance.choice("ABC")
        self.visit = replace(
            self.visit, patient_class=patient_class, ward=ward, room=room, bed=bed, ward_before=self.visit.ward
        )

    def _others_at(self, at: datetime) -> None:
        if self._others:
            self.tell("other", self.after(at, 1, 10), type=self.chance.choice(self._others))

    def _booking(self, at: datetime) -> None:
        if not self.happens(0.5):
            return
        # Its number is that of the visit; the time is that of the visit, whatever was planned at first.
        self.tell("booked", self.after(at, -20_000, -6000))
        if self.happens(0.2):
            self.tell("rebooked", self.after(at, -5900, -1500))

    def _stay(self, at: datetime) -> None:
        """From the admission to the discharge, a few days later in the morning."""
        days = 1 + min(int(self.chance.expovariate(0.35)), 20)
        end = (at + timedelta(days=days)).replace(hour=self.chance.randint(9, 14), minute=self.chance.randint(0, 59))
        span = (end - at).total_seconds() / 60
        for _ in range(self.chance.choice((1, 2, 2, 3, 4))):
            self._order(self.after(at, 5, span * 0.6), swift=False)
        for _ in range(self.chance.choice((0, 1, 1, 2))):
            self.tell("medication ordered", self.after(at, 30, span * 0.8), self.new_order(medication))
        if self.happens(0.5):
            self.tell("changed", self.after(at, 3, span * 0.2))
        self.told.sort(key=lambda happening: happening.at)
        moves = sorted(self.after(at, span * 0.3, span * 0.9) for _ in range(self.chance.choice((0, 0, 1, 1, 2))))
        for move in moves:
            self._move(move)
        if self.happens(0.03):
            self._place("O", self.chance.choice(_CLINICS))
            self.tell("became outpatient", self.after(end, -60, -10))
        self._leave(end)
        if self.happens(0.03):
            self.visit = replace(self.visit, ended_at=None)
            self.tell("discharge cancelled", self.after(end, 5, 60))
            self._leave(self.after(end, 120, 300))

    def _move(self, at: datetime) -> None:
        before = self.visit
        self._place("I", self.chance.choice([ward for ward in _WARDS if ward != before.ward]))
        self.tell("moved", at)
        if self.happens(0.05):
            self.tell("move cancelled", self.after(at, 1, 20))
            self.visit = before

    def _leave(self, at: datetime) -> None:
        self.visit = replace(self.visit, ended_at=at)
        self.tell("discharged", at)
        if self.visit.patient_class == "I" or self.happens(0.3):
            self.tell("documented", self.after(at, 30, 2000))
        self.tell("charged", self.after(at, 60, 3000))

    def _order(self, at: datetime, *, swift: bool) -> datetime:
        """An order and what comes of it; when that is."""
        is_imaging = self.happens(0.4)
        order = self.new_order(imaging if is_imaging else laboratory)
        scale = 1 if swift else 4
        self.tell("imaging ordered" if is_imaging else "laboratory ordered", at, order)
        if self.happens(0.06):
            end = self.after(at, 2, 30)
            self.tell("imaging cancelled" if is_imaging else "laboratory cancelled", end, replace(order, control="CA"))
            return end
        kind: Kind = "imaging resulted" if is_imaging else "laboratory resulted"
        end = self.after(at, 25 * scale, 90 * scale)
        if self.happens(0.25):
            self.tell(kind, end, replace(order, control="RE", status="P"))
            end = self.after(end, 20 * scale, 90 * scale)
        self.tell(kind, end, replace(order, control="RE", status="F"))
        if self.happens(0.04):
            self.tell(kind, self.after(end, 20, 300), replace(order.corrected(), control="RE", status="C"))
        return end


def journey(
    seed: int, number: int, families: Sequence[str], at: datetime, others: Sequence[str] = ()
) -> list[Happening]:
    """Everything that happens to the patient of that number, who comes at `at`, in order of time.

    `others` are types of messages that this hospital does not know by itself: one of them comes with every visit.
    """
    told = _Journey(seed, number, families, at, others)
    weights = [_ARRIVALS[kind][at.hour] for kind in "IOE"]
    kind = told.chance.choices("IOE", weights)[0]
    {"I": told.inpatient, "O": told.outpatient, "E": told.emergency}[kind](at)
    return _wards_in_time(sorted(told.told, key=lambda happening: happening.at))


def _wards_in_time(told: list[Happening]) -> list[Happening]:
    """What is ordered and found behind a move happens where the patient is by then."""
    placing = ("admitted", "registered", "became inpatient", "became outpatient", "moved", "discharged", "preadmitted")
    found: list[Happening] = []
    visit: Visit | None = None
    for happening in told:
        if happening.kind in placing or visit is None:
            visit = happening.visit
        elif happening.kind == "move cancelled":
            visit = replace(happening.visit, ward=happening.visit.ward_before)
        elif happening.order is not None or happening.kind == "changed":
            happening = replace(happening, visit=visit)
        found.append(happening)
    return found


class Hospital:
    """Patients who come one after the other from `since` on, with what happens to them in order of time.

    `per_hour` is how many happenings that are wanted there are in an hour, over whole days. No more patients come
    after `patients` of them, nor once `messages` wanted happenings are under way, nor at or behind `until`.
    """

    def __init__(
        self,
        seed: int,
        families: Sequence[str],
        is_wanted: Wanted,
        *,
        since: datetime,
        until: datetime | None = None,
        per_hour: float = 60.0,
        patients: int | None = None,
        messages: int | None = None,
        others: Sequence[str] = (),
    ) -> None:
        self._seed, self._families, self._others = seed, families, tuple(others)
        self._is_wanted = is_wanted
        self._since, self._until = since, until
        self._patients = patients
        self.messages = messages
        """The bound; whoever cannot use all that is given may raise it meanwhile."""
        self.each = self._mean()
        """How many wanted happenings a patient brings, in the mean; 0 where nothing that is wanted can happen."""
        self._gap_s = 3600.0 * self.each / per_hour

    def __iter__(self) -> Iterator[Happening]:
        """The wanted happenings, in order of time; of the same time in the order of patients."""
        waiting: list[tuple[datetime, int, int, Happening]] = []
        under_way, late = 0, timedelta()
        for number, planned in enumerate(self._arrivals(), 1):
            at = planned + late
            yield from self._until_then(waiting, at)
            if self.messages is not None and under_way >= self.messages:
                last = max((each[0] for each in waiting), default=at)
                yield from self._until_then(waiting, None)
                if under_way >= self.messages:
                    return
                # More are wanted after all: who comes now comes after all that was told, at the same hour.
                late += max(0, -((at - last) // _DAY)) * _DAY
                at = planned + late
            if self._until is not None and at >= self._until:
                break
            for place, happening in enumerate(self._wanted(number, at)):
                under_way += 1
                heapq.heappush(waiting, (happening.at, number, place, happening))
            if number == self._patients:
                break
        yield from self._until_then(waiting, None)

    def _until_then(
        self, waiting: list[tuple[datetime, int, int, Happening]], then: datetime | None
    ) -> Iterator[Happening]:
        while waiting and (then is None or waiting[0][0] < then):
            happening = heapq.heappop(waiting)[3]
            if self._until is None or happening.at < self._until:
                yield happening

    def _wanted(self, number: int, at: datetime) -> list[Happening]:
        """The first of them at `at` or after it: who is booked days ahead comes days later, at the same hour."""
        found = self._wanted_of(self._seed, number, at)
        if found and found[0].at < at:
            late = (at - found[0].at) // _DAY + 1
            found = self._wanted_of(self._seed, number, at + late * _DAY)
        return found

    def _wanted_of(self, seed: int, number: int, at: datetime) -> list[Happening]:
        told = journey(seed, number, self._families, at, self._others)
        return [one for one in told if types_of(one, self._is_wanted)]

    def _arrivals(self) -> Iterator[datetime]:
        """When patients come: by chance, at the rate of each hour."""
        chance = chance_of("arrivals", self._seed)
        most, mean = max(HOURS), sum(HOURS) / len(HOURS)
        at = self._since
        while self.each:
            # As often as in the busiest hour; of those who would come in a quieter one some do not.
            at += timedelta(seconds=chance.expovariate(1.0) * self._gap_s * mean / most)
            if self._until is not None and at >= self._until:
                return
            if chance.random() * most < HOURS[at.hour]:
                yield at.replace(microsecond=0)

    def _mean(self) -> float:
        """Measured on a hundred patients of another hospital, over the hours of a day."""
        chance = chance_of("mean", self._seed)
        hours = chance.choices(range(24), HOURS, k=100)
        total = 0
        for number, hour in enumerate(hours, 1):
            at = (self._since + timedelta(days=30)).replace(hour=hour)
            total += len(self._wanted_of(self._seed + 1, number, at))
        return total / len(hours)
