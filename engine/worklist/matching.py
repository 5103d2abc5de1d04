r"""C-FIND on a worklist: which items a query's keys leave, and which key removed the others (dicom.md section 2).

PS3.4 sections C.2.2.2 (attribute matching) and K.2.2.1 (worklist). What an analyst must know of the choices here:

- a person's name matches without regard to case, by choice also without regard to accents (`folds_accents`), and a key
  of one component group matches any group of the item's name;
  a key without `^` is a family name (`Muster` finds `Muster^Anna`);
- several values in a key, which only UIDs may have, match any of them (`CT\MR`), as consoles do send that;
- a date and a time range together are one period; a date range with a single time is not;
- a key that is not matched here is returned and does not restrict, with the status 0xFF01 instead of 0xFF00.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from engine.worklist.attributes import ITEM, SPS, STEP, Attribute
from engine.worklist.item import Attributes, Item, items, texts

WITH_WILDCARDS: Final = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
_DATE: Final = re.compile(r"([0-9]{4})\.?([0-9]{2})\.?([0-9]{2})")
_TIME: Final = re.compile(r"([0-9]{2})(?::?([0-9]{2})(?::?([0-9]{2})(?:\.([0-9]{1,6}))?)?)?")
_RANGE: Final = re.compile(r"([^-]*)-([^-]*)")
STATUS: Final = "ScheduledProcedureStepStatus"
_NAME: Final = "PatientName"
_START_DATE, _START_TIME = "ScheduledProcedureStepStartDate", "ScheduledProcedureStepStartTime"

Test = Callable[[Item], bool]
Fold = Callable[[str], str]
"""How a name is written to be compared."""
_STROKES: Final[Mapping[str, str]] = {
    "æ": "ae",
    "œ": "oe",
    "ø": "o",
    "đ": "d",
    "ð": "d",
    "ħ": "h",
    "ı": "i",
    "ł": "l",
    "ŧ": "t",
    "þ": "th",
}
"""What casefold leaves of Latin letters that are no letter with a mark; `ß` is `ss` by then."""


class BadKey(ValueError):
    """A key that is no value of its VR: answered 0xA900, never taken for one that everybody matches."""

    def __init__(self, keyword: str, why: str) -> None:
        super().__init__(f"{keyword}: {why}")
        self.keyword = keyword


@dataclass(slots=True, frozen=True)
class Condition:
    """One key that restricts: `name` as it is shown to people, and its test."""

    name: str
    test: Test


@dataclass(slots=True, frozen=True)
class Query:
    """A compiled query. `requested`: its identifier; `unmatched`: keys with a value that restrict nothing here.

    `names_status`: whether it asks for a status, and so sees what is else hidden. `folds_accents`: whether names match
    without regard to accents.
    """

    requested: Attributes
    conditions: tuple[Condition, ...]
    unmatched: tuple[str, ...]
    names_status: bool
    folds_accents: bool = False

    @property
    def has_unmatched(self) -> bool:
        """0xFF01 on every pending answer (PS3.4 section C.4.1.1.4)."""
        return bool(self.unmatched)


@dataclass(slots=True, frozen=True)
class Found:
    """What a query came to: its items in order, and how many there would be without each of its keys."""

    items: tuple[Item, ...]
    without: Mapping[str, int]


def compile_query(identifier: Attributes, *, folds_accents: bool = False) -> Query:
    """The query of a decoded identifier: keywords of `engine.worklist.attributes`, others as `(gggg,eeee)`.

    A key that is absent, or has no value, or is `*`, matches everything (universal). Raises BadKey.
    """
    conditions: list[Condition] = []
    unmatched: list[str] = []
    step: Attributes = {}
    fold = unaccented if folds_accents else _folded
    for keyword, values in identifier.items():
        if keyword == SPS:
            inner = items(identifier, keyword)
            step = inner[0] if inner else {}
            continue
        if keyword == "SpecificCharacterSet":
            continue
        _add(ITEM.get(keyword), keyword, values, _own, conditions, unmatched, fold)
    dates, times = step.get(_START_DATE, ()), step.get(_START_TIME, ())
    for keyword, values in step.items():
        if keyword in (_START_DATE, _START_TIME, STATUS, "SpecificCharacterSet"):
            continue
        _add(STEP.get(keyword), keyword, values, _of_step, conditions, unmatched, fold)
    conditions += _starting(_texts(dates), _texts(times))
    statuses = [value for value in _texts(step.get(STATUS, ())) if not _is_universal(value)]
    if statuses:
        tests = [_glob(value) for value in statuses]
        conditions.append(Condition(STATUS, lambda item: any(test(item.status) for test in tests)))
    return Query(identifier, tuple(conditions), tuple(unmatched), bool(statuses), folds_accents)


def find(query: Query, candidates: Iterable[Item], *, hidden: Callable[[Item], bool] | None = None) -> Found:
    """The items that match, by start, then accession number, and what each key of the query took away.

    `hidden`: items that this caller never sees, whatever it asks for.
    """
    found: list[Item] = []
    alone: Counter[str] = Counter()
    for item in candidates:
        if hidden is not None and hidden(item):
            continue
        if item.is_held or not (query.names_status or item.is_shown):
            continue
        failed = [condition.name for condition in query.conditions if not condition.test(item)]
        if not failed:
            found.append(item)
        elif len(failed) == 1:
            alone[failed[0]] += 1
    found.sort(key=lambda item: (item.starts_at, item.keys.accession.id, item.key))
    return Found(tuple(found), {condition.name: len(found) + alone[condition.name] for condition in query.conditions})


def answer(query: Query, item: Item) -> Attributes:
    """What is returned of an item: the keys that were asked for, empty where nothing is known (PS3.4 K.2.2.1.2).

    The Study Instance UID always comes along: consoles drop items without one, or make one up.
    """
    wanted: dict[str, object] = dict(query.requested)
    wanted.setdefault("StudyInstanceUID", ())
    full: dict[str, tuple[str, ...] | tuple[Attributes, ...]] = {**item.attributes}
    full[SPS] = ({**item.step, STATUS: (item.status,)},)
    return {
        keyword: _returned(keyword, asked, full)
        for keyword, asked in wanted.items()
        if keyword != "SpecificCharacterSet"
    }


def _returned(keyword: str, asked: object, full: Attributes) -> tuple[str, ...] | tuple[Attributes, ...]:
    own = full.get(keyword, ())
    inner = [part for part in asked if isinstance(part, Mapping)] if isinstance(asked, tuple) else []
    if not inner or not inner[0]:
        return own
    return tuple(
        {name: _returned(name, value, part) for name, value in inner[0].items() if name != "SpecificCharacterSet"}
        for part in own
        if isinstance(part, Mapping)
    )


def _add(
    attribute: Attribute | None,
    keyword: str,
    values: object,
    read: Callable[[Item, str], tuple[str, ...]],
    conditions: list[Condition],
    unmatched: list[str],
    fold: Fold,
) -> None:
    if isinstance(values, tuple) and any(isinstance(value, Mapping) for value in values):
        if any(_has_value(value) for value in values if isinstance(value, Mapping)):
            unmatched.append(keyword)
        return
    given = [value for value in _texts(values) if not _is_universal(value)]
    if not given:
        return
    if attribute is None or not attribute.matched:
        unmatched.append(keyword)
        return
    tests = [_test(attribute, value, fold) for value in given]

    def test(item: Item) -> bool:
        own = read(item, keyword)
        return any(one(value) for value in own for one in tests)

    conditions.append(Condition(keyword, test))


def _test(attribute: Attribute, value: str, fold: Fold) -> Callable[[str], bool]:
    match attribute.vr:
        case "DA":
            low, high = _bounds(attribute.keyword, value, _date)
            return lambda own: _within(low, own.replace(".", ""), high)
        case "TM":
            low, high = _bounds(attribute.keyword, value, _time)
            return lambda own: _within(low, _time(own) or "", high)
        case "UI":
            return lambda own: own == value
        case "PN":
            return _name_test(value, fold)
        case _:
            return _glob(value)


def _starting(dates: Sequence[str], times: Sequence[str]) -> list[Condition]:
    """The start of the step: a date range and a time range are one period (PS3.4 Table K.6-1), a single time is not."""
    dates = [value for value in dates if not _is_universal(value)]
    times = [value for value in times if not _is_universal(value)]
    spans = [_bounds(_START_DATE, value, _date) for value in dates]
    clocks = [_bounds(_START_TIME, value, _time) for value in times]
    if len(spans) == 1 and len(clocks) == 1 and clocks[0][0] != clocks[0][1]:
        (first, last), (begin, end) = spans[0], clocks[0]
        low = first + (begin or "000000.000000") if first else ""
        high = last + (end or "235959.999999") if last else ""
        return [Condition("start", lambda item: _within(low, item.starts_at, high))]
    found: list[Condition] = []
    if spans:
        found.append(
            Condition(_START_DATE, lambda item: any(_within(low, item.starts_at[:8], high) for low, high in spans))
        )
    if clocks:
        found.append(
            Condition(_START_TIME, lambda item: any(_within(low, item.starts_at[8:], high) for low, high in clocks))
        )
    return found


def _within(low: str, own: str, high: str) -> bool:
    """An item without a value matches no key that is not universal."""
    return bool(own) and (not low or low <= own) and (not high or own <= high)


def _bounds(keyword: str, value: str, read: Callable[[str], str | None]) -> tuple[str, str]:
    """Least and most of a value or a range; '' for an open end. Raises BadKey."""
    span = _RANGE.fullmatch(value)
    if span is None:
        single = read(value)
        if single is None:
            raise BadKey(keyword, "neither a value nor a range")
        return single, single
    low, high = (read(end) if end else "" for end in (span[1].strip(" "), span[2].strip(" ")))
    if low is None or high is None or not (low or high):
        raise BadKey(keyword, "not a range")
    return low, high


@lru_cache(1024)
def _date(text: str) -> str | None:
    found = _DATE.fullmatch(text.strip(" "))
    if found is None or not (1 <= int(found[2]) <= 12 and 1 <= int(found[3]) <= 31):
        return None
    return found[1] + found[2] + found[3]


@lru_cache(4096)
def _time(text: str) -> str | None:
    """As it compares: `0900`, `090000` and `090000.000` are one time."""
    found = _TIME.fullmatch(text.strip(" "))
    if found is None or int(found[1]) > 23 or int(found[2] or 0) > 59 or int(found[3] or 0) > 60:
        return None
    return f"{found[1]}{found[2] or '00'}{found[3] or '00'}.{(found[4] or '').ljust(6, '0')}"


def _name_test(value: str, fold: Fold) -> Callable[[str], bool]:
    groups = value.split("=")
    if len(groups) == 1:
        one = _group_test(value, fold)
        return lambda own: any(one(group) for group in own.split("=") if group)
    tests = [_group_test(group, fold) if group.strip("^ ") and group != "*" else None for group in groups]

    def test(own: str) -> bool:
        have = [*own.split("="), "", "", ""]
        return all(one is None or (bool(have[n]) and one(have[n])) for n, one in enumerate(tests))

    return test


def _group_test(value: str, fold: Fold) -> Callable[[str], bool]:
    plain = fold(value).rstrip("^ ")
    if "^" not in plain and not _has_wildcard(plain):
        return lambda own: fold(own).split("^")[0].strip(" ") == plain
    test = _glob(plain)
    return lambda own: test(fold(own).rstrip("^ "))


def names_of(item: Item) -> tuple[str, ...]:
    """The groups of the patient's name as they are compared: with their accents, and without."""
    parts = [part for name in _own(item, _NAME) for part in name.split("=")]
    folded = (fold(part).strip("^ ") for fold in (_folded, unaccented) for part in parts)
    return tuple(dict.fromkeys(group for group in folded if group))


