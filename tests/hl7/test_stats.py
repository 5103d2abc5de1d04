"""What is in a feed: counts by hand against counts by `Stats`."""

from hypothesis import given
from hypothesis import strategies as st

from engine.hl7 import stats as module
from engine.hl7.message import Message
from engine.hl7.path import compile_path
from engine.hl7.stats import Stats

HEAD = "MSH|^~\\&|A|B|C|D|1||ORU^R01|1|P|2.5"


def message(*segments: str, head: str = HEAD) -> Message:
    return Message.parse("\r".join([head, *segments, ""]).encode())


def stats(*messages: Message, places: tuple[str, ...] = ()) -> Stats:
    made = Stats([compile_path(place) for place in places])
    for one in messages:
        made.add(one)
    return made


def test_a_field_is_counted_over_its_segments():
    made = stats(message("OBX|1|NM|K||4.25", "OBX|2|NM|K||", "OBX|3|NM|K||12~13~14"), message('OBX|1|ST|X||""'))
    segment = made.segments["OBX"]
    assert (segment.count, segment.messages, segment.most) == (4, 2, 3)
    value = segment.fields[5]
    assert (value.filled, value.nulls, value.repeated, value.most_repetitions) == (3, 1, 1, 3)
    assert (value.shortest, value.longest, value.characters) == (2, 8, 14)
    assert len(value.different) == 3


def test_a_field_that_nobody_fills_has_no_row():
    made = stats(message("PID|||7||A"))
    assert [(name, number) for name, _, number, _ in made.rows() if name == "PID"] == [("PID", 3), ("PID", 5)]


def test_fields_are_named_by_the_version_that_most_messages_have():
    old = message(head=HEAD.replace("2.5", "2.3"))
    made = stats(old, message("PID|||7"), message("PID|||7"))
    assert made.title("PID", 3) == "Patient Identifier List"
    assert made.title("ZXX", 1) == "" and made.title("PID", 99) == ""
    assert made.types == {"ORU^R01": 3} and made.versions == {"2.3": 1, "2.5": 2}


def test_the_encoding_characters_are_no_repetitions():
    assert stats(message()).segments["MSH"].fields[2].most_repetitions == 1


def test_values_of_a_place_are_counted_over_all_its_matches():
    made = stats(message("OBX|1|NM|K", "OBX|2|NM|K", "OBX|3|ST|X"), message("PID|||7"), places=("OBX-2", "PID-3.1"))
    types, ids = made.places
    assert (types.messages, types.values, types.total) == (1, {"NM": 2, "ST": 1}, 3)
    assert (ids.messages, ids.values) == (1, {"7": 1})


def test_memory_is_bounded_and_what_was_left_out_is_counted(monkeypatch):
    monkeypatch.setattr(module, "MOST_VALUES", 3)
    monkeypatch.setattr(module, "MOST_DIFFERENT", 3)
    made = stats(*(message(f"PID|||{n % 10}") for n in range(50)), places=("PID-3",))
    (place,) = made.places
    assert len(place.values) == 3 and place.total == 50 and place.left_out == 35
    assert made.segments["PID"].fields[3].has_more_different
    assert len(made.segments["PID"].fields[3].different) == 3


@given(st.lists(st.sampled_from(["", "a", "bb", "a~b"]), max_size=20))
def test_counts_are_those_of_the_values(values):
    made = stats(*(message(f"ZZZ|{value}") for value in values))
    filled = [value for value in values if value]
    of_field = made.segments["ZZZ"].fields.get(1) if values else None
    assert (of_field.filled if of_field else 0) == len(filled)
    if of_field:
        assert of_field.characters == sum(map(len, filled))
        assert (of_field.shortest, of_field.longest) == (min(map(len, filled)), max(map(len, filled)))
        assert of_field.different == set(filled)
