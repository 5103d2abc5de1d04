"""HL7 dates and times as text of another form, never more precise than they came (hl7.md items 73 to 75)."""

import re
from datetime import date as calendar_date

from engine.config.expression.errors import ExpressionError

# Hours alone are allowed: grammars up to v2.5 pair HHMM, but systems send YYYYMMDDHH.
_DTM = re.compile(
    r"(?P<Y>[0-9]{4})(?:(?P<m>[0-9]{2})(?:(?P<d>[0-9]{2})(?:(?P<H>[0-9]{2})(?:(?P<M>[0-9]{2})"
    r"(?:(?P<S>[0-9]{2})(?:\.[0-9]{1,6})?)?)?)?)?)?(?:[+-](?P<zone_h>[0-9]{2})(?P<zone_m>[0-9]{2}))?"
)
_LONGEST_DTM = 26
_DIRECTIVE = re.compile(r"%(.?)", re.DOTALL)
_NEEDS = {"Y": "Y", "y": "Y", "m": "m", "d": "d", "j": "d", "H": "H", "M": "M", "S": "S", "%": "Y"}


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
    parts = _parse(text)
    if parts is None:
        return ""
    if template is None:
        return "-".join(parts[name] for name in "Ymd" if name in parts)
    if any(_NEEDS[name] not in parts for name in _DIRECTIVE.findall(template)):
        return ""
    return _DIRECTIVE.sub(lambda found: _directive(found.group(1), parts), template)


def _parse(text: str) -> dict[str, str] | None:
    if len(text) > _LONGEST_DTM:
        return None
    match = _DTM.fullmatch(text)
    if match is None:
        return None
    parts = {name: digits for name, digits in match.groupdict().items() if digits is not None}
    try:
        calendar_date(int(parts["Y"]), int(parts.get("m", "1")), int(parts.get("d", "1")))
    except ValueError:
        return None
    # 24:00 and a 60th second are no times of day (hl7.md item 74).
    bounds = (("H", 23), ("M", 59), ("S", 59), ("zone_h", 14), ("zone_m", 59))
    return parts if all(int(parts.get(name, "0")) <= most for name, most in bounds) else None


def _directive(name: str, parts: dict[str, str]) -> str:
    match name:
        case "%":
            return "%"
        case "y":
            return parts["Y"][2:]
        case "j":
            day = calendar_date(int(parts["Y"]), int(parts["m"]), int(parts["d"]))
            return f"{day.timetuple().tm_yday:03d}"
        case _:
            return parts[name]
