"""Drift: told once when it begins, with since when, for each sender alone; once when it ends; within bounds."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.hl7.drift import LEAST, MOST_SENDERS, PER_SECOND, WINDOW, Drift, DriftWatch
from engine.hl7.message import Message
from engine.hl7.profile import Element, Evidence, Profile, ProfileSet, Rule, Rules, Sender, Usage

MONDAY = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
AUTHORITY = Element("PID", 3, 4, name="assigning authority", evidence=Evidence(200, 198))
UNUSED = Element("PID", 19, usage=Usage(Rule("PID-19.usage"), "X"), evidence=Evidence(200, 0))
SOMETIMES = Element("PID", 11, evidence=Evidence(200, 100))
FEW = Element("PID", 8, evidence=Evidence(3, 3))


def watch(*elements: Element) -> DriftWatch:
    profile = Profile("learned", rules=Rules(elements or (AUTHORITY, UNUSED, SOMETIMES, FEW)))
    return DriftWatch(ProfileSet(((Sender(), profile),)))


def message(sender: str = "HIS", pid3: str = "1^^^NORTH^MR", ssn: str = "") -> Message:
    return Message.parse(f"MSH|^~\\&|{sender}|N|||2026||ADT^A01|1|P|2.5.1\rPID|1||{pid3}{'|' * 16}{ssn}\r".encode())


class Feed:
    """Sends one message a minute and keeps what was told."""

    def __init__(self, watch: DriftWatch) -> None:
        self.watch = watch
        self.now = MONDAY
        self.told: list[Drift] = []

    def send(self, count: int, **kind: str) -> list[Drift]:
        found: list[Drift] = []
        for _ in range(count):
            self.now += timedelta(minutes=1)
            found += self.watch.observe(message(**kind), self.now)
        self.told += found
        return found


def test_a_place_that_was_always_filled_and_is_empty_now_is_told_once_with_since_when():
    feed = Feed(watch())
    assert feed.send(100) == []
    began = feed.now + timedelta(minutes=1)
    found = feed.send(100, pid3="1^^^^MR")
    assert [(d.place, d.sender, d.has_begun, d.since) for d in found] == [("PID-3.4", "HIS|N", True, began)]
    assert found[0].text == (
        "PID-3.4 (assigning authority) had a value 198 of 200 times when the profile was learned; since "
        "Monday 2026-01-05 09:41 UTC it is empty in 25 of the last 50 messages of this sender"
    )


def test_its_end_is_told_once_too_and_it_can_begin_again():
    feed = Feed(watch())
    feed.send(50, pid3="1")
    feed.send(100)
    feed.send(100, pid3="1")
    assert [d.has_begun for d in feed.told] == [True, False, True]
    assert feed.told[2].since > feed.told[1].since


def test_a_place_that_was_never_filled_and_is_now_is_told():
    (found,) = Feed(watch()).send(WINDOW, ssn="12")
    assert found.place == "PID-19"
    assert "had no value in 200 messages" in found.text
    assert "12" not in found.text.replace("2026", "")[:40]


def test_senders_are_watched_each_alone():
    feed = Feed(watch())
    feed.send(40)
    found = feed.send(40, sender="LAB", pid3="1")
    assert [d.sender for d in found] == ["LAB|N"]
    assert feed.watch.drifting(["HIS|N"]) == {
        ("HIS|N", "PID-3.4"): 0,
        ("HIS|N", "PID-19"): 0,
        ("other", "PID-3.4"): 1,
        ("other", "PID-19"): 0,
    }


@pytest.mark.parametrize("pid3", ["", "1^^^NORTH", '1^^^NORTH~2^^^""~3^^^NORTH'])
def test_what_cannot_have_it_or_mostly_has_it_does_not_count(pid3):
    assert Feed(watch(AUTHORITY)).send(200, pid3=pid3) == []


def test_the_delete_marker_is_no_value():
    assert len(Feed(watch(AUTHORITY)).send(LEAST, pid3='1^^^""')) == 1


def test_nothing_is_told_of_a_few_messages():
    assert Feed(watch()).send(LEAST - 1, pid3="1") == []


def test_only_what_was_nearly_always_or_never_filled_is_watched():
    assert not watch(SOMETIMES, FEW, Element("PID", 5)).is_needed
    assert watch(AUTHORITY).is_needed


def test_one_in_ten_that_differs_is_no_drift():
    feed = Feed(watch(AUTHORITY))
    for _ in range(50):
        feed.send(9)
        feed.send(1, pid3="1")
    assert feed.told == []


def test_the_number_of_senders_has_a_bound():
    feed = Feed(watch())
    for number in range(MOST_SENDERS + 20):
        feed.send(LEAST, sender=f"S{number}", pid3="1")
    assert len({d.sender for d in feed.told}) == MOST_SENDERS


def test_the_number_of_messages_in_a_second_has_a_bound():
    looked = watch()
    for _ in range(PER_SECOND - 1):
        looked.observe(message(), MONDAY)
    found = [d for _ in range(1000) for d in looked.observe(message(pid3="1"), MONDAY)]
    assert found == []
    assert sum(bool(looked.observe(message(pid3="1"), MONDAY + timedelta(seconds=n))) for n in range(1, 60)) == 1


@given(st.lists(st.tuples(st.booleans(), st.sampled_from(["HIS", "LAB"])), max_size=400))
def test_begins_and_ends_alternate_and_a_drift_is_of_at_least_half(sent):
    feed = Feed(watch(AUTHORITY))
    told: dict[str, list[bool]] = {"HIS|N": [], "LAB|N": []}
    newest: dict[str, list[bool]] = {"HIS|N": [], "LAB|N": []}
    for is_empty, sender in sent:
        found = feed.send(1, sender=sender, pid3="1" if is_empty else "1^^^NORTH")
        newest[f"{sender}|N"].append(is_empty)
        for drift in found:
            last = newest[drift.sender][-WINDOW:]
            assert (sum(last) * 2 >= len(last)) if drift.has_begun else (sum(last) * 10 <= len(last))
            told[drift.sender].append(drift.has_begun)
    for of_sender in told.values():
        assert of_sender == [number % 2 == 0 for number in range(len(of_sender))]
