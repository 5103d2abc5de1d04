"""What the cases of a channel reach of it: each kind of gap is told, and goes when a case comes there."""

import pytest

from engine.config.site import load_site
from engine.hl7.message import Message
from engine.pipeline.coverage import Coverage
from engine.pipeline.registry import load_kinds, load_steps
from tests.pipeline.conftest import NOW

ROUTES = """\
routes:
  - to: out
  - to: other
    when: PV1-2 == "I"
destinations: {out: {anywhere: {}}, other: {anywhere: {}}}
"""
STEPS = """\
- filter: PID-3 != ""
- map: {PID-8: t.csv, otherwise: keep}
- when: table("wards.csv", PV1-3, "") == "W"
  set: {PV1-3: west}
- each: OBX
  when: OBX-2 == "NM"
  do:
    - set: {OBX-11: F}
    - when: OBX-3 == "K"
      delete: [OBX-8]
"""
TABLES = {"t.csv": "from,to\nF,2\nM,1\nO,9\nU,0\n", "wards.csv": "from,to\nA,W\nB,E\n"}
HEAD = "MSH|^~\\&|A|B|C|D|20260101||ADT^A01|1|P|2.5"


@pytest.fixture
def coverage(channel) -> Coverage:
    return Coverage.of(channel(STEPS, rest=ROUTES, files=TABLES).loaded, load_steps())


def run(coverage: Coverage, *segments: str) -> None:
    coverage.run(Message.parse("\r".join([HEAD, *segments, ""]).encode()), NOW)


def gaps(coverage: Coverage) -> list[tuple[str, str]]:
    return [(gap.place.partition(",")[0], gap.text) for gap in coverage.covered().gaps]


def test_without_a_case_every_step_route_and_row_is_a_gap_and_a_condition_is_told_with_its_step(coverage):
    covered = coverage.covered()
    assert {kind: (tally.reached, tally.of) for kind, tally in covered.tallies.items()} == {
        "steps": (0, 6),
        "conditions": (0, 9),
        "routes": (0, 3),
        "rows": (0, 6),
    }
    assert [gap.kind for gap in covered.gaps] == ["steps"] * 6 + ["routes"] * 3 + ["rows"] * 2
    assert covered.rules.percent == 0


def test_one_case_leaves_the_other_way_of_each_condition(coverage):
    run(coverage, "PID|||7|||||F", "PV1||O|A", "OBX|1|NM|K||4|mmol/l||H", "OBX|2|ST|X||a")
    assert gaps(coverage) == [
        ('1 filter PID-3 != ""', 'PID-3 != "" is never false'),
        ("2 map PID-8", "every value has a row: no case shows what happens without one"),
        ("3 set PV1-3", 'table("wards.csv", PV1-3, "") == "W" is never false'),
        ("4.2 delete OBX-8", 'OBX-3 == "K" is never false'),
        ("route to other", "no case takes it"),
        ("t.csv", "3 of 4 rows answer in no case: lines 3-5"),
        ("wards.csv", "1 of 2 rows answer in no case: line 3"),
    ]


def test_cases_that_go_every_way_leave_no_gap(coverage):
    run(coverage, "PID|||7|||||F", "PV1||O|A", "OBX|1|NM|K||4|mmol/l||H", "OBX|2|ST|X||a", "OBX|3|NM|L||4")
    run(coverage, "PID|||7|||||M", "PV1||I|B")
    run(coverage, "PID|||7|||||O", "PV1||I|B")
    run(coverage, "PID|||7|||||U", "PV1||I|B")
    run(coverage, "PID|||7|||||?", "PV1||I|B")
    run(coverage, "PID|||")
    covered = coverage.covered()
    assert not covered.gaps
    assert covered.rules.percent == 100 and covered.tallies["rows"].percent == 100


def test_a_message_that_was_stopped_says_nothing_of_the_routes(coverage):
    run(coverage, "PID|||")
    assert ("route to out", "no case takes it") in gaps(coverage)
    assert ("route to other", "every case takes it") in gaps(coverage)


def test_a_message_that_no_route_takes_went_past_all_of_them(channel):
    rest = 'routes: [{to: out, when: PV1-2 == "I"}]\ndestinations: {out: {anywhere: {}}}\n'
    coverage = Coverage.of(channel("", rest=rest).loaded, load_steps())
    run(coverage, "PV1||O")
    assert gaps(coverage) == [("route to out", "no case takes it")]


def test_what_came_out_is_what_comes_out_without_looking(channel):
    made = channel(STEPS, rest=ROUTES, files=TABLES)
    coverage = Coverage.of(made.loaded, load_steps())
    for sex in ("F", "?", ""):
        raw = "\r".join([HEAD, f"PID|||7|||||{sex}", "PV1||I|A", "OBX|1|NM|K||4|mmol/l||H", ""]).encode()
        assert coverage.run(Message.parse(raw), NOW) == made.run(raw)


