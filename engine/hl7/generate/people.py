"""Invented people: names that nobody has, numbers that no hospital gives, addresses that are nowhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from random import Random
from typing import Final

from engine.hl7.charset import encoded
from engine.hl7.generate.chance import chance_of

_FAMILIES: Final = (
    "Testperson", "Sampleton", "Mockwell", "Dummerly", "Fakenham", "Placehold", "Exampel", "Specimenson", "Notreal",
    "Inventson", "Trialby", "Synthwick", "Probeman", "Fictionby", "Nobodyson", "Standinger",
)  # fmt: skip
_FAMILIES_BEYOND_ASCII: Final = (
    "Müstermann", "Beispielström", "Exemplário", "Fiktivørsen", "Zkušební", "Przykładowski", "Példányi", "Örneksoy",
    "Тестова", "Δοκιμαστής", "テスト", "测试", "測試", "테스트", "ทดสอบ", "דוגמה", "تجربة",
)  # fmt: skip
"""In what script is known only with the character set: of these, those that it can write."""

_GIVEN: Final[dict[str, Sequence[str]]] = {
    "F": ("Anna", "Clara", "Eva", "Greta", "Ida", "Klara", "Mona", "Olga", "Rita", "Tilda"),
    "M": ("Bruno", "David", "Felix", "Hugo", "Jonas", "Leo", "Nils", "Paul", "Simon", "Timo"),
}
_STREETS: Final = ("Example Street", "Sample Road", "Test Lane", "Mock Avenue", "Placeholder Square")
_CITIES: Final = ("Testville", "Sampleburg", "Mocktown", "Exampleton")
_DOCTORS: Final = ("Testdoctor", "Mockphysician", "Samplesurgeon", "Dummyhouse", "Trialist")


@dataclass(slots=True, frozen=True)
class Patient:
    """Somebody who does not exist. `mrn` is the hospital's number, `birth_date` YYYYMMDD."""

    mrn: str
    national_id: str
    family: str
    given: str
    birth_date: str
    sex: str
    street: str
    city: str
    postcode: str
    phone: str
    contact: str
    """The given name of the next of kin, of the same family."""


@dataclass(slots=True, frozen=True)
class Doctor:
    """A doctor of the invented hospital."""

    id: str
    family: str
    given: str


def families_for(codec: str) -> tuple[str, ...]:
    """The family names that a character set can write."""
    return (*_FAMILIES, *(name for name in _FAMILIES_BEYOND_ASCII if can_be_written(name, codec)))


def can_be_written(text: str, codec: str) -> bool:
    """Whether a character set has all of a text."""
    try:
        encoded(text, codec)
    except UnicodeError:
        return False
    return True


def patient(seed: int, number: int, families: Sequence[str], born_before: date) -> Patient:
    """The patient of that number, from 1: the same for the same seed, whatever else is made."""
    chance = chance_of("patient", seed, number)
    sex = chance.choice("FM")
    # One in a hundred is of neither, or it is not known.
    shown = chance.choice("OU") if chance.random() < 0.01 else sex
    born = born_before - timedelta(days=int(365.25 * 95 * chance.random() ** 0.8) + 1)
    return Patient(
        mrn=f"9{seed % 1000:03}{number:05}",
        national_id=f"NAT9{seed % 1000:03}{number:05}",
        family=chance.choice(families),
        given=chance.choice(_GIVEN[sex]),
        birth_date=f"{born:%Y%m%d}",
        sex=shown,
        street=f"{chance.randint(1, 99)} {chance.choice(_STREETS)}",
        city=chance.choice(_CITIES),
        postcode=f"{chance.randint(0, 99):05}",  # 00000 to 00099 are given to no place
        phone=f"555-01{chance.randint(0, 99):02}",  # set aside for fiction
        contact=chance.choice(_GIVEN[chance.choice("FM")]),
    )


def doctor(chance: Random) -> Doctor:
    """One of a hundred."""
    number = chance.randint(1, 100)
    sex = "FM"[number % 2]
    return Doctor(f"DOC{number}", _DOCTORS[number % len(_DOCTORS)], _GIVEN[sex][number % 10])
