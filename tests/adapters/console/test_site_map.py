"""The map: one node a system, a line a way, and what is wrong in more than a colour."""

import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from engine.adapters.console.map_drawing import draw
from engine.adapters.console.site_map import Where, filtered, map_of
from engine.model.ids import ChannelName, DestinationName
from engine.ports.control import ChannelStatus, FeedStatus, LaneStatus, SenderStatus
from tests.e2e.console_engine import HOSTILE
from tests.work import calls_of


def lane(channel: str, destination: str, state: str = "idle", **more) -> LaneStatus:
    given = {"queued": 0, "held": 0, "oldest_us": 0, "attempts": 0, "last_note": ""} | more
    return LaneStatus(ChannelName(channel), DestinationName(destination), state, **given)


def channel(name: str, *lanes: LaneStatus, senders=("HIS|NORTH",), feeds=(), **more) -> ChannelStatus:
    return ChannelStatus(
        ChannelName(name), "127.0.0.1:2575", 0, 0, {}, lanes,
        senders=tuple(SenderStatus(sender, {}) for sender in senders), feeds=feeds, **more,
    )  # fmt: skip


PLACES = {
    ("adt", "ris"): Where("mllp", "ris.local:6661"),
    ("orders", "ris"): Where("mllp", "ris.local:6661"),
    ("orders", "archive"): Where("file", "out"),
    ("orders", "modalities"): Where("worklist", ""),
}


def site(*more: ChannelStatus):
    orders = channel(
        "orders",
        lane("orders", "ris", "down", queued=300),
        lane("orders", "archive"),
        lane("orders", "modalities", held=2),
        senders=("HIS|NORTH", "RIS|NORTH"),
    )
    return map_of([channel("adt", lane("adt", "ris")), orders, *more], PLACES, {"adt": 12.0}, {("adt", "ris"): 11.5})


def test_a_system_that_talks_to_several_channels_is_there_once():
    found = site()
    assert [node.name for node in found.senders] == ["HIS", "RIS"]
    assert [node.name for node in found.receivers] == ["ris.local:6661", "out", "modalities"]
    assert len(found.ins) == 3 and len(found.outs) == 4
    assert found.channels[0].about == "12/min · 127.0.0.1:2575"


def test_a_way_leads_to_its_messages_or_to_its_queue_where_something_waits():
    ways = {edge.key: edge for edge in site().outs}
    assert ways["adt/ris queued"].to == "/messages?channel=adt"
    down = ways["orders/ris queued"]
    assert (down.look, down.words, down.to, down.queued) == ("bad", "receiver down", "/queues/orders/ris", 300)
    assert ways["orders/modalities queued"].words == "2 held"
    assert ways["orders/modalities queued"].look == "warn"
    assert site().ins[0].to == "/messages?channel=adt&sender=HIS"


def test_a_silent_feed_and_a_channel_that_heard_nothing_yet():
    quiet = FeedStatus(ChannelName("adt"), "HIS|NORTH", "ADT^A08", 1, 40.0, 40.0, True)
    found = map_of([channel("adt", feeds=(quiet,)), channel("new", senders=())], {}, {}, {})
    assert [(edge.look, edge.words) for edge in found.ins] == [
        ("bad", "silent: ADT^A08"), ("quiet", "nothing came yet"),
    ]  # fmt: skip


def test_a_channel_with_many_senders_has_the_rest_as_one():
    found = map_of([channel("adt", senders=tuple(f"S{n}|X" for n in range(30)))], {}, {}, {})
    assert len(found.senders) == 13 and found.senders[-1].about == "18 senders"


@pytest.mark.parametrize(
    ("words", "channels"),
    [
        ("", 2),
        ("orders", 1),
        ("ris.local", 2),
        ("out", 1),
        ("RIS north", 1),
        ("his", 2),
        ("nothing", 0),
        ("archive", 1),
    ],
)
def test_the_filter_keeps_the_ways_that_belong_to_what_it_finds(words, channels):
    found = filtered(site(), words)
    assert len(found.channels) == channels
    kept = {node.id for node in (*found.senders, *found.channels, *found.receivers)}
    assert all({edge.before, edge.after} <= kept for edge in (*found.ins, *found.outs))


def test_what_is_wrong_shows_by_words_and_a_sign():
    text = str(draw(site()))
    root = ElementTree.fromstring(text)
    ways = {way.get("aria-label"): way for way in root.iter("a") if (way.get("class") or "").startswith("way")}
    (down,) = [label for label in ways if "receiver down" in label]
    assert down == "orders to mllp ris.local:6661 (ris): receiver down, 0/min, 300 queued"
    said = "".join(ways[down].itertext())
    assert "⚠ ris, 300 queued, receiver down" in said
    assert "style=" not in text


