"""Invented traffic: journeys in their sequence, the same from the same seed, and clean by the standard."""

from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta

import pytest
import re2
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.hl7.charset import encoded
from engine.hl7.generate import (
    KNOWN,
    Fitter,
    Header,
    Hospital,
    all_of,
    chance_of,
    families_for,
    sample_of,
    segments_of,
    types_of,
)
from engine.hl7.message import Message
from engine.hl7.profile import Profile, Standard
from engine.hl7.validate import Validator

SINCE = datetime(2026, 1, 5, tzinfo=UTC)
ARRIVES = ("admitted", "registered")
RARE = {"SIU^S15", "ADT^A07", "ADT^A11", "ADT^A12", "ADT^A13", "ADT^A40"}
LEAVES = ("discharged", "admission cancelled")


def everything(kind: str, type_: str) -> bool:
    return True


def hospital(seed: int = 1, wanted=everything, **how) -> list:
    return list(Hospital(seed, families_for("utf_8"), wanted, since=SINCE, **how))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 99_999))
def test_patients_come_before_they_are_ordered_for_and_leave_last(seed):
    told = hospital(seed, patients=6)
    assert [one.at for one in told] == sorted(one.at for one in told)
    by_visit = defaultdict(list)
    for one in told:
        by_visit[one.visit.number].append(one)
    for happenings in by_visit.values():
        kinds = [one.kind for one in happenings]
        came = next(at for at, kind in enumerate(kinds) if kind in ARRIVES)
        left = max((at for at, kind in enumerate(kinds) if kind in LEAVES), default=None)
        assert left is not None and came < left, kinds
        for at, one in enumerate(happenings):
            if one.order is not None:
                assert at > came, "nothing is ordered for somebody who is not there"
            if one.kind.endswith("resulted"):
                ordered = [n for n, other in enumerate(happenings) if other.order and "ordered" in other.kind
                           and other.order.number == one.order.number]  # fmt: skip
                assert ordered and ordered[0] < at
            if one.kind == "merged":
                assert any(other.patient.mrn == one.prior_mrn for other in happenings[:at])
        assert all(kind not in ("moved", "became inpatient") for kind in kinds[left:])


def test_where_somebody_lies_follows_from_the_moves():
    for happenings in (hospital(seed, patients=8) for seed in range(20)):
        ward = {}
        for one in happenings:
            key = one.visit.number
            if one.kind in ("admitted", "registered", "became inpatient", "became outpatient", "preadmitted"):
                ward[key] = one.visit.ward
            elif one.kind == "moved":
                assert one.visit.ward_before == ward[key]
                ward[key] = one.visit.ward
            elif one.kind == "move cancelled":
                ward[key] = one.visit.ward_before
            elif one.order is not None and key in ward:
                assert one.visit.ward == ward[key], one.kind


def test_the_same_seed_tells_the_same_and_another_does_not():
    assert hospital(7, messages=200) == hospital(7, messages=200)
    assert hospital(7, messages=200) != hospital(8, messages=200)
    # More of the same begins as less of it did.
    few = hospital(7, patients=3)
    assert [one for one in hospital(7, patients=9) if one.patient.mrn[-5:] <= "00003"] == few


def test_bounds_hold():
    wanted = hospital(1, messages=150)
    assert len(wanted) >= 150
    day = hospital(1, until=SINCE + timedelta(days=1), per_hour=100)
    assert day and max(one.at for one in day) < SINCE + timedelta(days=1)
    assert len({one.patient.mrn[1:] for one in hospital(1, patients=4)}) == 4
    only = hospital(1, lambda kind, type_: type_ == "ADT^A03", patients=10)
    assert {one.kind for one in only} == {"discharged"}
    assert hospital(1, lambda kind, type_: False, messages=5) == []


def test_a_bound_may_be_raised_on_the_way():
    house = Hospital(5, families_for("ascii"), everything, since=SINCE, messages=20)
    told = []
    for happening in house:
        told.append(happening)
        if len(told) <= 60:
            house.messages += 1
    assert len(told) >= 80
    assert [one.at for one in told] == sorted(one.at for one in told)