def name_prefix(query: Query) -> str:
    """What one of `names_of` of every item begins with that the query's patient name matches; '' for any."""
    values = _texts(query.requested.get(_NAME, ()))
    fold = unaccented if query.folds_accents else _folded
    if len(values) != 1:
        return ""
    prefixes = (re.split(r"[*?]", fold(group).strip("^ "), maxsplit=1)[0] for group in values[0].split("="))
    return max((prefix.rstrip("^ ") for prefix in prefixes), key=len)


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


@lru_cache(4096)
def unaccented(name: str) -> str:
    """As it is compared where accents do not count: of Latin and Greek letters the base alone.

    Elsewhere a mark makes another letter (Cyrillic, kana, Hebrew points, Indic vowels), and stays. Letters with a
    stroke and ligatures are no letters with marks in Unicode; they are told one by one.
    """
    made: list[str] = []
    is_letter = False
    for character in unicodedata.normalize("NFD", name.casefold()):
        if is_letter and "\u0300" <= character <= "\u036f":
            continue
        is_letter = _is_latin_or_greek(character)
        made.append(_STROKES.get(character, character))
    return unicodedata.normalize("NFC", "".join(made))


@lru_cache(2048)
def _is_latin_or_greek(character: str) -> bool:
    return character.isalpha() and unicodedata.name(character, "").startswith(("LATIN ", "GREEK "))


