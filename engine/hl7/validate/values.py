"""Tests of single values: data types, tables, lengths. A test takes a value, unescaped, and gives a breach or None.

Item numbers are of hl7.md: 49 and 76 (numbers), 73 to 75 (times).
"""

import re
from collections.abc import Callable, Container
from types import MappingProxyType
from typing import Final

from engine.hl7.dictionary import Dictionary, TableDef
from engine.hl7.validate.rules import Breach, Judge, Severity
from engine.hl7.values import parse_clock, parse_moment

Test = Callable[[str], Breach | None]

_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)")
_SEQUENCE: Final = re.compile(r"[0-9]{1,16}")
# Nearly all times that are right, at a glance; for what is left, `parse_moment` knows the calendar.
_DAY: Final = r"(?:1[6-9]|20)[0-9]{2}(?:(?:0[1-9]|1[0-2])(?:(?:0[1-9]|1[0-9]|2[0-8])"
_MOMENT: Final = re.compile(
    _DAY + r"(?:(?:[01][0-9]|2[0-3])[0-5][0-9](?:[0-5][0-9](?:\.[0-9]{1,4})?)?)?)?)?(?:[+-](?:0[0-9]|1[01])[0-5][0-9])?"
)
_DATE: Final = re.compile(_DAY + r")?)?")
_CLOCK: Final = re.compile(r"(?:[01][0-9]|2[0-3])(?:[0-5][0-9](?:[0-5][0-9](?:\.[0-9]{1,4})?)?)?")
_PADDED: Final = re.compile(r"[ 0]+|\s.*|.*\s", re.DOTALL)
_CODED: Final = frozenset({"CE", "CF", "CNE", "CWE"})
_EVENT_TABLES: Final = frozenset({"0003", "0076", "0354"})
_RANGE: Final = re.compile(r"([A-Z]?)(\d+) ?(?:\.\.\.|…|_) ?([A-Z]?)(\d+)")
_MOST_IN_RANGE: Final = 1000


def is_number(value: str) -> bool:
    """NM."""
    return _NUMBER.fullmatch(value) is not None


def is_sequence_number(value: str) -> bool:
    """SI."""
    return _SEQUENCE.fullmatch(value) is not None


def is_moment(value: str) -> bool:
    """TS and DTM."""
    return _MOMENT.fullmatch(value) is not None or (value == value.strip() and parse_moment(value) is not None)


def is_date(value: str) -> bool:
    """DT: no hour."""
    if _DATE.fullmatch(value) is not None:
        return True
    return len(value) <= 8 and value.isdigit() and value.isascii() and parse_moment(value) is not None


def is_clock(value: str) -> bool:
    """TM."""
    return value == value.strip() and parse_clock(value) is not None


_TYPES: Final = {
    "NM": is_number,
    "SI": is_sequence_number,
    "DT": is_date,
    "TM": is_clock,
    "TS": is_moment,
    "DTM": is_moment,
}


_GRAMMARS: Final = MappingProxyType(
    {"NM": _NUMBER, "SI": _SEQUENCE, "DT": _DATE, "TS": _MOMENT, "DTM": _MOMENT, "TM": _CLOCK}
)


def type_test(data_type: str, wrong: Breach | None, padded: Breach | None) -> Test | None:
    """Of one of the data types with a grammar; None for texts and codes.

    `padded` is said of zeros or blanks in the place of a time, and of blanks around a value (item 75).
    """
    is_right = _TYPES.get(data_type)
    if is_right is None or (wrong is None and padded is None):
        return None
    zero_is_right = data_type in ("NM", "SI")

    def test(value: str) -> Breach | None:
        if is_right(value):
            return None
        if _PADDED.fullmatch(value) is None:
            return wrong
        bare = value.strip()
        return padded if not bare or is_right(bare) or (not zero_is_right and not bare.strip("0")) else wrong

    return test


def table_test(judge: Judge, dictionary: Dictionary, table: str, data_type: str, place: str, name: str) -> Test | None:
    """Of a code; None where nothing is known of the table.

    ID and CNE take only the table's codes; of IS, CE and CWE the table is a suggestion. What was borrowed from
    another version is told as a warning. Codes that begin with Z are a site's own in the tables of messages and events.
    """
    found = dictionary.table(table) if table else None
    codes = codes_of(found) if found else None
    if found is None or codes is None:
        return None
    rule = f"table.{table}"
    if data_type in ("ID", "CNE"):
        weight: Severity | None = "warning" if found.version != dictionary.version or data_type == "CNE" else None
        breach = judge.breach("table", place, name, rule=rule, severity=weight)
    else:
        breach = judge.breach("table.suggested", place, name, rule=rule)
    if breach is None:
        return None
    if table in _EVENT_TABLES:
        return lambda value: None if value in codes or value[:1] == "Z" or "_Z" in value else breach
    return lambda value: None if value in codes else breach


def quick_test(data_type: str, codes: Container[str] | None, most: int | None) -> Callable[[str], object] | None:
    """Whether a text without delimiters is surely of that type, one of those codes, and no longer than that.

    An escape sequence is never shorter than what it means, so that a text may be measured as it stands.
    """
    tests: list[Callable[[str], object]] = []
    if (grammar := _GRAMMARS.get(data_type)) is not None:
        tests.append(grammar.fullmatch)
    if codes is not None:
        tests.append(codes.__contains__)
    if most is None:
        if len(tests) == 1:
            return tests[0]
        return (lambda text: all(test(text) for test in tests)) if tests else _always
    if not tests:
        return lambda text: len(text) <= most
    first = tests[0]
    if len(tests) == 1:
        return lambda text: len(text) <= most and first(text)
    return lambda text: len(text) <= most and all(test(text) for test in tests)


def _always(text: str) -> bool:
    return True


def is_coded(data_type: str) -> bool:
    """Whether it is a code with its coding system as third component."""
    return data_type in _CODED


def codes_of(table: TableDef) -> frozenset[str] | None:
    """All codes, with ranges such as `E1 ... E9` written out; None for a table that is open or empty."""
    codes = set(table.codes)
    for pattern in table.patterns:
        found = _RANGE.fullmatch(pattern)
        if found is None or found[1] != found[3] or not 0 <= int(found[4]) - int(found[2]) < _MOST_IN_RANGE:
            return None
        width = len(found[2])
        codes.update(f"{found[1]}{n:0{width}}" for n in range(int(found[2]), int(found[4]) + 1))
    return frozenset(codes) if codes else None
