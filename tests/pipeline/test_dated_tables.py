"""Steps and routes that look into code tables with dates, a default row and two directions. The time is 2026-01-02."""

from datetime import UTC, datetime

import pytest

from engine.config.expression import compile_condition, compile_value
from engine.config.table import Table
from engine.hl7.message import Message

DATED = "from,to,valid_from,valid_to\nF,old,,2026-01-01\nF,new,2026-01-02,\n"
BEFORE = datetime(2026, 1, 1, 23, tzinfo=UTC)
AFTER = datetime(2026, 1, 2, tzinfo=UTC)


def sex_at(made, raw, time):
    result = made.compiled.run(made.parse(raw), time)
    assert result.state == "processed", result
    body = result.deliveries[0].body or raw
    return made.parse(body).get("PID-8")


@pytest.mark.parametrize(
    "step",
    [
        "- map: {PID-8: t.csv}",
        "- set: {PID-8: '=table(\"t.csv\", PID-8)'}",
        '- set: {PID-8: \'=table("t.csv", "F")\'}',
        '- set: {PID-8: new}\n  when: table("t.csv", PID-8) == "new"\n- set: {PID-8: old}\n  when: PID-8 == "F"',
        "- each: PID\n  do:\n    - map: {PID-8: t.csv}",
        '- set: {PID-8: new}\n  when: any PID (PID-8 == "F" and table("t.csv", PID-8) == "new")\n'
        '- set: {PID-8: old}\n  when: PID-8 == "F"',
    ],
)
def test_what_a_code_becomes_depends_on_when_its_message_came(channel, adt, step):
    made = channel(step, files={"t.csv": DATED})
    assert [sex_at(made, adt(), time) for time in (BEFORE, AFTER)] == ["old", "new"]


def test_a_route_may_depend_on_it_and_a_trace_says_why(channel, adt):
    rest = 'routes: [{to: out, when: \'table("t.csv", PID-8) == "new"\'}]\ndestinations: {out: {anywhere: {}}}\n'
    made = channel("", rest=rest, files={"t.csv": DATED})
    assert [made.compiled.run(made.parse(adt()), time).state for time in (BEFORE, AFTER)] == ["filtered", "processed"]
    route = made.compiled.trace(made.parse(adt()), BEFORE).routes[0]
    assert not route.taken
    assert "old" in [explained.value for explained in route.condition.why]


def test_a_trace_names_the_row_of_that_time(channel, adt):
    made = channel("- map: {PID-8: t.csv}", files={"t.csv": DATED})
    for time, row in ((BEFORE, 2), (AFTER, 3)):
        assert made.compiled.trace(made.parse(adt()), time).steps[0].lookups[0].row == row


def test_python_asks_with_the_time_of_its_message(channel, adt):
    code = 'def f(m, c):\n    m.set("PID-8", c.tables["t.csv"].lookup_at("F", c.now).value)\n'
    made = channel("- python: s.py:f", files={"t.csv": DATED, "s.py": code})
    assert [sex_at(made, adt(), time) for time in (BEFORE, AFTER)] == ["old", "new"]


def test_the_default_row_answers_before_otherwise_does(channel, adt):
    made = channel("- map: {PID-8: t.csv}", files={"t.csv": "from,to\nM,1\n*,9\n"})
    assert made.compiled.run(made.parse(adt()), AFTER).findings == ()
    assert sex_at(made, adt(), AFTER) == "9"
    value = compile_value('table("t.csv", PID-8, "not this")', tables={"t.csv": Table.load("a,b\n*,9\n", "t.csv")[0]})
    assert value(made.parse(adt())) == "9"


def test_a_default_row_makes_no_value_a_known_one(channel, adt):
    made = channel("- validate: {values: {PID-8: t.csv}, mode: warn}", files={"t.csv": "from,to\nM,1\n*,9\n"})
    assert [code for code, _ in made.findings(adt())] == ["E212"]


def test_a_table_is_looked_up_from_value_to_key(channel, adt):
    table = "from,to,direction\nfemale,F,\nwoman,F,there\n"
    made = channel("- map: {PID-8: t.csv, direction: back}", files={"t.csv": table})
    assert sex_at(made, adt(), AFTER) == "female"


def test_a_miss_on_the_way_back_says_which_way(channel, adt):
    made = channel("- map: {PID-8: t.csv, direction: back}", files={"t.csv": "from,to\nmale,M\n"})
    (finding,) = made.compiled.run(made.parse(adt()), AFTER).findings
    assert (finding.code, "t.csv (back)" in finding.text) == ("E214", True)


