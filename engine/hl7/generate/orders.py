"""What is ordered for invented patients, and what comes of it."""

from dataclasses import dataclass, replace
from random import Random
from typing import Final, NamedTuple

_IMAGING: Final = (
    ("CTHEAD", "CT head", "CT"),
    ("CTCHEST", "CT chest", "CT"),
    ("MRKNEE", "MR knee", "MR"),
    ("MRHEAD", "MR head", "MR"),
    ("USABDO", "Ultrasound abdomen", "US"),
    ("XRCHEST", "X-ray chest", "DX"),
    ("XRHAND", "X-ray hand", "DX"),
    ("MAMMO", "Mammography", "MG"),
)


class Analyte(NamedTuple):
    """What a laboratory measures, with the range in which most people are."""

    code: str
    name: str
    unit: str
    low: float
    high: float


_PANELS: Final = (
    (
        "CBC",
        "Blood count",
        (
            Analyte("HB", "Haemoglobin", "g/dL", 12.0, 16.0),
            Analyte("WBC", "Leukocytes", "10*9/L", 4.0, 10.0),
            Analyte("PLT", "Platelets", "10*9/L", 150.0, 400.0),
        ),
    ),
    (
        "ELYTE",
        "Electrolytes",
        (Analyte("NA", "Sodium", "mmol/L", 135.0, 145.0), Analyte("K", "Potassium", "mmol/L", 3.5, 5.1)),
    ),
    (
        "RENAL",
        "Kidney function",
        (Analyte("CREA", "Creatinine", "mg/dL", 0.6, 1.1), Analyte("K", "Potassium", "mmol/L", 3.5, 5.1)),
    ),
    ("GLUC", "Glucose", (Analyte("GLU", "Glucose", "mg/dL", 70.0, 99.0),)),
    ("CRP", "Inflammation", (Analyte("CRP", "C-reactive protein", "mg/L", 0.0, 5.0),)),
)
_DRUGS: Final = (
    ("SYNPARA", "Synthetic paracetamol 500 mg tablet", "500", "mg"),
    ("SYNIBU", "Synthetic ibuprofen 400 mg tablet", "400", "mg"),
    ("SYNPRED", "Synthetic prednisolone 5 mg tablet", "5", "mg"),
)


class Observation(NamedTuple):
    """One OBX. `flag` is of table 0078."""

    code: str
    name: str
    value_type: str
    value: str
    unit: str = ""
    range: str = ""
    flag: str = ""


@dataclass(slots=True, frozen=True)
class Order:
    """An order, as it stands. `number` tells it from all others; `control` is of table 0119, `status` of 0123."""

    number: str
    code: str
    name: str
    priority: str
    modality: str = ""
    dose: str = ""
    unit: str = ""
    observations: tuple[Observation, ...] = ()
    control: str = "NW"
    status: str = ""

    def corrected(self) -> "Order":
        """With another value for the first thing that was found."""
        if not self.observations:
            return self
        first = self.observations[0]
        value = f"{float(first.value) + 0.1:.1f}" if first.value_type == "NM" else f"{first.value} (corrected)"
        return replace(self, observations=(first._replace(value=value), *self.observations[1:]))


def _priority(chance: Random) -> str:
    return chance.choice("RRRRRAS")


def imaging(chance: Random, number: str) -> Order:
    """An examination, and its report."""
    code, name, modality = chance.choice(_IMAGING)
    text = chance.choice(("No finding: synthetic report.", "Synthetic report: made up, nothing was examined."))
    report = Observation("REPORT", "Report", "TX", text)
    return Order(number, code, name, _priority(chance), modality=modality, observations=(report,))


def laboratory(chance: Random, number: str) -> Order:
    """A panel, and its values."""
    code, name, analytes = chance.choice(_PANELS)
    measured = tuple(_measured(analyte, chance) for analyte in analytes)
    return Order(number, code, name, _priority(chance), observations=measured)


def medication(chance: Random, number: str) -> Order:
    """A drug that there is not."""
    code, name, dose, unit = chance.choice(_DRUGS)
    return Order(number, code, name, "R", dose=dose, unit=unit)


def _measured(analyte: Analyte, chance: Random) -> Observation:
    """Nine of ten within the range, one far out now and then."""
    span = analyte.high - analyte.low
    value = chance.uniform(analyte.low, analyte.high)
    if chance.random() < 0.1:
        value = max(0.0, value + chance.choice((-1, 1)) * span * chance.uniform(0.4, 1.3))
    shown = f"{value:.1f}"
    high, low = float(shown) > analyte.high, float(shown) < analyte.low
    far = span / 3
    flag = ("HH" if value > analyte.high + far else "H") if high else ("LL" if value < analyte.low - far else "L")
    return Observation(
        analyte.code,
        analyte.name,
        "NM",
        shown,
        analyte.unit,
        f"{analyte.low:g}-{analyte.high:g}",
        flag if high or low else "N",
    )
