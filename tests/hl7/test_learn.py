"""What is learned from messages, when, and that no patient's data is; and a proof on the shipped channels' samples."""

import contextlib
import os
import re
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config.profile_load import AnyFiles, load_profile
from engine.config.profile_write import learned_by_sender, learned_document
from engine.hl7.batch import split_batch
from engine.hl7.errors import UnreadableMessage
from engine.hl7.learn import MANY, Learned, LearnedPlace, Learner, rules_of
from engine.hl7.message import Message
from engine.hl7.profile_diff import differences
from engine.hl7.validate import Validator

ROOT = Path(__file__).parent.parent.parent


def parse(*segments: str, version: str = "2.5.1", event: str = "A01") -> Message:
    head = f"MSH|^~\\&|HIS|NORTH|||20260102030405||ADT^{event}|1|P|{version}"
    return Message.parse("".join(f"{segment}\r" for segment in (head, *segments)).encode())


def learn(*sent: Message, least: int = 3, closed: bool = False) -> Learned:
    learner = Learner(least=least, closed=closed)
    for message in sent:
        learner.add(message)
    return learner.learned()


def place(learned: Learned, path: str) -> LearnedPlace:
    return next(place for place in learned.places if place.path == path)


# -- one rule after the other -------------------------------------------------------------------------


def test_what_always_had_a_value_is_required_and_what_had_one_is_expected():
    learned = learn(*[parse("PID|1||7^^^NORTH")] * 3, parse("PID|1||8"))
    assert place(learned, "PID-3").usage == place(learned, "PID-3.1").usage == "R"
    assert (place(learned, "PID-3.4").usage, place(learned, "PID-3.4").of, place(learned, "PID-3.4").filled) == (
        "RE",
        4,
        3,
    )


def test_the_delete_marker_is_no_value():
    assert place(learn(*[parse("PID|1||7||A")] * 3, parse('PID|1||7||""')), "PID-5").usage == "RE"


def test_nothing_is_said_of_what_was_seen_in_too_few_messages():
    learned = learn(parse(*["OBX|1|NM|A"] * 200), parse("PID|1"), least=2)
    assert place(learned, "OBX-2").usage is None
    assert place(learned, "OBX-2").of == 200
    assert [s.usage for s in learned.segments["ADT^A01"]] == ["R", "RE", "RE"]


def test_what_was_never_filled_is_unused_only_where_that_is_asked_for():
    sent = [parse("PID|1||7")] * 3
    assert "PID-19.usage" not in set(rules_of(learn(*sent)))
    unused = place(learn(*sent, closed=True), "PID-19")
    assert (unused.usage, unused.of, unused.filled) == ("X", 3, 0)


def test_how_often_a_field_repeats_is_bounded_with_room():
    once = learn(*[parse("PID|1||7")] * 3)
    assert place(once, "PID-3").cardinality == (0, 1)
    assert place(once, "PID-7" if False else "PID-1").cardinality is None, "the standard has it once anyway"
    twice = learn(*[parse("PID|1||7~8")] * 3)
    assert place(twice, "PID-3").cardinality == (0, 4)


def test_codes_are_a_set_if_each_was_seen_twice():
    sexes = [parse(f"PID|1|||||||{sex}") for sex in "FMFMFMFMFM"]
    assert set(place(learn(*sexes), "PID-8").values) >= {"F", "M"}
    assert place(learn(*sexes, parse("PID|1|||||||O")), "PID-8").values == ()


def test_a_set_has_the_codes_of_the_standard_until_many_messages_were_seen():
    few = place(learn(*[parse(f"PID|1|||||||{sex}") for sex in "FM" * 10]), "PID-8").values
    many = place(learn(*[parse(f"PID|1|||||||{sex}") for sex in "FM" * MANY]), "PID-8").values
    assert set(few) > {"F", "M", "O", "U"}
    assert many == ("F", "M")


