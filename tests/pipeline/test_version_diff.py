"""Two versions of a channel over the same messages: every kind of difference, put to the step that makes it."""

import pytest

from engine.hl7.message import Message
from engine.pipeline.version_diff import Differs, VersionDiff, compare_versions
from tests.pipeline.conftest import NOW

HEAD = "MSH|^~\\&|A|B|C|D|20260101||ADT^A01|1|P|2.5"
TABLE = {"t.csv": "from,to\nF,2\nM,1\n"}
REST = "routes: [{to: out}]\ndestinations: {out: {anywhere: {}}, other: {anywhere: {}}}\n"


@pytest.fixture(scope="module")
def differs(channel):
    """`differs(old steps, new steps, *segments)`: the differences for such a message."""

    def make(old: str, new: str, *segments: str, rest: str = REST, new_rest: str = REST) -> list[Differs]:
        before = channel(old, rest=rest, files=TABLE).compiled
        after = channel(new, rest=new_rest, files=TABLE).compiled
        raw = "\r".join([HEAD, *segments, ""]).encode()
        return compare_versions(
            before, after, raw, NOW, lambda c, m, now: c.run(m, now), lambda c, m, now: c.trace(m, now)
        )

    return make


def short(found: list[Differs]) -> list[tuple[str, str, str, str | None, str | None]]:
    return [(d.kind, d.place, d.step.partition(",")[0], d.before, d.after) for d in found]


def test_the_same_steps_differ_in_nothing(differs):
    assert differs("- set: {MSH-5: X}", "- set: {MSH-5: X}", "PID|||7") == []


def test_a_step_that_does_nothing_to_the_message_makes_no_difference(differs):
    assert differs("- set: {MSH-5: X}", '- when: PID-3 == "8"\n  set: {PID-5: Y}\n- set: {MSH-5: X}', "PID|||7") == []


def test_a_field_is_put_to_the_step_that_writes_it_now(differs):
    found = differs("- set: {MSH-5: X}", "- set: {MSH-5: X}\n- set: {MSH-5: Y}", "PID|||7")
    assert short(found) == [("field", "out MSH-5", "2 set MSH-5", "X", "Y")]


def test_a_field_that_no_step_writes_any_more_is_put_to_the_one_that_did(differs):
    found = differs("- set: {PID-5.1: X}", "- set: {MSH-5: C}", "PID|||7||A^B")
    assert short(found) == [("field", "out PID-5.1", "1 set PID-5.1", "X", "A")]


def test_a_segment_that_is_deleted_is_one_difference(differs):
    found = differs("- set: {MSH-5: C}", "- delete: [NTE]", "PID|||7", "NTE|1||a", "NTE|2||b")
    assert {(d.kind, d.place, d.step.partition(",")[0]) for d in found} == {("field", "out NTE", "1 delete NTE")}


def test_another_end_is_put_to_the_step_that_ends_it_with_its_finding(differs):
    found = differs("- set: {MSH-5: X}", "- set: {MSH-5: X}\n- map: {PID-8: t.csv}", "PID||||||||U")
    assert short(found) == [
        ("state", "", "2 map PID-8", "processed", "held"),
        ("finding", "E214 PID-8", "2 map PID-8", None, found[1].after),
    ]


def test_an_answer_is_told_by_its_code(differs):
    steps = "- validate: {required: [PID-5.1], mode: %s}"
    found = differs(steps % "warn", steps % "reject", "PID|||7")
    assert ("answer", "MSA-1", "1 validate", "AA", "AE") in [(k, p, s[:10], b, a) for k, p, s, b, a in short(found)]


def test_a_route_is_told_with_its_condition(differs):
    new_rest = REST.replace("[{to: out}]", '[{to: out}, {to: other, when: PID-8 == "F"}]')
    found = differs("", "", "PID||||||||F", new_rest=new_rest)
    assert short(found) == [("route", "other", "route", "does not", "goes there")]
    assert found[0].step == 'route, when PID-8 == "F"'


def test_a_message_that_is_not_taken_any_more(channel, differs):
    rest = REST + "accept: [ORU^R01]\n"
    found = differs("", "", "PID|||7", new_rest=rest)
    assert short(found) == [("state", "", "accept", "taken", "not for this channel")]


def test_bytes_that_are_no_message_differ_never(channel):
    made = channel("- set: {MSH-5: X}").compiled
    assert compare_versions(made, made, b"x", NOW, lambda c, m, n: c.run(m, n), lambda c, m, n: c.trace(m, n)) == []


def test_groups_count_messages_and_keep_the_first_examples(differs):
    diff = VersionDiff(examples=2)
    for seq in range(5):
        diff.note(seq, differs("- set: {MSH-5: X}", "- set: {MSH-5: Y}", "PID|||7"))
    diff.note(9, [])
    (((kind, place, step), group),) = diff.sorted()
    assert (kind, place, step.partition(",")[0], group.messages) == ("field", "out MSH-5", "1 set MSH-5", 5)
    assert [seq for seq, _ in group.examples] == [0, 1]
    assert (diff.messages, diff.same, diff.differing) == (6, 1, 5)


def test_a_comparison_leaves_the_message_as_it_is(differs):
    raw = "\r".join([HEAD, "PID|||7", ""]).encode()
    message = Message.parse(raw)
    differs("- set: {MSH-5: X}", "- set: {MSH-5: Y}", "PID|||7")
    assert message.to_bytes() == raw


CHANGED = "- each: OBX\n  do:\n    - set: {OBX-5: %s}\n    - set: {OBX-5: '=concat(OBX-5, \"!\")', OBX-6: b}\n"


def test_inside_of_each_the_step_is_told_that_changed_and_not_one_that_goes_on_with_it(differs):
    found = differs(CHANGED % "X", CHANGED % "Y", "OBX|1|ST|a||1", "OBX|2|ST|b||2", "OBX|3|ST|c||3")
    assert {(d.kind, d.place, d.step.partition(" ")[0]) for d in found} == {("field", "out OBX-5", "1.1")}


def test_a_step_that_overwrites_what_another_left_otherwise_is_the_cause_only_if_it_differs(differs):
    steps = "- set: {PID-5.1: %s}\n- set: {PID-5.1: '=upper(PID-5.1)'}"
    found = differs(steps % "x", steps % "y", "PID|||7||A^B")
    assert short(found) == [("field", "out PID-5.1", "1 set PID-5.1", "X", "Y")]


def test_what_stops_a_message_inside_of_each_is_the_inner_step_and_its_own_finding(differs):
    steps = "- each: OBX\n  do:\n    - map: {OBX-8: t.csv, otherwise: %s}"
    found = differs(steps % "keep", steps % "hold", "OBX|1|ST|a||1|||U")
    assert {(d.kind, d.step.partition(" ")[0]) for d in found} >= {("state", "1.1")}
    assert all(d.step.startswith("1.1 ") for d in found)


def test_a_body_in_another_form_is_told_by_field(differs):
    rest = REST.replace("out: {anywhere: {}}", "out: {anywhere: {}, format: json}")
    found = differs("- set: {MSH-5: X}", "- set: {MSH-5: Y}", "PID|||7", rest=rest, new_rest=rest)
    assert short(found) == [("field", "out MSH-5", "1 set MSH-5", "X", "Y")]
