"""What a trace tells of the steps inside of `each`: the same as holding the whole message against itself, for less."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.hl7.message import Message
from engine.hl7.path import compile_path
from engine.pipeline.compare import changes
from engine.pipeline.watched import Watched
from tests.work import calls_of

HEAD = "MSH|^~\\&|A|B|C|D|20260102||ORU^R01|1|P|2.5\rPID|1||7^^^A~8^^^B||X^Y\r"
PATHS = ("PID-5.1", "PID-3[2].1", "OBX[1]-5", "OBX[2]-5", "OBX[*]-8", "OBX[3]", "OBX[*]-17", "NTE-3", "ZZZ[2]-1", "PID")


def oru(results: int) -> bytes:
    lines = [f"OBX|{n}|ST|C{n}||v{n}\rNTE|{n}||text {n}\r" for n in range(1, results + 1)]
    return (HEAD + "".join(lines)).encode()


edits = st.lists(
    st.tuples(st.sampled_from(("set", "set", "delete")), st.sampled_from(PATHS), st.sampled_from(["", "p", "q"])),
    min_size=1,
    max_size=5,
)


def edit(message: Message, how: str, path: str, value: str) -> None:
    if how == "delete":
        compile_path(path).delete(message)
    elif "-" in path:
        message.set(path, value)


def texts(message: Message) -> list[str]:
    return [message.segment(index) for index in range(len(message))]


@settings(max_examples=300, deadline=None)
@given(results=st.integers(0, 3), earlier=edits, later=edits)
def test_what_is_told_of_edits_since_a_mark_is_what_differs(results, earlier, later):
    message = Watched.of(Message.parse(oru(results)))
    for one in earlier:
        edit(message, *one)
    mark, before = message.mark(), message.copy()
    for one in later:
        edit(message, *one)
    told, whole = message.changes_since(mark), changes(before, message)
    if len(before) == len(message) and [c.path for c in told] == [c.path for c in whole]:
        assert told == whole
    # Where segments came and went several pairings may cost the same: both tell all that came, and all that went.
    assert (told == []) == (whole == [])
    for side in ("before", "after"):
        gone = [getattr(c, side) for c in told if "-" not in c.path and getattr(c, side) is not None]
        assert set(gone) <= set(texts(before if side == "before" else message))


@settings(max_examples=200, deadline=None)
@given(results=st.integers(0, 3), later=edits.map(lambda some: [one for one in some if one[0] == "set"]))
def test_of_segments_that_stay_where_they_stand_it_is_the_same_to_the_letter(results, later):
    message = Watched.of(Message.parse(oru(results)))
    mark, before = message.mark(), message.copy()
    for how, path, value in later:
        if not path.startswith("ZZZ"):
            edit(message, how, path, value)
    if len(before) == len(message):
        assert message.changes_since(mark) == changes(before, message)


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("OBX[2]", [("OBX[2]", "OBX|2|ST|C2||v2", None)]),
        ("NTE[1]", [("NTE[1]", "NTE|1||text 1", None)]),
        ("NTE[*]", [("NTE[1]", "NTE|1||text 1", None), ("NTE[2]", "NTE|2||text 2", None)]),
        ("PID", [("PID", "PID|1||7^^^A~8^^^B||X^Y", None)]),
    ],
)
def test_a_segment_that_went_is_told_by_the_number_it_had(path, told):
    message = Watched.of(Message.parse(oru(2)))
    mark = message.mark()
    edit(message, "delete", path, "")
    assert [(c.path, c.before, c.after) for c in message.changes_since(mark)] == told


def test_a_segment_that_came_is_told_by_the_number_it_has():
    message = Watched.of(Message.parse(oru(1)))
    mark = message.mark()
    message.insert_segment(3, "OBX|9")
    message.set("OBX[2]-5", "x")
    assert [(c.path, c.before, c.after) for c in message.changes_since(mark)] == [("OBX[2]", None, "OBX|9||||x")]


def test_an_edit_in_place_does_not_reach_back_over_a_mark():
    message = Watched.of(Message.parse(oru(1)))
    message.set("PID-8", "M")
    mark = message.mark()
    message.set("PID-8", "F")
    message.set("PID-8", "O")
    assert [(c.path, c.before, c.after) for c in message.changes_since(mark)] == [("PID-8", "M", "O")]
    assert message.changes_since(message.mark()) == []


def test_telling_costs_the_steps_nothing_of_their_work():
    message = Watched.of(Message.parse(oru(3)))
    mark = message.mark()
    edit(message, "delete", "OBX[1]", "")
    left, places = message.allowance, set(message._places)
    assert message.changes_since(mark)
    assert (message.allowance, set(message._places)) == (left, places)


INSIDE = """
- each: OBX
  when: OBX-2 == "ST"
  do:
    - set: {OBX-17: Y, PID-8: =OBX-1}
    - map: {OBX-3.1: t.csv, otherwise: keep}
    - delete: [OBX-8]
"""


def test_the_whole_message_is_compared_once_for_each_step_of_the_channel_however_many_rounds_it_has(
    channel, monkeypatch
):
    compared = []

    def noted(before, after):
        compared.append(len(after))
        return changes(before, after)

    monkeypatch.setattr("engine.pipeline.trace.changes", noted)
    channel(INSIDE, files={"t.csv": "from,to\nC1,X\n"}).trace(oru(20))
    assert compared == [42]


def test_the_work_of_a_trace_grows_with_the_length_of_the_message_and_not_with_its_square(channel):
    made = channel(INSIDE, files={"t.csv": "from,to\nC1,X\n"})
    # Both past what `pairs` weighs one by one for the `each` as a whole, which is bounded.
    few, many = (Message.parse(oru(number)) for number in (260, 520))
    made.compiled.trace(few, made.now)
    of_few = calls_of(lambda: made.compiled.trace(few, made.now))
    of_many = calls_of(lambda: made.compiled.trace(many, made.now))
    assert of_many < 1.5 * 2 * of_few


def test_each_round_of_a_trace_is_told_with_the_numbers_of_its_segment(channel):
    made = channel(INSIDE, files={"t.csv": "from,to\nC2,X\n"})
    rounds = [step for step in made.trace(oru(2)).steps if step.depth == 1]
    assert [[(c.path, c.before, c.after) for c in step.changes] for step in rounds] == [
        [("PID-8", None, "1"), ("OBX[1]-17", None, "Y")],
        [],
        [],
        [("PID-8", "1", "2"), ("OBX[2]-17", None, "Y")],
        [("OBX[2]-3", "C2", "X")],
        [],
    ]
