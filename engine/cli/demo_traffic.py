"""The demo's 250 messages: a morning at an invented hospital, the same every time but for its control ids.

On purpose: two results with a code that no table has (held), one result and one admission that lack what their
channels ask for (refused), and one order that its sender sends twice (recognised).
"""

from collections.abc import Mapping
from random import Random
from typing import Final, TypedDict

from engine.testing.messages import Observation, adt, orm, oru, scheduled

ADMISSIONS: Final = 120
ORDERS: Final = 50
RESULTS: Final = 30
SCHEDULED: Final = 50
HELD: Final = 2
REFUSED: Final = 2
DUPLICATES: Final = 1

UNKNOWN_CODE: Final = "FERR"

_FAMILIES: Final = ("Testperson", "Sampleton", "Mockwell", "Dummerly", "Fakenham", "Müstermann", "Placehold", "Exampel")
_GIVEN: Final = ("Anna", "Bruno", "Clara", "David", "Eva", "Felix", "Greta", "Hugo", "Ida", "Jonas")
_WARDS: Final = ("3W", "3E", "4W", "4E", "5S", "ICU", "ER", "OBS", "OPD")
_EVENTS: Final = ("A01", "A02", "A03", "A04", "A08", "A08", "A08", "A31")
_PROCEDURES: Final = (
    ("CTHEAD", "CT head"),
    ("CTCHEST", "CT chest"),
    ("MRKNEE", "MR knee"),
    ("USABDO", "Ultrasound abdomen"),
    ("XRCHEST", "X-ray chest"),
    ("MAMMO", "Mammography"),
)
_SCHEDULED: Final = (
    (("CTHEAD", "CT head"), "CT"),
    (("CTCHEST", "CT chest"), "CT"),
    (("MRKNEE", "MR knee"), "MR"),
    (("USABDO", "Ultrasound abdomen"), "US"),
    (("XRCHEST", "X-ray chest"), "XR"),
    (("MAMMO", "Mammography"), "MG"),
)
_FIRST_STEP: Final = 7 * 60 + 30
"""Minutes after midnight of the day's first step; the others follow every ten minutes."""
# code, name, unit, low, high
_ANALYTES: Final = (
    ("HB", "Haemoglobin", "g/dL", 12.0, 16.0),
    ("WBC", "Leukocytes", "10*9/L", 4.0, 10.0),
    ("PLT", "Platelets", "10*9/L", 150.0, 400.0),
    ("NA", "Sodium", "mmol/L", 135.0, 145.0),
    ("K", "Potassium", "mmol/L", 3.5, 5.1),
    ("CREA", "Creatinine", "mg/dL", 0.6, 1.1),
    ("GLU", "Glucose", "mg/dL", 70.0, 99.0),
    ("CRP", "C-reactive protein", "mg/L", 0.0, 5.0),
)


def traffic(run: str, at: str) -> Mapping[str, list[bytes]]:
    """The messages of each shipped channel, in order.

    `run` is a few letters that begin every control id, so that a second demo is not taken for resends of the
    first. `at` is the time in MSH-7.
    """
    chance = Random(2026)  # noqa: S311 - the same morning every time, no secret
    return {
        "adt": _admissions(run, at, chance),
        "orders": _orders(run, at, chance),
        "results": _results(run, at, chance),
        "scanners": _scheduled(run, at, chance),
    }


def _admissions(run: str, at: str, chance: Random) -> list[bytes]:
    messages = [
        adt(
            trigger=chance.choice(_EVENTS),
            control_id=f"{run}A{number:03}",
            at=at,
            charset="UNICODE UTF-8",
            national_id=f"NAT{mrn}",
            ward=chance.choice(_WARDS),
            **_person(mrn, chance),
        )
        for number, mrn in enumerate(_patients(ADMISSIONS, chance), 1)
    ]
    # A registration without a name: refused, and its sender is told which field.
    messages[70] = adt(control_id=f"{run}A071", at=at, mrn="900071", family="", given="")
    return messages


def _orders(run: str, at: str, chance: Random) -> list[bytes]:
    messages = [
        orm(
            control_id=f"{run}O{number:03}",
            at=at,
            placer=f"P7{number:05}",
            procedure=chance.choice(_PROCEDURES),
            priority=chance.choice("SARRRR"),
            ward=chance.choice(_WARDS),
            **_person(mrn, chance, in_ascii=True),
        )
        for number, mrn in enumerate(_patients(ORDERS - DUPLICATES, chance), 1)
    ]
    # The sender got no answer in time, or so it believes: the same bytes again.
    messages.insert(30, messages[29])
    return messages


def _results(run: str, at: str, chance: Random) -> list[bytes]:
    messages = [
        oru(
            control_id=f"{run}R{number:03}",
            at=at,
            placer=f"P7{number:05}",
            filler=f"F6{number:05}",
            observations=[_observation(chance) for _ in range(chance.randint(2, 6))],
            charset="UNICODE UTF-8",
            **_person(mrn, chance),
        )
        for number, mrn in enumerate(_patients(RESULTS, chance), 1)
    ]
    ferritin = Observation(UNKNOWN_CODE, "Ferritin", "88", units="ug/L", reference_range="15-150", flags="N")
    for place, number in ((11, 12), (23, 24)):
        messages[place] = oru(control_id=f"{run}R{number:03}", at=at, observations=[ferritin])
    no_status = Observation("K", "Potassium", "4.1", units="mmol/L", reference_range="3.5-5.1", flags="N", status="")
    messages[17] = oru(control_id=f"{run}R018", at=at, observations=[no_status])
    return messages


def _scheduled(run: str, at: str, chance: Random) -> list[bytes]:
    """Today's steps, with the same numbers every time, so that a second demo finds them there already."""
    messages = []
    for number, mrn in enumerate(_patients(SCHEDULED, chance), 1):
        procedure, modality = chance.choice(_SCHEDULED)
        hours, minutes = divmod(_FIRST_STEP + 10 * number, 60)
        messages.append(
            scheduled(
                control_id=f"{run}S{number:03}",
                at=at,
                number=f"7{number:05}",
                procedure=procedure,
                modality=modality,
                start=f"{at[:8]}{hours:02}{minutes:02}00{at[14:]}",
                priority=chance.choice("SARRRR"),
                ward=chance.choice(_WARDS),
                charset="UNICODE UTF-8",
                **_person(mrn, chance),
            )
        )
    return messages


def _patients(number: int, chance: Random) -> list[str]:
    return [str(chance.randint(900_001, 900_060)) for _ in range(number)]


class _Person(TypedDict):
    mrn: str
    family: str
    given: str
    sex: str


def _person(mrn: str, chance: Random, *, in_ascii: bool = False) -> _Person:
    """The same name for the same number, as a hospital would have it."""
    which = int(mrn)
    family = _FAMILIES[which % len(_FAMILIES)]
    return {
        "mrn": mrn,
        "family": family.replace("ü", "ue") if in_ascii else family,
        "given": _GIVEN[which % len(_GIVEN)],
        "sex": "FM"[which % 2] if chance.random() < 0.9 else "U",
    }


def _observation(chance: Random) -> Observation:
    code, name, unit, low, high = chance.choice(_ANALYTES)
    span = high - low
    value = round(chance.uniform(max(0.0, low - span / 4), high + span / 4), 1)
    flag = "HH" if value > high + span / 5 else "H" if value > high else "L" if value < low else "N"
    return Observation(code, name, f"{value:g}", units=unit, reference_range=f"{low:g}-{high:g}", flags=flag)
