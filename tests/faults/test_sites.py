"""The helper for defects that show now and then asks again so often and no oftener, and hides no other failure."""

import pytest

from tests.faults.sites import until_caught, until_it_fails


async def test_it_ends_with_the_first_site_that_caught_something() -> None:
    async def look(site: int) -> list[int]:
        return [site] * site

    assert await until_caught(look, bool) == [[], [1]]


async def test_a_defect_that_no_site_shows_fails_and_says_what_was_seen() -> None:
    async def look(site: int) -> str:
        return f"nothing on {site}"

    with pytest.raises(AssertionError, match=r"none of 3 sites.*nothing on 0; nothing on 1; nothing on 2"):
        await until_caught(look, lambda seen: "something" in seen)


async def test_a_failure_in_other_words_is_none_of_the_defects() -> None:
    async def look(site: int) -> None:
        raise AssertionError("2 lost" if site else "the port was taken")

    with pytest.raises(AssertionError, match=r"it failed otherwise.*the port was taken"):
        await until_it_fails(look, "[0-9] lost")


async def test_a_rig_that_never_fails_has_caught_nothing() -> None:
    asked: list[int] = []

    async def look(site: int) -> None:
        asked.append(site)

    with pytest.raises(AssertionError, match="none of 3 sites failed"):
        await until_it_fails(look, "lost")
    assert asked == [0, 1, 2]

    async def fails(site: int) -> None:
        assert site == 0, "3 lost"

    await until_it_fails(fails, "lost")
