"""Texts with a meaning in a profile file: places, usages, bounds, patterns."""

import re
from dataclasses import dataclass
from typing import Annotated, Final

from pydantic import PlainValidator, WithJsonSchema

from engine.config.expression import ExpressionError
from engine.config.expression.patterns import compile_pattern
from engine.config.finding import BadValue
from engine.config.types import MarkedText
from engine.hl7.profile import ASPECTS, UsageCode

MOST_BOUND: Final = 999_999

_PLACE = re.compile(
    r"(?:(?P<group>[A-Z][A-Z0-9_]{2,40})\.)?(?P<segment>[A-Z][A-Z0-9]{2})-(?P<field>[1-9][0-9]{0,2})"
    r"(?:\.(?P<component>[1-9][0-9]{0,2})(?:\.(?P<subcomponent>[1-9][0-9]{0,2}))?)?"
)
_PART = re.compile(r"(?:(?P<group>[A-Z][A-Z0-9_]{2,40})\.)?(?P<name>[A-Z][A-Z0-9_]{2,40})")
_NUMBERS = re.compile(
    r"(?P<field>[1-9][0-9]{0,2})(?:\.(?P<component>[1-9][0-9]{0,2})(?:\.(?P<subcomponent>[1-9][0-9]{0,2}))?)?"
)
_EVENT = re.compile(r"[A-Z][A-Z0-9]{2}\^(\*|[A-Z0-9]{1,3})")
_STANDARD_RULE = re.compile(r"[a-z][a-z0-9_]*(\.[A-Za-z0-9_]+)*( [A-Z][A-Z0-9]{2}(-[0-9]+(\.[0-9]+){0,2})?)?")
_WHOLE_PLACE = re.compile(r"[A-Z][A-Z0-9]{2}(-[0-9]+(\.[0-9]+){0,2})?")
_OWN_RULE = re.compile(
    rf"(?:rule\.[a-z0-9-]+|(?:[A-Z][A-Z0-9_]{{2,40}}\.)?[A-Z][A-Z0-9_]{{2,40}}(?:-[0-9]+(?:\.[0-9]+){{0,2}})?"
    rf"\.(?:{'|'.join(ASPECTS)}))"
)


class PatternText(MarkedText):
    """A pattern in RE2's syntax for a whole value."""

    __slots__ = ()
    json_schema = {"type": "string", "description": "A pattern (RE2) for the whole value, such as [0-9]{6}"}  # noqa: RUF012

    def check(self) -> None:
        """RE2 takes it: so it cannot take long, whatever it is matched with."""
        super().check()
        try:
            compile_pattern(str(self), 0)
        except ExpressionError as error:
            raise BadValue(error.message, error.hint, offset=error.column, length=error.length) from error


class PlaceText(MarkedText):
    """A field, component or subcomponent without selectors, perhaps of one group: `PID-3.4`, `OBSERVATION.NTE-3`."""

    __slots__ = ()
    json_schema = {  # noqa: RUF012
        "type": "string",
        "pattern": r"^([A-Z][A-Z0-9_]{2,40}\.)?[A-Z][A-Z0-9]{2}-[1-9][0-9]*(\.[1-9][0-9]*){0,2}$",
        "description": "A place without selectors, such as PID-3.4 or OBSERVATION.NTE-3",
    }

    def check(self) -> None:
        """A profile's rule is for every occurrence, so nothing is selected."""
        if _PLACE.fullmatch(self):
            return
        tried = self.upper()
        if "[" in self:
            whole = re.sub(r"\[[^]]*\]", "", tried)
            hint = f"a rule is for every occurrence; did you mean {whole}?"
        elif _PLACE.fullmatch(tried):
            hint = f"did you mean {tried}?"
        elif re.fullmatch(r"[A-Z][A-Z0-9]{2}", tried):
            hint = f"a whole segment stands under segments; a field is {tried}-1"
        elif re.fullmatch(r"[A-Z][A-Z0-9]{2}\.[0-9]+(\.[0-9]+)*", tried):
            hint = f"did you mean {tried.replace('.', '-', 1)}?"
        else:
            hint = "such as PID-3, PID-3.4 or OBSERVATION.NTE-3"
        raise BadValue(f"'{self.shown}' is not a place that a rule can be about", hint, code="E131")

    @property
    def parts(self) -> tuple[str, str, int, int, int]:
        """Group or '', segment, field, component or 0, subcomponent or 0."""
        found = _PLACE.fullmatch(self)
        assert found is not None, "it was checked"
        return (
            found["group"] or "",
            found["segment"],
            int(found["field"]),
            int(found["component"] or 0),
            int(found["subcomponent"] or 0),
        )