def test_codes_of_one_message_do_not_count_as_often_as_they_stand_there():
    assert place(learn(*[parse(*["OBX|1|NM|A"] * 50)] * 3), "OBX-2").values == ()


def test_identifiers_have_a_shape_of_runs_without_any_character_of_theirs():
    learned = learn(*[parse(f"PID|1||H{number:06}-A^^^X") for number in range(11, 30)])
    assert place(learned, "PID-3.1").pattern == "[A-Z][0-9]{6}-[A-Z]"
    longer = learn(*[parse(f"PID|1||{number}^^^X") for number in (1, 22, 333)])
    assert place(longer, "PID-3.1").pattern == "[0-9]+"


@pytest.mark.parametrize("values", [("1A", "A1"), ("1", "ä"), ("1 2", "3 4"), ("1", "1"), ("a", "b")])
def test_what_has_no_common_shape_has_no_pattern(values):
    learned = learn(*[parse(f"PID|1||{value}^^^X") for value in values * 3])
    assert place(learned, "PID-3.1").pattern == ""


def test_segments_are_learned_by_type_and_event():
    learned = learn(*[parse("EVN|A01", "PID|1", "NK1|1", "NK1|2")] * 3, *[parse("PID|1", event="A08")] * 3)
    admitted = {s.name: (s.usage, s.only_one) for s in learned.segments["ADT^A01"]}
    assert admitted == {"MSH": ("R", True), "EVN": ("R", True), "PID": ("R", True), "NK1": ("R", False)}
    assert {s.name for s in learned.segments["ADT^A08"]} == {"MSH", "PID"}
    assert {s.name: s.usage for s in learned.everywhere} == {"MSH": "R", "EVN": "RE", "PID": "R", "NK1": "RE"}


def test_a_field_that_has_components_in_one_version_only_is_learned_as_one():
    learned = learn(
        *[parse(f"PID|1|||||||{sex}", version="2.3") for sex in "FM" * 5],
        *[parse(f"PID|1|||||||{sex}^x", version="2.8") for sex in "FM" * 5],
    )
    first = place(learned, "PID-8.1")
    assert (first.of, first.filled, first.usage) == (20, 20, "R")
    assert set(first.values) >= {"F", "M"}
    assert place(learned, "PID-8.2").usage == "RE"
    assert place(learned, "PID-8").values == ()


# -- no patient's data --------------------------------------------------------------------------------

WORDS = st.text(alphabet="QXZ789", min_size=5, max_size=12)


@given(st.lists(st.lists(WORDS, min_size=8, max_size=8), min_size=3, max_size=8))
def test_no_name_number_text_or_result_comes_into_the_file(tmp_path_factory, people):
    sent = []
    for name, number, street, phone, text, result, diagnosis, allergy in people:
        pid = f"PID|1|{number}|{number}^^^NORTH^MR||{name}^{name}^{name}||19700101|F|||{street}^^{street}||{phone}"
        obx = f"OBX|1|ST|{text}^{text}^L||{result}|{text}|{text}|N|||F|||20260101||{name}^{name}"
        more = (f"DG1|1||{diagnosis}^{diagnosis}^I10", f"AL1|1|DA|{allergy}^{allergy}", f"NTE|1||{text}", f"ZXX|{name}")
        sent += [parse(pid, obx, *more)] * 6
    text = learned_document(learn(*sent, closed=True)).text()
    told = re.sub(r"#.*", "", text)
    for values in people:
        for value in values:
            assert value not in told


# -- the file -----------------------------------------------------------------------------------------


