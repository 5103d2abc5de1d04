"""What needs a person is told to those who may see it, worst first, and leads to where something can be done."""

import re
from pathlib import Path

import pytest

from engine.adapters.console.attention import OLD_S, Site, things
from engine.adapters.console.docs import anchor
from engine.adapters.tls_status import RevocationList
from engine.docs.topics import topics
from engine.model.access import SITE, Principal
from engine.model.ids import ChannelName, DestinationName
from engine.ports.control import ChannelStatus, FeedStatus, LaneStatus, RetentionReport

NOW_US = 1_800_000_000_000_000
SECOND = 1_000_000
TOO_OLD_US = NOW_US - int((OLD_S + 1) * SECOND)
ANNA = Principal("anna", {SITE: "viewer"})
BEN = Principal("ben", {"adt": "viewer"})


def lane(state: str = "idle", **more) -> LaneStatus:
    given = {"queued": 0, "held": 0, "oldest_us": 0, "attempts": 0, "last_note": ""} | more
    return LaneStatus(ChannelName("adt"), DestinationName("ris"), state, **given)


def channel(*lanes: LaneStatus, paused: str = "", feeds: tuple[FeedStatus, ...] = ()) -> ChannelStatus:
    return ChannelStatus(ChannelName("adt"), "127.0.0.1:2575", 0, 0, {}, lanes, intake_paused_by=paused, feeds=feeds)


def feed(is_silent: bool) -> FeedStatus:
    return FeedStatus(ChannelName("adt"), "HIS|NORTH", "ADT^A08", NOW_US - 3600 * SECOND, 40.0, 40.0, is_silent)


def told(*channels: ChannelStatus, held: int = 0, site: Site | None = None, who: Principal = ANNA):
    return things(who, channels, {"adt": held}, site or Site(), NOW_US)


def test_where_all_is_well_nothing_is_told():
    site = Site(free_bytes=10**12, low_bytes=10**9, certificates={"adt": NOW_US / SECOND + 90 * 86_400})
    site_ = Site(
        free_bytes=site.free_bytes, low_bytes=site.low_bytes, certificates=site.certificates,
        retention=RetentionReport(True, "", 0, 0, 0),
    )  # fmt: skip
    assert told(channel(lane(), feeds=(feed(False),)), site=site_) == []


@pytest.mark.parametrize(
    ("one", "look", "words", "leads"),
    [
        (lane("down", queued=12, oldest_us=NOW_US - 60 * SECOND, last_note="refuses connections"), "bad",
         "adt/ris cannot be reached, 12 messages wait: refuses connections.", "/queues/adt/ris"),
        (lane("down", queued=1), "bad", "adt/ris cannot be reached, 1 message waits.", "/queues/adt/ris"),
        (lane("stopped", queued=2), "bad", "adt/ris stands at a message that was refused", "/queues/adt/ris"),
        (lane("failed"), "bad", "adt/ris failed by a defect of the engine.", "/queues/adt/ris"),
        (lane("paused", paused_by="anna: new RIS", queued=1), "warn", "paused by anna: new RIS, 1 message", "/queues/"),
        (lane("sending", queued=3, oldest_us=TOO_OLD_US), "warn", "oldest for 15 min", "/queues/"),
        (lane("waiting", blocked=2), "warn", "2 keys held up", "/queues/adt/ris"),
    ],
)  # fmt: skip
def test_a_destination_in_trouble(one, look, words, leads):
    (found,) = told(channel(one))
    assert found.look == look and words in found.text and found.to.startswith(leads) and found.todo


def test_what_waits_a_little_is_no_trouble():
    assert told(channel(lane("sending", queued=3, oldest_us=NOW_US - int((OLD_S - 1) * SECOND)))) == []


def test_a_silent_feed_leads_to_its_messages_and_is_none_while_intake_is_paused():
    (found,) = told(channel(feeds=(feed(True), feed(False))))
    assert found.text == "Silent: ADT^A08 of HIS|NORTH to adt; about 40 usually come in this time."
    assert found.to == "/messages?channel=adt&sender=HIS" and found.since_us == NOW_US - 3600 * SECOND
    (found,) = told(channel(paused="anna", feeds=(feed(True),)))
    assert found.kind == "paused"


