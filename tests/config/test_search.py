"""The language of the search box: what can be said, and what is said of what cannot be read."""

from datetime import UTC, datetime

import pytest

from engine.config.search import (
    MOST_CHARS,
    MOST_TERMS,
    Search,
    SearchError,
    from_address,
    in_address,
    parse_search,
    without,
)
from engine.hl7.message import Message

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
NOW_US = int(NOW.timestamp() * 1_000_000)
HOUR_US = 3_600_000_000
KEYS = ("mrn", "visit", "accession")
MESSAGE = Message.parse(
    b'MSH|^~\\&|LAB|MAIN|||2026||ORU^R01|C1\rPID|1||1^^^A^MR~2^^^A^PI||M"X^A B\rOBX|1||a\rOBX|2||b\r'
)


def read(text: str) -> Search:
    return parse_search(text, KEYS, NOW)


@pytest.mark.parametrize(
    ("text", "search"),
    [
        ("", Search()),
        ("  \t ", Search()),
        ("channel:lab", Search(channel="lab")),
        ("channel=lab", Search(channel="lab")),
        ("state:held", Search(states=("held",), delivery_states=("held",))),
        ("state:queued,failed", Search(delivery_states=("queued", "failed"))),
        ("state:processed", Search(states=("processed",))),
        ("type:oru", Search(message_type="ORU")),
        ("type:ADT^A01", Search(message_type="ADT^A01")),
        ("type:ADT_A01", Search(message_type="ADT^A01")),
        ("type:ADT^*", Search(message_type="ADT")),
        ('sender:"LAB SYSTEM"', Search(sender="LAB SYSTEM")),
        ("control:C1", Search(control_id="C1")),
        ("since:1h", Search(since_us=NOW_US - HOUR_US)),
        ("until:2026-01-02T11:00+00:00", Search(until_us=NOW_US - HOUR_US)),
        ("mrn=4711", Search(keys=(("mrn", "4711"),))),
        ("mrn:AbC", Search(keys=(("mrn", "abc"),))),
        ("key.visit=V1", Search(keys=(("visit", "v1"),))),
        ("mrn=1 visit=2 mrn=1", Search(keys=(("mrn", "1"), ("visit", "2")))),
        ("4711", Search(number="4711")),
        ("key:4711", Search(number="4711")),
        ('"47 11"', Search(number="47 11")),
        ("P-1/2.3", Search(number="P-1/2.3")),
        ('text:"Müller, Anna"', Search(texts=("Müller, Anna",))),
        (r'text:"say \"yes\" \\"', Search(texts=('say "yes" \\',))),
        ("text:ab text:cd", Search(texts=("ab", "cd"))),
    ],
)
def test_what_is_said_is_read(text: str, search: Search) -> None:
    assert read(text) == search


def test_a_state_that_is_not_meant_leaves_the_others() -> None:
    assert "processed" not in read("state!=processed").states
    assert "held" in read("state!=processed").states


@pytest.mark.parametrize(
    ("text", "ours"),
    [
        ("state:sent", "state:delivered"),
        ("status:errored", "state:held,failed,rejected"),
        ("state:sent,pending", "state:delivered,queued"),
        ("state:refused", "state:rejected"),
        ("state:transformed", "state:processed"),
        ("id:C1", "control:C1"),
    ],
)
def test_words_of_other_engines_and_of_the_console_are_taken(text: str, ours: str) -> None:
    assert read(text) == read(ours)


def test_a_key_that_is_called_so_is_meant_first() -> None:
    found = parse_search("id=7 status:a,b", ("id", "status"), NOW)
    assert found.keys == (("id", "7"), ("status", "a,b"))


@pytest.mark.parametrize(
    ("text", "given"),
    [
        ("", {}),
        ("channel:lab status:sent since:1h", {"channel": ["lab"], "state": ["sent"], "since": ["1h"]}),
        ('sender:"LAB SYSTEM" id:"a,b"', {"sender": ["LAB SYSTEM"], "control": ["a,b"]}),
        ("type:ORU^R01 until:2026-01-02T11:00+00:00", {"type": ["ORU^R01"], "until": ["2026-01-02T11:00+00:00"]}),
        (r'sender:"say \"yes\" \\"', {"sender": ['say "yes" \\']}),
        ("state:held,failed", {"state": ["held", "failed"]}),
    ],
)
def test_what_is_no_value_can_stand_in_an_address_and_come_back_from_there(
    text: str, given: dict[str, list[str]]
) -> None:
    assert in_address(text, KEYS) == given
    assert read(from_address(given)) == read(text)


