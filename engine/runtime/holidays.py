"""Days on which feeds are quieter than their weekday says (`feeds.holidays`)."""

from collections.abc import Iterable
from datetime import date
from typing import Final

EPOCH: Final = date(1970, 1, 1).toordinal()
SUNDAY: Final = 6
DAY_H: Final = 24


class Holidays:
    """`days`: single ones; `yearly`: (month, day) of each year. `is_nothing_expected`: else what is usual on Sundays.

    Asked with local hours since 1970, as feeds count them.
    """

    def __init__(
        self, days: Iterable[date] = (), yearly: Iterable[tuple[int, int]] = (), *, is_nothing_expected: bool = False
    ) -> None:
        self._days = frozenset(days)
        self._yearly = frozenset(yearly)
        self.is_nothing_expected = is_nothing_expected
        self._known: dict[int, bool] = {}
        """By day since 1970: a few weeks are asked for again and again."""

    def __bool__(self) -> bool:
        return bool(self._days or self._yearly)

    def has(self, hour: int) -> bool:
        """Whether the hour is of one of them."""
        at = hour // DAY_H
        found = self._known.get(at)
        if found is None:
            day = date.fromordinal(EPOCH + at)
            found = self._known[at] = day in self._days or (day.month, day.day) in self._yearly
        return found

    @staticmethod
    def sunday(hour: int) -> int:
        """The same hour of the Sunday before; of a Sunday its own."""
        day = date.fromordinal(EPOCH + hour // DAY_H)
        return hour - (day.weekday() - SUNDAY) % 7 * DAY_H


NO_HOLIDAYS: Final = Holidays()
