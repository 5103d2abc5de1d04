"""What holds for every message: determinism, nothing touched unasked, and a trace that tells the truth."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.hl7.message import Message
from engine.pipeline.compare import changes

STEPS = {
    "set": ("- set: {PID-19: X}", {"PID-19", "PID"}),
    "set when": ('- set: {ZZZ-3: X}\n  when: PID-8 == "a"', {"ZZZ"}),
    "computed": ("- set: {PID-5.1: '=upper(PID-5.1)'}", {"PID-5"}),
    "map": ("- map: {'OBX[*]-8': t.csv, otherwise: keep}", {"OBX-8"}),
    "default": ("- map: {PV1-2: t.csv, otherwise: default(Q)}", {"PV1-2"}),
    "delete": ("- delete: [NTE, PID-11]", {"NTE", "PID-11", "PID"}),
    "copy": ("- copy: {PID-2: PID-3}", {"PID-2"}),
    "each": ("- each: OBX\n  do:\n    - set: {OBX-17: Y}", {"OBX-17"}),
    "validate": ("- validate: {required: [PID-3], values: {PV1-2: [a]}, mode: warn}", set()),
    "filter": ('- filter: PID-8 == "a" or PID-3 is empty', set()),
    "held": ("- map: {PID-8: t.csv}", {"PID-8"}),
}
TABLES = {"t.csv": "from,to\na,1\nb,2\n"}

# Values with every delimiter, escapes whole and broken, and nothing.
text = st.text(alphabet="abAB01 ^~&\\F.", max_size=6)
segment = st.builds(
    lambda name, fields: "|".join([name, *fields]),
    st.sampled_from(["PID", "PV1", "OBX", "NTE", "ZPI"]),
    st.lists(text, min_size=1, max_size=20),
)
raws = st.lists(segment, max_size=8).map(
    lambda lines: "\r".join(["MSH|^~\\&|A|B|C|D|20260102||ADT^A01|1|P|2.5", *lines, ""]).encode()
)


@pytest.fixture(scope="module")
def made(channel):
    return {name: channel(steps, files=TABLES) for name, (steps, _) in STEPS.items()}


@pytest.fixture(scope="module")
def whole(channel):
    """A channel of all these steps, those that may stop a message last."""
    return channel("\n".join(steps for steps, _ in STEPS.values()), files=TABLES)


@settings(max_examples=60, deadline=None)
@given(raw=raws, name=st.sampled_from(sorted(STEPS)))
def test_a_step_touches_only_what_it_names(made, raw, name):
    message = Message.parse(raw)
    work = made[name].trace(raw).final
    for change in changes(message, work):
        segment, dash, field = change.path.partition("-")
        place = segment.partition("[")[0] + dash + field.partition("[")[0].partition(".")[0]
        # A whole segment stands in `changes` where it came, went, or lost trailing delimiters only.
        assert place in STEPS[name][1], change


@settings(max_examples=60, deadline=None)
@given(raw=raws)
def test_the_same_bytes_come_to_the_same_result(whole, raw):
    assert whole.run(raw) == whole.run(raw)


@settings(max_examples=60, deadline=None)
@given(raw=raws)
def test_a_trace_ends_where_the_run_does(whole, raw):
    result, trace = whole.run(raw), whole.trace(raw)
    assert trace.result == result
    if result.deliveries:
        body = result.deliveries[0].body
        assert trace.final.to_bytes() == (raw if body is None else body)
    told = [finding for step in trace.steps if step.depth == 0 for finding in step.findings]
    assert told == list(result.findings)


@settings(max_examples=60, deadline=None)
@given(raw=raws)
def test_the_changes_of_the_steps_are_those_of_the_message(whole, raw):
    """Nothing changes between two steps: the places changed overall are among those the steps told."""
    trace = whole.trace(raw)
    told = {change.path for step in trace.steps for change in step.changes}
    overall = {change.path for change in changes(Message.parse(raw), trace.final)}
    # A step may name a whole field, or a segment, where another names its part, and numbers change with deletions.
    fields = {path.partition("[")[0].partition(".")[0][:3] for path in told}
    assert {path[:3] for path in overall} <= fields


@settings(max_examples=100, deadline=None)
@given(before=raws, after=raws)
def test_no_change_is_told_only_for_equal_messages(before, after):
    left, right = Message.parse(before), Message.parse(after)
    assert (changes(left, right) == []) == (left.to_bytes() == right.to_bytes())
