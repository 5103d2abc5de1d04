"""What `segmill try` is made of: why each step did what it did."""

TABLE = {"t.csv": "from,to\nF,2\nM,1\n"}
STEPS = """
- filter: PV1-2 == "I"
- set: {MSH-5: RIS, PID-5.1: =upper(PID-5.1)}
- map: {PID-8: t.csv}
  when: PID-8 is not empty
- each: OBX
  when: OBX-2 == "ST"
  do:
    - set: {OBX-5: X}
- set: {MSH-6: late}
"""
MORE = ["OBX|1|NM|||5", "OBX|2|ST|||a"]
ROUTES = """
routes: [{to: a}, {to: b, when: MSH-5 == "EPR"}]
destinations: {a: {anywhere: {}}, b: {anywhere: {}}}
"""


def test_a_trace_tells_each_field_before_and_after(channel, adt):
    step = channel(STEPS, files=TABLE).trace(adt(more=MORE)).steps[1]
    assert [(c.path, c.before, c.after) for c in step.changes] == [
        ("MSH-5", "SEGMILL", "RIS"),
        ("PID-5.1", "Testperson", "TESTPERSON"),
    ]


def test_a_trace_tells_conditions_with_what_stood_in_the_message(channel, adt):
    trace = channel(STEPS, files=TABLE).trace(adt(patient_class="O"))
    (tested,) = trace.steps[0].conditions
    assert (tested.source, tested.outcome) == ('PV1-2 == "I"', False)
    assert ("PV1-2", "O") in [(e.text, e.value) for e in tested.why]


def test_a_trace_names_the_row_of_the_table(channel, adt):
    step = channel(STEPS, files=TABLE).trace(adt(more=MORE)).steps[2]
    assert [(look.path, look.table, look.key, look.row) for look in step.lookups] == [("PID-8", "t.csv", "F", 2)]
    assert step.conditions[0].outcome


def test_a_miss_is_told_too(channel, adt):
    trace = channel("- map: {PID-8: t.csv}", files=TABLE).trace(adt(sex="X"))
    assert [look.row for look in trace.steps[0].lookups] == [None]
    assert (trace.steps[0].outcome, trace.steps[0].findings) == ("held", trace.result.findings)


def test_steps_inside_each_are_told_one_level_deeper_with_their_own_number(channel, adt):
    trace = channel(STEPS, files=TABLE).trace(adt(more=MORE))
    inside = [step for step in trace.steps if step.depth == 1]
    assert [step.label for step in inside] == ["4.1 set OBX-5, channel.yaml:10"]
    each = next(step for step in trace.steps if step.label.startswith("4 each"))
    assert [tested.outcome for tested in each.conditions] == [False, True]
    assert [c.path for c in each.changes] == [c.path for c in inside[0].changes] == ["OBX[2]-5"]


def test_a_skipped_step_says_so(channel, adt):
    step = channel(STEPS, files=TABLE).trace(adt(sex="")).steps[2]
    assert (step.outcome, step.changes) == ("skipped", [])


def test_steps_behind_a_stop_are_named_as_not_reached(channel, adt):
    trace = channel(STEPS, files=TABLE).trace(adt(patient_class="O"))
    assert [step.outcome for step in trace.steps] == ["filtered"]
    assert [label.partition(" ")[0] for label in trace.not_reached] == ["2", "3", "4", "5"]
    assert [route.taken for route in trace.routes] == [None]


def test_a_trace_tells_why_a_route_was_taken_or_not(channel, adt):
    trace = channel("- set: {MSH-5: RIS}", rest=ROUTES).trace(adt())
    assert [(r.destination, r.taken) for r in trace.routes] == [("a", True), ("b", False)]
    assert trace.routes[1].condition is not None
    assert ("MSH-5", "RIS") in [(e.text, e.value) for e in trace.routes[1].condition.why]


def test_times_are_told_only_by_a_clock_that_was_given(channel, adt):
    made = channel("- set: {MSH-5: RIS}")
    assert made.trace(adt()).steps[0].microseconds is None
    ticks = iter([1.0, 1.5])
    trace = made.compiled.trace(made.parse(adt()), made.now, clock=lambda: next(ticks))
    assert trace.steps[0].microseconds == 500_000


def test_a_step_that_fails_is_told_like_any_other(channel, adt):
    trace = channel("- python: s.py:f", files={"s.py": "def f(m, c): 1/0\n"}).trace(adt())
    assert (trace.steps[0].outcome, trace.result.state) == ("held", "held")
