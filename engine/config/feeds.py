"""`feeds` of segmill.yaml: on which days less comes than is usual, so that nobody is called silent for it."""

import re
from datetime import date
from typing import Final, Literal

from pydantic import Field, field_validator

from engine.config.base import ConfigModel
from engine.config.finding import BadValue
from engine.config.types import MarkedText

_EXAMPLE: Final = "such as 2026-04-06, or 12-25 for each year"
_LEAP: Final = 2000
"""A year that has every day."""


class HolidayText(MarkedText):
    """One day: `2026-04-06`, or `12-25` of each year."""

    __slots__ = ()
    json_schema = {  # noqa: RUF012
        "type": "string",
        "pattern": r"^([0-9]{4}-)?[0-9]{2}-[0-9]{2}$",
        "description": "A day: `2026-04-06`, or `12-25` of each year",
    }

    def check(self) -> None:
        """A day that there is."""
        if not re.fullmatch(r"([0-9]{4}-)?[0-9]{2}-[0-9]{2}", self.strip(), re.ASCII):
            raise BadValue(f"'{self.shown}' is not a day", _EXAMPLE, code="E107")
        try:
            self.day  # noqa: B018 - asked whether there is one
        except ValueError:
            raise BadValue(f"there is no day {self.shown}", _EXAMPLE, code="E107") from None

    @property
    def is_yearly(self) -> bool:
        """Whether it is one of each year."""
        return len(self.strip()) == len("12-25")

    @property
    def day(self) -> date:
        """The day; of one of each year that of a leap year."""
        return date.fromisoformat(f"{_LEAP}-{self.strip()}" if self.is_yearly else self.strip())


class FeedsOptions(ConfigModel):
    """When feeds are expected to be quieter than the weekday says."""

    holidays: tuple[HolidayText, ...] = Field(
        default=(),
        max_length=1000,
        description="Public holidays, by the site's time zone: 2026-04-06, or 12-25 of each year",
    )
    on_holidays: Literal["sunday", "nothing"] = Field(
        default="sunday",
        description="What is expected on them: what is usual on Sundays, where that is less, or nothing at all",
    )

    @field_validator("holidays")
    @classmethod
    def _once(cls, value: tuple[HolidayText, ...]) -> tuple[HolidayText, ...]:
        seen: set[tuple[bool, date]] = set()
        for one in value:
            if one.is_broken:
                continue
            if (one.is_yearly, one.day) in seen:
                raise BadValue(f"has {one.shown} twice", "name each day once", code="E107")
            seen.add((one.is_yearly, one.day))
        return value