def test_more_come_by_day_than_by_night_and_as_many_as_asked_for():
    days, per_hour = 4, 100
    told = hospital(3, until=SINCE + timedelta(days=days), per_hour=per_hour)
    hours = Counter(one.at.hour for one in told if one.kind in ARRIVES)
    assert sum(hours[h] for h in (9, 10, 11)) > 5 * sum(hours[h] for h in (1, 2, 3)) > 0
    # What was on its way at the end is cut off, so that less than the rate comes.
    assert 0.5 < len(told) / (24 * days * per_hour) < 1.1


@pytest.mark.parametrize("version", ["2.1", "2.3", "2.5.1", "2.8.2"])
def test_every_known_type_keeps_the_standard_of_every_version(version):
    profile = Profile("strict", standard=Standard("reject"))
    fitter, validator = Fitter(profile), Validator(profile)
    header = Header(version=version)
    seen = Counter()
    for number, happening in enumerate(hospital(2, messages=500)):
        for type_ in types_of(happening, everything):
            if seen[type_] >= 6:
                continue
            seen[type_] += 1
            lines = segments_of(happening, type_, header, f"G{number:06}")
            message = Message.parse("\r".join([*lines, ""]).encode())
            fitted = fitter.fit(
                message, "utf_8", lambda name, h=happening, t=type_: all_of(name, h, t), lambda *asked: None, number
            )
            left = [(one.location, one.rule) for one in validator.validate(fitted).violations if one.mode == "reject"]
            assert not left, (type_, left)
    assert set(seen) >= KNOWN - RARE


def test_a_type_that_no_happening_tells_is_made_from_its_structure():
    happening = hospital(1, lambda kind, type_: kind == "other", patients=1, others=("BAR^P01",))[0]
    assert (happening.kind, happening.type) == ("other", "BAR^P01")
    profile = Profile("strict", standard=Standard("reject"))
    lines = segments_of(happening, "BAR^P01", Header(), "G1")
    made = Fitter(profile).fit(
        Message.parse("\r".join([*lines, ""]).encode()),
        "utf_8",
        lambda name: all_of(name, happening, "BAR^P01"),
        lambda *asked: None,
    )
    assert made.names()[:3] == ["MSH", "EVN", "PID"]
    assert made.get("PID-3.1") == happening.patient.mrn


@pytest.mark.parametrize("codec", ["ascii", "iso8859_1", "cp1250", "cp1251", "iso8859_7", "gb18030", "big5", "euc_kr"])
def test_names_fit_the_character_set(codec):
    names = families_for(codec)
    for name in names:
        encoded(name, codec)
    assert len(names) > 10
    assert all(name.isascii() for name in names) == (codec == "ascii")


PATTERNS = (
    "[A-Z0-9]{2,16}", r"\d{4}-\d{2}-\d{2}", "F|M|U", "(AB|CD)+[0-9]?", r"[^|^~\\&]{1,20}", "A.C", r"\w+@\w+\.org",
    "[[:upper:]]{3}", r"\Q1.2.840.\E[0-9]+", "(?:x|y){2}z*", r"[0-9]{4}([0-9]{2}){0,5}([.][0-9]{1,4})?", r"\x41\x{42}",
    "[]a]x", "[a\\-z]{2}", "(?P<n>[0-9]{3})", "", "a{3}", "a{2,}", "[0-9.]{1,64}",
)  # fmt: skip


@pytest.mark.parametrize("pattern", PATTERNS)
@settings(max_examples=25)
@given(seed=st.integers())
def test_a_sample_is_matched_by_its_pattern(pattern, seed):
    is_match = re2.compile(pattern).fullmatch
    text = sample_of(pattern, lambda value: is_match(value) is not None, chance_of(seed))
    assert text is not None and is_match(text)


@pytest.mark.parametrize("pattern", [r"(?i)abc", r"\pL+", "[", "(a", "a{", r"\k"])
def test_a_pattern_that_is_not_read_gives_nothing(pattern):
    assert sample_of(pattern, lambda value: True, chance_of(1)) is None


@given(st.text(max_size=40))
def test_whatever_the_pattern_a_sample_is_right_or_none(pattern):
    try:
        is_match = re2.compile(pattern).fullmatch
    except (re2.error, UnicodeEncodeError):
        return
    text = sample_of(pattern, lambda value: is_match(value) is not None, chance_of(1), tries=3)
    assert text is None or is_match(text)