def test_names_from_messages_and_files_run_nothing():
    for hostile in HOSTILE:
        found = map_of(
            [channel("adt", lane("adt", "ris"), senders=(f"{hostile}|{hostile}",), intake_paused_by=hostile)],
            {("adt", "ris"): Where("mllp", hostile)}, {}, {},
        )  # fmt: skip
        text = str(draw(found))
        tags = set(re.findall(r"<(/?\w+)", text))
        assert tags <= {"svg", "/svg", "a", "/a", "g", "/g", "title", "/title", "rect", "path", "text", "/text"}, (
            hostile
        )
        assert not re.search(r"<[^>]*\son\w+=(?![^<]*&)", re.sub(r'"[^"]*"', '""', text)), hostile
        hrefs = re.findall(r'href="([^"]*)"', text)
        assert all(href.startswith("/") and not href.startswith("//") for href in hrefs), hostile


def test_no_box_covers_another_also_with_200_channels():
    many = [channel(f"c{n}", lane(f"c{n}", "a"), lane(f"c{n}", "b"), senders=(f"S{n % 40}|X",)) for n in range(200)]
    places = {(f"c{n}", to): Where("mllp", f"h{n % 60}:{1 if to == 'a' else 2}") for n in range(200) for to in "ab"}
    whole = map_of(many, places, {}, {})
    root = ElementTree.fromstring(str(draw(whole)))
    by_column: dict[str, list[float]] = {}
    for rect in root.iter("rect"):
        by_column.setdefault(rect.get("x"), []).append(float(rect.get("y")))
    assert {len(tops) for tops in by_column.values()} == {40, 200, 120}
    for tops in by_column.values():
        assert all(below - above >= 44 for above, below in zip(sorted(tops), sorted(tops)[1:], strict=False))
        assert min(tops) >= 0 and max(tops) + 44 <= float(root.get("height"))


def words_of(root: ElementTree.Element) -> dict[tuple[str, str], list[float]]:
    """The heights of the words of all ways, by where they stand."""
    found: dict[tuple[str, str], list[float]] = {}
    for way in root.iter("a"):
        if (way.get("class") or "").startswith("way"):
            for text in way.iter("text"):
                place = str(text.get("x")), str(text.get("text-anchor"))
                found.setdefault(place, []).append(float(text.get("y", "")))
    return found


@pytest.mark.parametrize("number", [1, 2, 5, 30])
def test_words_of_ways_stand_one_below_the_other_where_one_sender_feeds_several_channels(number):
    many = [channel(f"c{n}", lane(f"c{n}", "ris"), senders=("HIS|X", f"S{n}|X")) for n in range(number)]
    places = {(f"c{n}", "ris"): Where("mllp", "ris.local:6661") for n in range(number)}
    root = ElementTree.fromstring(str(draw(map_of(many, places, {}, {}))))
    words = words_of(root)
    assert sorted(len(heights) for heights in words.values()) == [number, 2 * number]
    for heights in words.values():
        ordered = sorted(heights)
        assert all(below - above >= 11 for above, below in pairwise(ordered))
    kinds = [child.tag for child in root]
    assert kinds == sorted(kinds, key=lambda tag: tag != "path"), "lines are below all words"


def test_a_long_name_takes_two_lines_and_leaves_out_its_middle():
    names = [f"north-hospital-laboratory-results-to-the-patient-record-number-{n}" for n in (1, 2)]
    root = ElementTree.fromstring(str(draw(map_of([channel(name) for name in names], {}, {}, {}))))
    lines = [str(text.text) for text in root.iter("text") if text.get("class") == "name" and "-" in str(text.text)]
    assert lines[1].startswith("…") and (lines[1][-9:], lines[3][-9:]) == ("-number-1", "-number-2")
    assert lines[0] == lines[2] == "north-hospital-laboratory-"
    titles = [str(title.text) for title in root.iter("title")]
    assert all(any(title.startswith(name) for title in titles) for name in names), "whole where one points at it"


def test_a_node_that_is_higher_than_a_screen_says_its_name_again():
    many = [channel(f"c{n}", senders=("HIS|X",)) for n in range(60)]
    root = ElementTree.fromstring(str(draw(map_of(many, {}, {}, {}))))
    assert [str(text.text) for text in root.iter("text")].count("HIS") == 2


def test_the_work_grows_with_the_ways_and_not_with_their_square():
    def work(number: int) -> int:
        many = [channel(f"c{n}", lane(f"c{n}", "a"), senders=(f"S{n}|X",)) for n in range(number)]
        return calls_of(lambda: draw(map_of(many, {}, {}, {})))

    assert work(400) < 5 * work(100)
