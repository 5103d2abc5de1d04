"""A value for a place of a message: as a profile asks, else as the standard's data type and table have it."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from engine.hl7.dictionary import ComponentDef, Dictionary
from engine.hl7.generate.pattern import sample_of
from engine.hl7.profile import Constant, Element, Length, Pattern, ValueSet

_TIMES: Final = ("DT", "TM", "DTM", "TS")
_COUNTED: Final = ("NM", "SI", *_TIMES)
"""Types that have no codes, whatever table their field names for a part of it."""
_DEEPEST: Final = 3
"""A field, its components, their subcomponents."""


@dataclass(slots=True, frozen=True)
class Asked:
    """What a value must be. `data_type` '' where nobody knows; `at` is the message's time, YYYYMMDDHHMMSS."""

    data_type: str
    table: str = ""
    longest: int | None = None
    element: Element | None = None
    at: str = ""

    @property
    def constant(self) -> Constant | None:
        return self.element.constant if self.element is not None else None

    @property
    def values(self) -> ValueSet | None:
        return self.element.values if self.element is not None else None

    @property
    def pattern(self) -> Pattern | None:
        return self.element.pattern if self.element is not None else None

    @property
    def length(self) -> Length | None:
        return self.element.length if self.element is not None else None

    @property
    def is_own(self) -> bool:
        """Whether a profile says what stands there, beyond its type."""
        return bool(self.constant or self.values or self.pattern)


def leaf(asked: Asked, dictionary: Dictionary, chance: Random, before: str = "") -> str:
    """A text without components, that keeps of `before` what it may. '' where none was found."""
    if asked.constant is not None:
        return asked.constant.value
    found = _among(asked, dictionary, chance, before)
    if not found:
        found = before if before and _has_form(before, asked.data_type) else _of_type(asked, chance)
        if asked.pattern is not None and not asked.pattern.matches(found):
            found = sample_of(asked.pattern.text, asked.pattern.matches, chance) or ""
    return _fitted(found, asked)


def _among(asked: Asked, dictionary: Dictionary, chance: Random, before: str) -> str:
    """One of the values that there may be; '' where any may."""
    values: Sequence[str] = ()
    if asked.values is not None and asked.values.values:
        values = sorted(asked.values.values)
    else:
        number = (asked.values.table if asked.values is not None else "") or asked.table
        table = dictionary.table(number) if number and asked.data_type not in _COUNTED else None
        # A table that says what it means with a pattern, or leaves its codes to the site, asks for nothing here.
        if table is not None and not table.patterns:
            values = [code for code in table.codes if code != "..."]
    if asked.pattern is not None:
        values = [value for value in values if asked.pattern.matches(value)]
    if (most := _longest(asked)) is not None:
        values = [value for value in values if len(value) <= most] or values
    if not values or before in values:
        return before if values else ""
    return chance.choice(values)


def _longest(asked: Asked) -> int | None:
    said = asked.length.most if asked.length is not None else None
    return said if said is not None else asked.longest


def _fitted(text: str, asked: Asked) -> str:
    """Cut to the most characters, and made up to the least."""
    if asked.pattern is not None or (asked.values is not None and asked.values.values):
        return text
    if (most := _longest(asked)) is not None and len(text) > most:
        # Of a number that counts, what tells it from others stands at its end.
        text = text[-most:] if text[-1:].isdigit() and asked.data_type not in _TIMES else text[:most]
    if asked.length is not None and len(text) < asked.length.least:
        text += ("0" if text.isdigit() else "X") * (asked.length.least - len(text))
    return text


def _has_form(text: str, data_type: str) -> bool:
    match data_type:
        case "NM":
            return text.lstrip("+-").replace(".", "", 1).isdigit()
        case "SI":
            return text.isdigit()
        case "DT" | "DTM" | "TS":
            return text[:4].isdigit() and len(text) >= 4
        case "TM":
            return text[:2].isdigit()
        case _:
            return True


def _of_type(asked: Asked, chance: Random) -> str:
    match asked.data_type:
        case "NM":
            return f"{chance.randint(1, 99)}"
        case "SI":
            return "1"
        case "DT":
            return asked.at[:8]
        case "TM":
            return asked.at[8:14]
        case "DTM" | "TS":
            return asked.at
        case "ID" | "IS":
            return f"SYN{chance.randint(1, 9)}"
        case "HD":
            return "NORTH"
        case "EI" | "CX":
            return f"SYN{chance.randint(10_000, 99_999)}"
        case _:
            return f"Synthetic {chance.randint(1, 99)}"


def whole(asked: Asked, dictionary: Dictionary, chance: Random, depth: int = 1) -> list[tuple[tuple[int, ...], str]]:
    """The leaves of a value that was empty: of a data type with components those that are required, else the first.

    Each with its place below: `(4, 1)` is component 4, subcomponent 1, and `()` the place itself.
    """
    definition = dictionary.data_type(asked.data_type)
    if definition is None or definition.is_primitive or depth >= _DEEPEST:
        return [((), leaf(asked, dictionary, chance))]
    if asked.is_own:
        return [((1,), leaf(asked, dictionary, chance))]
    wanted = [one for one in definition.components if one.usage == "R"]
    found: list[tuple[tuple[int, ...], str]] = []
    for component in wanted or definition.components[:1]:
        found += [
            ((component.number, *below), text)
            for below, text in whole(_of(component, asked), dictionary, chance, depth + 1)
        ]
    return found


def _of(component: ComponentDef, asked: Asked) -> Asked:
    # A coded type's table is that of its field.
    table = component.table or (asked.table if component.number == 1 else "")
    return Asked(component.data_type, table, component.length, None, asked.at)
