"""HL7 dates and times as text of another form, never more precise than they came (hl7.md items 73 to 75)."""

import re

from engine.config.expression.errors import ExpressionError
from engine.hl7.values import Moment, Precision, parse_moment

_ORDER: tuple[Precision, ...] = ("year", "month", "day", "hour", "minute", "second", "fraction")
_DIRECTIVE = re.compile(r"%(.?)", re.DOTALL)
_NEEDS: dict[str, Precision] = {
    "Y": "year",
    "y": "year",
    "m": "month",
    "d": "day",
    "j": "day",
    "H": "hour",
    "M": "minute",
    "S": "second",
    "%": "year",
}


def check_format(template: str, column: int) -> None:
    """Raises ExpressionError at the directive that `date` does not know; `column` is where the text starts."""
    for found in _DIRECTIVE.finditer(template):
        if found.group(1) not in _NEEDS:
            raise ExpressionError(
                f"date knows no {found.group()}",
                column + found.start(),
                "it knows %Y %y %m %d %j %H %M %S %%; names of months and days differ by language",
                len(found.group()),
            )


def format_date(text: str, template: str | None = None) -> str:
    """HL7 DT, DTM or TS as ISO date cut at its precision, or by `template`; '' when it is none.

    A template that asks for more than the value says gives '' too: 1980 is not 1980-01-01. The zone is not
    used: what is written is the sender's clock.
    """
    moment = parse_moment(text)
    if moment is None:
        return ""
    known = _ORDER.index(moment.precision)
    if template is None:
        return f"{moment.year:04}-{moment.month:02}-{moment.day:02}"[: (4, 7, 10)[min(known, 2)]]
    if any(_ORDER.index(_NEEDS[name]) > known for name in _DIRECTIVE.findall(template)):
        return ""
    return _DIRECTIVE.sub(lambda found: _directive(found.group(1), moment), template)


def _directive(name: str, moment: Moment) -> str:
    match name:
        case "Y":
            return f"{moment.year:04}"
        case "y":
            return f"{moment.year % 100:02}"
        case "m":
            return f"{moment.month:02}"
        case "d":
            return f"{moment.day:02}"
        case "j":
            day = moment.to_date()
            return "" if day is None else f"{day.timetuple().tm_yday:03}"
        case "H":
            return f"{moment.hour:02}"
        case "M":
            return f"{moment.minute:02}"
        case "S":
            return f"{moment.second:02}"
        case _:
            return "%"
