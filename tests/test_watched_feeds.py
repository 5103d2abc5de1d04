"""Holidays as the site's file names them: days that there are, told with their place, taken up by a reload."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from engine.config.site import load_site
from engine.pipeline.registry import load_kinds
from engine.runtime.feeds import local_hour
from engine.runtime.holidays import NO_HOLIDAYS, Holidays
from engine.testing.sites import make_site
from engine.watched_feeds import holidays_of
from tests.runtime.engines import SiteUnderTest, channel

CHANNEL = """
listen: {mllp: {port: 0}}
accept: ["*"]
routes: [{to: out}]
destinations:
  out: {file: {folder: out, name: "{MSH-10}.hl7"}}
"""


def hour(year: int, month: int, day: int) -> int:
    return local_hour(int(datetime(year, month, day, 12, tzinfo=UTC).timestamp()), UTC)


def loaded(tmp_path: Path, settings: str):
    return load_site(make_site(tmp_path / "site", {"adt": CHANNEL}, settings), load_kinds(), {})


def test_days_of_one_year_and_of_each(tmp_path):
    site = loaded(tmp_path, "feeds: {holidays: [2026-04-06, 12-25, 02-29], on_holidays: nothing}\n")
    assert site.is_valid and site.site is not None
    found = holidays_of(site.site.feeds)
    assert found.has(hour(2026, 4, 6)) and not found.has(hour(2027, 4, 6))
    assert found.has(hour(2026, 12, 25)) and found.has(hour(2031, 12, 25))
    assert found.has(hour(2028, 2, 29)) and not found.has(hour(2027, 3, 1))
    assert found.is_nothing_expected


def test_without_them_there_are_none_and_sundays_are_what_is_expected(tmp_path):
    site = loaded(tmp_path, "environment: test\n")
    assert site.site is not None
    found = holidays_of(site.site.feeds)
    assert not found and not NO_HOLIDAYS and not found.is_nothing_expected


@pytest.mark.parametrize(
    ("line", "column", "sentence"),
    [
        ("  holidays: [12-25, 2026-02-29]", 21, "there is no day 2026-02-29"),
        ("  holidays: [12-25, 13-01]", 21, "there is no day 13-01"),
        ("  holidays: [25.12.2026]", 14, "'25.12.2026' is not a day"),
        ("  holidays: [2026-12]", 14, "'2026-12' is not a day"),
        ("  holidays: ['']", 14, "'' is not a day"),
        ("  holidays: [12-25, 01-01, 12-25]", 13, "has 12-25 twice"),
        ("  on_holidays: never", 16, "sunday"),
    ],
)
def test_what_is_no_day_is_said_with_its_place(tmp_path, line, column, sentence):
    site = loaded(tmp_path, f"environment: test\nfeeds:\n{line}\n")
    (found,) = [one for one in site.findings if one.is_error]
    assert (found.line, found.column) == (3, column)
    assert sentence in f"{found.message} {found.hint}"


async def test_holidays_are_taken_up_by_a_reload(tmp_path):
    site = SiteUnderTest(tmp_path / "site", {"adt": channel()})
    async with site.running():
        feeds = site.engine._watch_feeds()
        assert not feeds._holidays()
        settings = site.folder / "segmill.yaml"
        settings.write_text(settings.read_text() + "feeds: {holidays: [12-25]}\n")
        await site.engine.control.reload()
        assert feeds._holidays().has(hour(2026, 12, 25))


def test_a_sunday_is_that_of_the_days_before():
    monday = hour(2026, 3, 2)
    assert Holidays.sunday(monday) == monday - 24 == Holidays.sunday(monday - 24)
    assert Holidays.sunday(monday + 5 * 24) == monday - 24