def test_terms_can_be_taken_off() -> None:
    text = 'PID-3[5 == "M R"].1=7 since:1h  text:"since:2h a" until:2026-01-02T11:00+00:00'
    assert without(text, ("since", "until"), KEYS) == 'PID-3[5 == "M R"].1=7 text:"since:2h a"'
    assert without("since:1h", ("since",), ("since",)) == ""


def test_states_that_are_not_meant_come_back_as_those_that_are() -> None:
    given = in_address("state!=processed", KEYS)
    assert given is not None
    assert "processed" not in read(from_address(given)).states


@pytest.mark.parametrize("text", ["mrn=1", "channel:lab key:1", "4711", "text:ab", "PID-3.1=1", "key.mrn:1"])
def test_a_search_for_a_value_has_no_address(text: str) -> None:
    assert in_address(text, KEYS) is None


def test_the_search_of_the_manual() -> None:
    found = read("PID-3.1=12345 channel:results state:held since:1h")
    assert (found.channel, found.since_us) == ("results", NOW_US - HOUR_US)
    assert [path.text for path in found.paths] == ["PID-3.1="]
    assert found.needs_bodies


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("PID-3.1=1", True),
        ("PID-3.1=2", True),
        ("PID-3.1=3", False),
        ("PID-3.1!=2", False),
        ("PID-3.1!=3", True),
        ('PID-3[5 == "PI"].1=2', True),
        ('PID-3[5 == "PI"].1=1', False),
        ("OBX-3=b", True),
        ("OBX[1]-3=b", False),
        ('PID-5.1="M\\"X"', True),
        ("PID-5.2~B", True),
        ("PID-5.2~C", False),
        ('PID-8=""', True),
        ("MSH-9.2=R01", True),
    ],
)
def test_a_place_is_asked_for_its_value(text: str, holds: bool) -> None:
    (path,) = read(text).paths
    assert path.condition(MESSAGE) is holds


def test_only_a_value_that_is_written_in_one_way_is_looked_for_as_it_stands() -> None:
    quoted = {text: read(text).paths[0].quoted for text in ("PID-3.1=4711", "PID-3.1~4711", "PID-3.1!=1", "PID-5=A&B")}
    assert quoted == {"PID-3.1=4711": "4711", "PID-3.1~4711": "4711", "PID-3.1!=1": "", "PID-5=A&B": ""}


@pytest.mark.parametrize(
    ("text", "column", "message", "hint"),
    [
        ("chanel:lab", 0, "'chanel' is nothing to search by", "did you mean 'channel'?"),
        ("channel:lab mnr=1", 12, "'mnr' is nothing", "did you mean 'mrn'?"),
        ("state:hold", 6, "'hold' is no state", "did you mean 'held'?"),
        ("state:held,", 11, "a value is missing", ""),
        ("since:yesterday", 6, "no time", "write 30m"),
        ("channel:", 8, "a value is missing", ""),
        ("channel: lab", 8, "a value is missing", ""),
        ('text:"open', 5, "never closed", '\\"'),
        ("text:a", 5, "at least 2", ""),
        ("channel:a channel:b", 10, "said twice", ""),
        ("channel!=a", 0, "!= is for states and paths", ""),
        ("mrn!=1", 0, "!= is for states and paths", ""),
        ("state:held meier", 11, "no message number", "text:meier"),
        ("1 2", 2, "two numbers", "text:"),
        ('mrn=" "', 4, "a value is missing", ""),
        ("PID-=1", 0, "", ""),
        ("PID-3[=1", 0, "bracket is never closed", ""),
        ("PID-0.x=1", 0, "", ""),
        ("type:ADT^A01^X", 5, "no message type", "such as"),
        ('a"b', 1, "a blank is missing", ""),
        ("x" * (MOST_CHARS + 1), MOST_CHARS, "at most", ""),
        ("text:ab " * (MOST_TERMS + 1), 8 * MOST_TERMS, "at most", ""),
    ],
)
def test_what_cannot_be_read_is_said_with_its_place(text: str, column: int, message: str, hint: str) -> None:
    with pytest.raises(SearchError) as raised:
        read(text)
    assert raised.value.column == column
    assert message in raised.value.message
    assert hint in raised.value.hint