@pytest.mark.parametrize(
    "place",
    ["- map: {PID-8: t.csv, direction: back}", "- each: PID\n  do:\n    - map: {PID-8: t.csv, direction: back}"],
)
def test_an_ambiguous_way_back_is_found_at_its_row(mistakes, place):
    found = mistakes(place, files={"t.csv": "from,to\nA,F\nB,F\n"})
    assert [(code, line) for code, line, _, _ in found] == [("E168", 3)]
    assert mistakes("- map: {PID-8: t.csv}", files={"t.csv": "from,to\nA,F\nB,F\n"}) == []


def test_a_direction_that_is_none_is_found(mistakes):
    found = mistakes("- map: {PID-8: t.csv, direction: forth}", files={"t.csv": "from,to\nA,F\n"})
    assert [(code, line) for code, line, _, _ in found] == [("E105", 3)]


def test_a_direction_stands_with_the_places(mistakes):
    found = mistakes("- map: {PID-8: t.csv}\n  direction: back", files={"t.csv": "from,to\nA,F\n"})
    assert [(code, line, message) for code, line, _, message in found] == [
        ("E101", 4, "'direction' stands beside 'map'")
    ]


TO_ONE = "routes: [{to: out}]\n"


@pytest.mark.parametrize(
    "rest",
    [
        'from: table("t.csv", PID-8) == "new"\n' + TO_ONE + "destinations: {out: {anywhere: {}}}\n",
        TO_ONE + "destinations: {out: {anywhere: {}, order_by: 'table(\"t.csv\", PID-8)'}}\n",
        TO_ONE + 'destinations: {out: {anywhere: {}, order_by: PID-3, priority: \'table("t.csv", PID-8) == "new"\'}}\n',
    ],
)
def test_where_no_time_is_known_a_table_with_dates_is_refused(mistakes, rest):
    assert [code for code, *_ in mistakes("- set: {PID-8: F}", rest=rest, files={"t.csv": DATED})] == ["E169"]
    assert mistakes("- set: {PID-8: F}", rest=rest, files={"t.csv": "from,to\nF,new\n"}) == []


def test_a_channel_without_dates_marks_no_message(channel, adt):
    made = channel("", files={"t.csv": "from,to\nF,new\n"})
    message = made.parse(adt())
    made.compiled.run(message, AFTER)
    assert not hasattr(message, "received_at")


def test_an_expression_looks_the_way_back(channel, adt):
    table = "from,to,direction\nfemale,F,\nwoman,F,there\n"
    made = channel('- set: {PID-9: \'=back("t.csv", PID-8, "none")\'}', files={"t.csv": table})
    assert "|female" in made.lines(adt())[2]
    assert (
        "|none"
        in channel('- set: {PID-9: \'=back("t.csv", PID-5.1, "none")\'}', files={"t.csv": table}).lines(adt())[2]
    )


def test_an_expression_looks_the_way_back_at_the_time_of_receipt(channel, adt):
    table = "from,to,valid_from,valid_to\nold,F,,2026-01-01\nnew,F,2026-01-02,\n"
    made = channel("- set: {PID-8: '=back(\"t.csv\", PID-8)'}", files={"t.csv": table})
    assert [sex_at(made, adt(), at) for at in (BEFORE, AFTER)] == ["old", "new"]
    constant = channel('- set: {PID-8: \'=back("t.csv", "F")\'}', files={"t.csv": table})
    assert [sex_at(constant, adt(), at) for at in (BEFORE, AFTER)] == ["old", "new"]


def test_an_ambiguous_way_back_of_an_expression_is_found_at_its_row(mistakes):
    files = {"t.csv": "from,to\nA,F\nB,F\n"}
    for place in (
        "- set: {PID-8: '=back(\"t.csv\", PID-8)'}",
        '- filter: back("t.csv", PID-8) == "A"',
        "- each: OBX\n  do:\n    - set: {OBX-8: '=back(\"t.csv\", OBX-8)'}",
    ):
        assert [(code, line) for code, line, _, _ in mistakes(place, files=files)] == [("E168", 3)]
    assert mistakes('- set: {PID-8: \'=table("t.csv", "back")\'}', files=files) == []


def test_the_way_back_is_explained_and_named_like_a_lookup(adt):
    tables = {"t.csv": Table.load("a,b\nfemale,F\n", "t.csv")[0]}
    condition = compile_condition('back("t.csv", PID-8) == "female"', tables=tables)
    message = Message.parse(adt())
    assert condition(message) and condition.tables == ("t.csv",) and condition.ways_back == ("t.csv",)
    assert any("female" in str(line) for line in condition.explain(message))