def test_many_lines_are_told_as_spans_and_not_all_of_them(channel):
    rows = "".join(f"{n},{n}\n" for n in range(100))
    coverage = Coverage.of(channel("- map: {PID-8: t.csv}", files={"t.csv": f"from,to\n{rows}"}).loaded, load_steps())
    for n in range(0, 100, 5):
        run(coverage, f"PID||||||||{n}")
    assert gaps(coverage)[-1] == (
        "t.csv",
        "80 of 100 rows answer in no case: lines 3-6, 8-11, 13-16, 18-21, 23-26, 28-31, 33-36, 38-41, ...",
    )


def test_each_of_several_routes_to_one_destination_is_to_be_reached(channel):
    rest = """\
routes:
  - {to: out, when: PV1-2 == "I"}
  - {to: out, when: PV1-3 == "A"}
destinations: {out: {anywhere: {}}}
"""
    coverage = Coverage.of(channel("- set: {MSH-5: X}", rest=rest).loaded, load_steps())
    run(coverage, "PV1||I|B")
    assert gaps(coverage) == [
        ('route to out when PV1-2 == "I"', "every case takes it"),
        ('route to out when PV1-3 == "A"', "no case takes it"),
    ]
    run(coverage, "PV1||O|A")
    assert gaps(coverage) == []


def test_routes_are_asked_of_the_message_as_the_steps_left_it(channel):
    rest = 'routes: [{to: out, when: PV1-2 == "I"}]\ndestinations: {out: {anywhere: {}}}\n'
    coverage = Coverage.of(channel("- set: {PV1-2: I}", rest=rest).loaded, load_steps())
    run(coverage, "PV1||O")
    assert gaps(coverage) == [("route to out", "every case takes it")]


def test_of_a_run_with_another_table_the_rows_of_those_that_are_the_same_count(channel, coverage):
    mocked = {**TABLES, "t.csv": "from,to\nF,9\n"}
    other = Coverage.of(channel(STEPS, rest=ROUTES, files=mocked).loaded, load_steps())
    run(other, "PID|||7|||||F", "PV1||I|A")
    coverage.add(other)
    assert coverage.tables["t.csv"].unreached == [2, 3, 4, 5]
    assert coverage.tables["wards.csv"].unreached == [3]


def test_rows_that_are_rules_and_not_looked_up_do_not_count(repository):
    site = load_site(repository, load_kinds(), {})
    (scanners,) = [channel for channel in site.channels if channel.name == "scanners"]
    covered = Coverage.of(scanners, load_steps()).covered()
    assert {gap.place for gap in covered.gaps if gap.kind == "rows"} == {"tables/modalities.csv"}


DIRECTED = "from,to,direction\nA,1,both\nB,2,there\nC,1,there\nX,9,back\n*,0,there\n"


@pytest.mark.parametrize(
    ("expression", "missed"),
    [
        ('table("d.csv", PV1-3, "")', [3, 4, 6]),
        ('back("d.csv", PV1-3, "")', [2, 5]),
        ('coalesce(back("d.csv", PV1-3), table("d.csv", PV1-3))', [3, 4, 5, 6]),
    ],
)
def test_rows_are_those_of_the_directions_in_which_expressions_look_things_up(channel, expression, missed):
    steps = f"- set: {{PV1-4: '={expression}'}}\n"
    coverage = Coverage.of(channel(steps, files={"d.csv": DIRECTED}).loaded, load_steps())
    run(coverage, "PV1||I|A")
    assert coverage.tables["d.csv"].unreached == missed
    every = set(coverage.tables["d.csv"].lines)
    run(coverage, "PV1||I|1")
    run(coverage, "PV1||I|9")
    assert set(coverage.tables["d.csv"].unreached) < set(missed) <= every


def test_rows_that_are_looked_up_in_conditions_quantifiers_and_routes_count(channel):
    rest = """\
routes:
  - to: out
    when: table("t.csv", PV1-2) == "in"
destinations: {out: {anywhere: {}}}
"""
    steps = """\
- filter: any PID-3.1 is not empty
- when: all OBX (table("t.csv", OBX-3, "") != "")
  set:
    PV1-4: =table("t.csv", "D")
"""
    files = {"t.csv": "from,to\nI,in\nHB,haemoglobin\nLEU,leukocytes\nD,default\n"}
    coverage = Coverage.of(channel(steps, rest=rest, files=files).loaded, load_steps())
    assert coverage.tables["t.csv"].unreached == [2, 3, 4, 5], "a fixed key is looked up with a message, not before"
    run(coverage, "PID|||7", "PV1||I", "OBX|1|NM|HB")
    assert coverage.tables["t.csv"].unreached == [4]
    run(coverage, "PID|||7", "PV1||I", "OBX|1|NM|LEU")
    assert coverage.tables["t.csv"].unreached == []