def test_what_is_held_is_counted():
    (found,) = told(channel(), held=214)
    assert (found.text, found.to) == ("214 messages of adt are held.", "/held")
    (found,) = told(channel(), held=1)
    assert found.text == "1 message of adt is held."


def test_the_disk_and_retention_and_an_intake_that_is_closed():
    disk = Site(free_bytes=500_000_000, low_bytes=10**9, least_bytes=64_000_000)
    (found,) = told(site=disk)
    assert found.look == "warn" and "500 MB are free" in found.text
    full = Site(not_ready="the disk is full", free_bytes=1, low_bytes=10**9, least_bytes=64_000_000)
    assert [one.look for one in told(site=full)] == ["bad", "bad"]
    (found,) = told(site=Site(retention=RetentionReport(True, "the clock jumped", 0, 0, 0)))
    assert "the clock jumped" in found.text
    (found,) = told(site=Site(damaged=1))
    assert found.text == "Damaged in the store, and so held: 1 entry."
    (found,) = told(site=Site(damaged=3))
    assert found.text == "Damaged in the store, and so held: 3 entries."


def test_a_certificate_by_the_days_that_are_left():
    def found(days: float):
        return told(site=Site(certificates={"adt/ris": NOW_US / SECOND + days * 86_400}))

    assert found(22) == []
    assert found(20)[0].look == "warn" and "ends in 20 d" in found(20)[0].text
    assert found(2)[0].look == "bad"
    assert "has ended" in found(-1)[0].text


def test_who_may_see_one_channel_hears_nothing_of_others_or_of_the_site():
    site = Site(
        free_bytes=1, low_bytes=10**9, least_bytes=2, retention=RetentionReport(True, "x", 0, 0, 0), damaged=3,
        certificates={"console": 0.0, "results/epr": 0.0, "adt/ris": 0.0},
    )  # fmt: skip
    assert [one.text for one in told(site=site, who=BEN)] == ["The certificate of adt/ris has ended."]
    assert len(told(site=site)) == 6


def test_the_worst_come_first_and_the_older_of_them_before():
    found = told(
        channel(
            lane("paused", paused_by="x"),
            lane("down", oldest_us=NOW_US - 10 * SECOND),
            lane("down", oldest_us=NOW_US - 99 * SECOND),
        )
    )
    assert [(one.look, one.since_us) for one in found] == [
        ("bad", NOW_US - 99 * SECOND), ("bad", NOW_US - 10 * SECOND), ("warn", 0),
    ]  # fmt: skip


def test_each_leads_to_a_runbook_that_is_there():
    page = next(topic for topic in topics() if topic.name == "alerts")
    anchors = {anchor(section.title) for section in page.sections}
    source = Path("engine/adapters/console/attention.py").read_text()
    named = set(re.findall(r'\{RUNBOOK\}(\w+)"', source)) | {"destinationdown", "lanestopped", "lanefailed"}
    assert len(named) > 8
    assert {f"segmill{name}" for name in named} <= anchors


def test_a_list_of_revoked_certificates_is_told_in_the_last_twentieth_of_its_life_and_when_it_has_ended():
    now_s = NOW_US / SECOND
    week = 7 * 86_400.0

    def look(left_s: float) -> list[tuple[str, str]]:
        site = Site(lists={"adt": RevocationList(now_s + left_s - week, now_s + left_s)})
        return [(one.look, one.text) for one in told(site=site)]

    assert look(week * 0.06) == []
    ((kind, text),) = look(3 * 3600)
    assert kind == "warn" and text == "The list of revoked certificates of adt ends in 3 h."
    assert look(0) == [("bad", "The list of revoked certificates of adt has ended: nobody is let in.")]
    ended = Site(lists={"lab": RevocationList(0, 1)})
    assert told(site=ended, who=BEN) == [], "it is of a channel that he may not see"


def test_what_waits_for_its_tls_files_is_told_with_the_reason_to_those_who_may_see_the_place():
    site = Site(waiting={"adt/ris": "the TLS certificate in ris.crt expired on 2026-01-01", "traces": "no key"})
    assert [(one.look, one.text) for one in told(site=site)] == [
        ("bad", "adt/ris waits for its TLS files: the TLS certificate in ris.crt expired on 2026-01-01."),
        ("bad", "traces waits for its TLS files: no key."),
    ]
    (only,) = told(site=site, who=BEN)
    assert only.text.startswith("adt/ris ")