def test_the_file_is_read_back_with_the_same_rules(tmp_path):
    learned = learn(*(Message.parse(path.read_bytes()) for path in sorted((ROOT / "samples/adt").glob("*"))))
    (tmp_path / "learned.yaml").write_text(learned_document(learned).text())
    loaded, findings = load_profile("learned.yaml", AnyFiles(tmp_path))
    assert findings == []
    own = {rule.id for rule in loaded.profiles.choices[0][1].all_rules()}
    assert own == set(rules_of(learned))
    (_, profile), *_ = loaded.profiles.choices
    assert profile.standard.default == "observe"
    assert {rule.mode for rule in profile.all_rules()} == {"warn"}
    evidence = {e.path: (e.evidence.of, e.evidence.filled) for e in profile.rules.elements}
    assert evidence == {p.path: (p.of, p.filled) for p in learned.places}


def test_a_file_by_sender_has_a_profile_for_each(tmp_path):
    of_senders = {
        "HIS|NORTH": learn(*[parse("PID|1||7")] * 3),
        "LAB|": learn(*[parse("PID|1||||A")] * 3),
    }
    (tmp_path / "p.yaml").write_text(learned_by_sender(learn(parse("PID|1")), of_senders).text())
    loaded, findings = load_profile("p.yaml", AnyFiles(tmp_path))
    assert findings == []
    chosen = loaded.profiles.choose(Message.parse(b"MSH|^~\\&|LAB||||2026||ADT^A01|1|P|2.5\r"))
    assert [e.path for e in chosen.rules.elements if e.segment == "PID"] == ["PID-1", "PID-5", "PID-5.1"]
    assert [body.learned.senders for body in loaded.bodies if body.learned] == [("HIS|NORTH",), ("LAB|",)]


# -- the proof ----------------------------------------------------------------------------------------

ODD = ("refused", "held", "unknown", "not-for", "filtered", "long-name")
"""In the names of cases whose message is not as the sender's usually are: that is what they are about."""
SOURCES = {
    channel: (f"channels/{channel}/cases/*/in*.hl7", f"samples/{channel}/*.hl7")
    for channel in ("adt", "orders", "results")
}


def samples(channel: str, *, odd: bool = False) -> list[Message]:
    """The messages of a channel's cases and samples."""
    found = []
    for pattern in SOURCES[channel]:
        for path in sorted(ROOT.glob(pattern)):
            if any(word in path.parent.name for word in ODD) == odd:
                raw = path.read_bytes()
                raw = raw if b"\r" in raw else raw.replace(b"\n", b"\r")
                found += [Message.parse(part) for part in split_batch(raw) if part.strip()]
    return found


def halves(channel: str) -> tuple[list[Message], list[Message]]:
    """The same two halves every time, chosen by a checksum of the bytes, not by anybody's eye."""
    both: tuple[list[Message], list[Message]] = ([], [])
    for message in samples(channel):
        both[zlib.crc32(message.raw) % 2].append(message)
    return both


@pytest.fixture
def learned_validator(tmp_path: Path) -> Callable[[list[Message]], Validator]:
    """A validator for the profile that is learned from messages, written to a file and read from there."""

    def make(sent: list[Message]) -> Validator:
        (tmp_path / "learned.yaml").write_text(learned_document(learn(*sent, least=10)).text())
        loaded, findings = load_profile("learned.yaml", AnyFiles(tmp_path))
        assert findings == []
        return Validator(loaded.profiles.choices[0][1])

    return make


def broken(validator: Validator, message: Message) -> set[str]:
    """The rules of the profile that a message breaks; the standard's own are observed only."""
    return {found.rule for found in validator.validate(message).violations if found.mode != "observe"}


@pytest.mark.parametrize("channel", SOURCES)
@pytest.mark.parametrize("half", [0, 1])
def test_a_profile_learned_from_half_of_a_channels_samples_accepts_the_other_half(learned_validator, channel, half):
    both = halves(channel)
    validator = learned_validator(both[half])
    assert both[1 - half]
    assert {rule for message in both[1 - half] for rule in broken(validator, message)} == set()


