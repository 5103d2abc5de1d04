"""The meanings of codes: of tables and codes that the standard has, and of no others."""

import pytest

from engine.hl7.dictionary import VERSIONS, load
from engine.hl7.dictionary.meanings import MEANINGS, meaning


@pytest.mark.parametrize("number", MEANINGS)
def test_every_code_is_one_of_its_table(number: str) -> None:
    tables = [table for version in VERSIONS if (table := load(version).table(number)) is not None]
    known = {code for table in tables for code in table.codes}
    assert known.issuperset(MEANINGS[number])
    assert all(text and not text.endswith(".") for text in MEANINGS[number].values())


def test_what_is_not_known_has_no_meaning() -> None:
    assert meaning("0001", "F") == "Female"
    assert (meaning("0001", "X"), meaning("9999", "F"), meaning("", "")) == ("", "", "")