class PartText(MarkedText):
    """A segment or group, perhaps inside of another group: `PV1`, `PATIENT_RESULT`, `OBSERVATION.NTE`."""

    __slots__ = ()
    json_schema = {  # noqa: RUF012
        "type": "string",
        "pattern": r"^([A-Z][A-Z0-9_]{2,40}\.)?[A-Z][A-Z0-9_]{2,40}$",
        "description": "A segment or group, such as PV1, OBSERVATION or OBSERVATION.NTE",
    }

    def check(self) -> None:
        """Capital letters, digits and `_`."""
        if not _PART.fullmatch(self):
            hint = (
                f"did you mean {self.upper()}?" if _PART.fullmatch(self.upper()) else "such as PV1 or OBSERVATION.NTE"
            )
            raise BadValue(f"'{self.shown}' is not the name of a segment or group", hint, code="E131")

    @property
    def parts(self) -> tuple[str, str]:
        """Group or '', name."""
        found = _PART.fullmatch(self)
        assert found is not None, "it was checked"
        return found["group"] or "", found["name"]


class NumbersText(MarkedText):
    """A field or component of the segment that it stands under: `1`, `2.1`."""

    __slots__ = ()
    json_schema = {  # noqa: RUF012
        "type": "string",
        "pattern": r"^[1-9][0-9]*(\.[1-9][0-9]*){0,2}$",
        "description": "A field of this segment, such as 3, or a component, such as 3.1",
    }

    def check(self) -> None:
        """Counted from 1."""
        if not _NUMBERS.fullmatch(self):
            raise BadValue(f"'{self.shown}' is not the number of a field", "such as 3, or 3.1", code="E131")

    @property
    def parts(self) -> tuple[int, int, int]:
        found = _NUMBERS.fullmatch(self)
        assert found is not None, "it was checked"
        return int(found["field"]), int(found["component"] or 0), int(found["subcomponent"] or 0)


class EventText(MarkedText):
    """A message type and event: `ADT^A01`, or `ADT^*`."""

    __slots__ = ()
    json_schema = {  # noqa: RUF012
        "type": "string",
        "pattern": r"^[A-Z][A-Z0-9]{2}\^(\*|[A-Z0-9]{1,3})$",
        "description": "ADT^A01 or ADT^*",
    }

    def check(self) -> None:
        """Code and event, the event perhaps `*`."""
        if not _EVENT.fullmatch(self):
            tried = re.sub(r"[_ ]+", "^", self.strip().upper())
            tried = tried if "^" in tried else f"{tried}^*"
            hint = f"did you mean {tried}?" if _EVENT.fullmatch(tried) else "such as ADT^A01 or ADT^*"
            raise BadValue(f"'{self.shown}' is not a type and event", hint, code="E123")

    @property
    def parts(self) -> tuple[str, str]:
        """Message code, and trigger event or ''."""
        code, _, event = self.partition("^")
        return code, "" if event == "*" else event


class RuleName(MarkedText):
    """The id of a rule: the standard's (`length`, `table.0001`, `length PID-5`, `PID-8`) or one of the profile's."""

    __slots__ = ()
    json_schema = {  # noqa: RUF012
        "type": "string",
        "description": "A rule: length, table.0001, length PID-5, PID-8 (all), or the profile's own: PID-3.usage",
    }

    def check(self) -> None:
        """Its form; whether there is such a rule is known only when the whole profile is."""
        if not (self.is_own or _STANDARD_RULE.fullmatch(self) or _WHOLE_PLACE.fullmatch(self)):
            hint = "such as length, table.0001, length PID-5, PID-8 or PID-3.usage"
            raise BadValue(f"'{self.shown}' is not the name of a rule", hint, code="E170")

    @property
    def is_own(self) -> bool:
        """Whether it has the form of a rule of a profile."""
        return _OWN_RULE.fullmatch(self) is not None


