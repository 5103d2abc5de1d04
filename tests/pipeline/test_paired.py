"""Two heaps of messages: what belongs together, and where they differ."""

from hypothesis import given
from hypothesis import strategies as st

from engine.hl7.message import Message
from engine.hl7.path import compile_path
from engine.pipeline.paired import Compared, One, paired, plain

BY = compile_path("MSH-10")


def one(control_id: str, family: str = "Test", *results: str) -> One:
    segments = [f"MSH|^~\\&|A|B|C|D|1||ADT^A01|{control_id}|P|2.5", f"PID|||7||{family}^Anna"]
    segments += [f"OBX|{n}|NM|K||{value}" for n, value in enumerate(results, 1)]
    return One(f"{control_id}.hl7", Message.parse("\r".join([*segments, ""]).encode()))


def compared(left: list[One], right: list[One], ignored: tuple[str, ...] = ()) -> Compared:
    found = Compared()
    for pair in paired(left, right, BY, ignored):
        found.note(pair)
    return found


def test_order_of_the_heaps_does_not_matter_the_control_id_does():
    found = compared([one("1"), one("2")], [one("2"), one("1")])
    assert found.is_same and found.same == 2


def test_what_differs_is_counted_by_place_over_segments_and_messages():
    left = [one("1", "Test", "4", "5", "6"), one("2", "Test", "4"), one("3")]
    right = [one("1", "Test", "4", "7", "8"), one("2", "Other", "5"), one("3")]
    found = compared(left, right)
    assert {path: (place.messages, place.changes) for path, place in found.places.items()} == {
        "OBX-5": (2, 3),
        "PID-5.1": (1, 1),
    }
    first = found.places["OBX-5"].first
    assert first is not None and (first[0].key, first[1].path) == ("1", "OBX[2]-5")
    assert (found.same, found.differing) == (1, 2)


def test_what_may_differ_does_not_count_with_all_below():
    left, right = [one("1", "Test", "4")], [one("1", "Other", "5")]
    assert compared(left, right, ("PID-5", "OBX")).is_same
    assert set(compared(left, right, ("PID-5",)).places) == {"OBX-5"}
    assert set(compared(left, right, ("PI", "PID-50", "OBX-51")).places) == {"PID-5.1", "OBX-5"}


def test_what_has_no_like_is_named_on_its_side():
    found = compared([one("1"), one("2")], [one("2"), one("3"), one("4")])
    assert (found.only_left, found.only_right) == (["1"], ["3", "4"])
    assert not found.is_same


def test_the_same_control_id_twice_is_paired_in_order():
    found = compared([one("1", "A"), one("1", "B"), one("1", "C")], [one("1", "A"), one("1", "B")])
    assert (found.same, found.differing, found.only_left) == (2, 0, ["1"])


def test_a_message_without_the_id_is_called_by_its_file():
    found = compared([one("")], [])
    assert found.only_left == [".hl7"]


@given(st.lists(st.sampled_from("123")), st.lists(st.sampled_from("123")))
def test_every_message_is_in_one_pair(left, right):
    found = compared([one(key) for key in left], [one(key) for key in right])
    assert found.same + len(found.only_left) == len(left)
    assert found.same + len(found.only_right) == len(right)
    assert found.differing == 0


def test_plain_paths():
    assert [plain(path) for path in ("OBX[12]-5[2].1", "PID-3", "ZXX[1]")] == ["OBX-5.1", "PID-3", "ZXX"]