@lru_cache(1024)
def _glob(value: str) -> Callable[[str], bool]:
    """`*` is any text, `?` one character, all else is itself. Looks at each place once, however many `*` there are."""
    first, *middle = (re.compile(re.escape(part).replace(r"\?", "."), re.DOTALL) for part in re.split(r"\*+", value))
    if not middle:
        return lambda own: first.fullmatch(own) is not None
    last = middle.pop()
    # An end has as many characters as it has, so the one place where it can stand is known.
    tail = len(value.rsplit("*", 1)[1])

    def test(own: str) -> bool:
        begun = first.match(own)
        if begun is None:
            return False
        at = begun.end()
        for part in middle:
            found = part.search(own, at)
            if found is None:
                return False
            at = found.end()
        return at <= len(own) - tail and last.fullmatch(own, len(own) - tail) is not None

    return test


def _has_wildcard(value: str) -> bool:
    return "*" in value or "?" in value


def _is_universal(value: str) -> bool:
    return not value.strip(" *")


def _has_value(inner: Attributes) -> bool:
    return any(
        _has_value(value) if isinstance(value, Mapping) else not _is_universal(value)
        for values in inner.values()
        for value in values
    )


def _texts(values: object) -> tuple[str, ...]:
    return tuple(value.strip(" ") for value in values if isinstance(value, str)) if isinstance(values, tuple) else ()


def _own(item: Item, keyword: str) -> tuple[str, ...]:
    return texts(item.attributes, keyword)


def _of_step(item: Item, keyword: str) -> tuple[str, ...]:
    return texts(item.step, keyword)