@dataclass(slots=True, frozen=True)
class UsageWords:
    """What a usage says: always `code`; or, with a condition, `code` where it is true and else `otherwise`."""

    code: UsageCode
    otherwise: UsageCode | None = None

    def __str__(self) -> str:
        return self.code if self.otherwise is None else f"C({self.code}/{self.otherwise})"


_USAGES: Final[dict[str, UsageWords]] = {
    "R": UsageWords("R"),
    "RE": UsageWords("RE"),
    "O": UsageWords("O"),
    "X": UsageWords("X"),
    "C": UsageWords("R", "X"),
    "CE": UsageWords("RE", "X"),
    "B": UsageWords("O"),
    "W": UsageWords("X"),
}


def read_usage(value: object) -> UsageWords:
    """`R`, `RE`, `O`, `X`, `C(R/RE)`; `C` is C(R/X) and `CE` C(RE/X), as v2.5.1 section 2.12.6.2. Raises BadValue."""
    if isinstance(value, UsageWords):
        return value
    text = value if isinstance(value, str) else ""
    if text in _USAGES:
        return _USAGES[text]
    found = re.fullmatch(r"C ?\( ?(R|RE|O|X) ?/ ?(R|RE|O|X) ?\)", text)
    if found is not None:
        codes: dict[str, UsageCode] = {"R": "R", "RE": "RE", "O": "O", "X": "X"}
        return UsageWords(codes[found[1]], codes[found[2]])
    tried = re.sub(r"\s", "", text).upper()
    hint = f"did you mean {tried}?" if tried in _USAGES else "one of: R, RE, O, X, C, CE, C(R/RE)"
    raise BadValue("is not a usage", hint, code="E105")


UsageText = Annotated[
    UsageWords,
    PlainValidator(read_usage),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": r"^(R|RE|O|X|C|CE|B|W|C ?\( ?(R|RE|O|X) ?/ ?(R|RE|O|X) ?\))$",
            "description": "R, RE, O, X, or with a condition C(R/X); C is C(R/X), CE is C(RE/X)",
        }
    ),
]


@dataclass(slots=True, frozen=True)
class Bounds:
    """From `least` to `most`, both included; `most` None is without end."""

    least: int
    most: int | None

    def __str__(self) -> str:
        return f"{self.least}..{'*' if self.most is None else self.most}"


def _bounds(value: object, what: str, least_most: int, single: str) -> Bounds:
    if isinstance(value, Bounds):
        return value
    text = value.strip() if isinstance(value, str) else ""
    found = re.fullmatch(r"\[?(?:([0-9]{1,6})\.\.)?([0-9]{1,6}|\*)\]?", text, re.ASCII)
    if found is None or (found[1] is None and found[2] == "*"):
        raise BadValue(f"is not a {what}", f"write both bounds, such as 0..3 or 1..*, or {single}", code="E106")
    most = None if found[2] == "*" else int(found[2])
    least = int(found[1]) if found[1] is not None else (most or 0) if what == "cardinality" else 0
    if most is not None and most < max(least_most, least):
        raise BadValue(f"is a {what} that nothing can have", "write the smaller bound first: 1..3", code="E106")
    return Bounds(least, most)


CardinalityText = Annotated[
    Bounds,
    PlainValidator(lambda value: _bounds(value, "cardinality", 0, "one number for exactly that many")),
    WithJsonSchema(
        {
            "type": ["string", "integer"],
            "pattern": r"^\[?([0-9]+\.\.)?([0-9]+|\*)\]?$",
            "description": "How many: 0..1, 1..*, 2",
        }
    ),
]
LengthText = Annotated[
    Bounds,
    PlainValidator(lambda value: _bounds(value, "length", 1, "the most characters, such as 20")),
    WithJsonSchema(
        {
            "type": ["string", "integer"],
            "pattern": r"^\[?([0-9]+\.\.)?([0-9]+|\*)\]?$",
            "description": "How many characters: 20 at most, or 1..20",
        }
    ),
]