DEVIATIONS: dict[str, Callable[[Message], object]] = {
    "PID-3.usage": lambda m: m.set("PID-3", ""),
    "PID-3.4.usage": lambda m: m.set("PID-3[*].4", ""),
    "PID-3.5.values": lambda m: m.set("PID-3[*].5", "QQ"),
    "PID-3.cardinality": lambda m: compile_raw(m, "PID-3", "~".join(f"{n}^^^NORTH^MR" for n in range(1, 10))),
    "PID-5.2.length": lambda m: m.set("PID-5.2", "A" * 90),
    "PID-7.1.pattern": lambda m: m.set("PID-7", "1.1.1970"),
    "PID-11.5.usage": lambda m: m.set("PID-11.5", ""),
    "PV1-2.1.values": lambda m: m.set("PV1-2", "Q"),
    "PV1-19.1.pattern": lambda m: m.set("PV1-19.1", "12/34567"),
    "MSH-10.pattern": lambda m: m.set("MSH-10", "2026.0001"),
    "EVN.usage": lambda m: m.delete_segments(m.indexes("EVN")),
    "PV1.cardinality": lambda m: m.insert_segment(len(m), m.segment(m.indexes("PV1")[0])),
}


def compile_raw(message: Message, path: str, text: str) -> None:
    from engine.hl7.path import compile_path

    compile_path(path).set_raw(message, text)


def test_ten_planted_deviations_and_more_are_each_named(learned_validator):
    learned_from, others = halves("adt")
    validator = learned_validator(learned_from)
    usual = next(m for m in others if m.get("MSH-9.2") == "A01" and m.get("PV1-19.1"))
    assert broken(validator, usual) == set()
    named = {}
    for rule, deviate in DEVIATIONS.items():
        message = usual.copy()
        deviate(message)
        named[rule] = broken(validator, message)
    assert named == {rule: {rule} for rule in DEVIATIONS}
    assert len(named) >= 10


def test_what_cases_do_wrong_on_purpose_is_named_too(learned_validator):
    validator = learned_validator(samples("adt"))
    found = {rule for message in samples("adt", odd=True) for rule in broken(validator, message)}
    assert found >= {"PID-5.1.length", "PID-7.1.pattern", "EVN-2.usage", "PID-5.1.usage"}


# -- whatever comes -----------------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=200), max_size=6))
def test_whatever_bytes_come_something_is_learned_that_can_be_read(tmp_path_factory, tails):
    learner = Learner(least=1, closed=True)
    for tail in tails:
        learner.add(Message.parse(b"MSH|^~\\&|A|B|||2026||ADT^A01|1|P|2.5.1\r" + tail))
    folder = tmp_path_factory.mktemp("any")
    (folder / "p.yaml").write_text(learned_document(learner.learned()).text(), encoding="utf-8")
    loaded, findings = load_profile("p.yaml", AnyFiles(folder))
    assert not [finding for finding in findings if finding.is_error]
    assert loaded is not None
    assert differences(loaded.profiles, loaded.profiles) == []


def test_the_public_corpus_is_learned_compared_and_accepted_by_what_was_learned(tmp_path):
    """Its profile, learned from all of it, says nothing against any of it; `SEGMILL_CORPUS` names the folder."""
    if not (folder := os.environ.get("SEGMILL_CORPUS")):
        pytest.skip("SEGMILL_CORPUS names no folder of samples")
    sent = []
    for path in sorted(Path(folder).glob("*.hl7")):
        for part in split_batch(path.read_bytes().replace(b"\r\n", b"\r").replace(b"\n", b"\r")):
            with contextlib.suppress(UnreadableMessage):
                sent.append(Message.parse(part))
    assert len(sent) > 200
    learner = Learner(least=10)
    for message in sent:
        learner.add(message)
    (tmp_path / "p.yaml").write_text(learned_document(learner.learned()).text(), encoding="utf-8")
    loaded, findings = load_profile("p.yaml", AnyFiles(tmp_path))
    assert not [finding for finding in findings if finding.is_error]
    validator = Validator(loaded.profiles.choices[0][1])
    assert Counter(rule for message in sent for rule in broken(validator, message)) == {}
