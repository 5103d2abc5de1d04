"""The list of messages: what a search finds within what is granted, addresses without values, pages, and the export."""

import csv
import io
import json
import re
from collections.abc import Iterator

import pytest

from engine.adapters.console import searching
from engine.model.access import SITE
from tests.adapters.api.rig import Running, SignedIn, site
from tests.adapters.api.test_messages_and_orders import PATIENT, adt, rows, send
from tests.adapters.console.pages_rig import get, post, text

COUNT = 120


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """120 messages of adt of which two are held, and one of results."""
    started = Running(site(tmp_path_factory.mktemp("messages") / "site"))
    send(started, "adt", *(adt(f"A{n}") for n in range(COUNT - 2)), adt("H1", "NEW7"), adt("H2", "NEW7"))
    send(started, "results", adt("R1"))
    started.settled()
    yield started
    started.stop()


@pytest.fixture(scope="module")
def operator(filled: Running) -> SignedIn:
    return filled.user("operator", {SITE: "operator"})


@pytest.fixture(scope="module")
def viewer(filled: Running) -> SignedIn:
    return filled.user("viewer", {"results": "viewer"})


def numbers(page: str) -> list[int]:
    return [int(found) for found in re.findall(r'<th scope="row" class="number"><a href="/messages/(\d+)"', page)]


def link(page: str, rel: str) -> str | None:
    found = re.search(rf'href="([^"]+)" rel="{rel}"', page)
    return found[1].replace("&amp;", "&") if found else None


def searched(running: Running, signed: SignedIn, q: str, **more: str) -> str:
    """The address that a search leads to."""
    reply = post(running, signed, "/messages", {"q": q, **more})
    assert reply.status == 303, text(reply)
    return str(reply.headers["location"])


def test_the_list_goes_down_and_up_again_and_holds_no_value(filled: Running, operator: SignedIn):
    path: str | None = "/messages"
    pages = []
    while path is not None:
        reply = get(filled, operator, path)
        assert reply.status == 200
        assert PATIENT not in text(reply)
        pages.append(text(reply))
        path = link(pages[-1], "next")
    assert [seq for page in pages for seq in numbers(page)] == list(range(COUNT + 1, 0, -1))
    assert len(pages) == 3
    up = get(filled, operator, str(link(pages[2], "prev")))
    assert numbers(text(up)) == numbers(pages[1])
    top = get(filled, operator, str(link(text(up), "prev")))
    assert numbers(text(top)) == numbers(pages[0])
    assert link(text(top), "prev") is None
    beyond = get(filled, operator, f"/messages?after={COUNT + 1}")
    assert (beyond.status, beyond.headers["location"]) == (303, "/messages"), "nothing is newer: the newest are shown"
    assert rows(filled, "search") == [], "a list without values is not on record"


@pytest.mark.parametrize(
    ("q", "address", "found"),
    [
        ("channel:results", "/messages?channel=results", [COUNT + 1]),
        ("state:held", "/messages?state=held", [COUNT, COUNT - 1]),
        ("status:errored channel:adt", "/messages?channel=adt&state=errored", [COUNT, COUNT - 1]),
        ("id:R1 since:1h", "/messages?since=1h&control=R1", [COUNT + 1]),
        ("type:ORU", "/messages?type=ORU", []),
    ],
)
def test_a_search_without_values_stands_in_its_address(
    filled: Running, operator: SignedIn, q: str, address: str, found: list[int]
):
    assert searched(filled, operator, q) == address
    assert numbers(text(get(filled, operator, address))) == found


@pytest.mark.parametrize("q", [f"mrn:{PATIENT}", f"key:{PATIENT.lower()}", f"PID-3.1={PATIENT}", f"text:{PATIENT}"])
def test_a_search_for_a_value_has_an_address_without_it_and_is_on_record(filled: Running, operator: SignedIn, q: str):
    before = len(rows(filled, "search"))
    address = searched(filled, operator, f"{q} channel:results")
    assert re.fullmatch(r"/messages\?search=[\w-]{12}", address)
    page = text(get(filled, operator, address))
    assert numbers(page) == [COUNT + 1]
    links = re.findall(r'(?:href|action)="([^"]*)"', page)
    assert not any(PATIENT.lower() in one.lower() for one in links)
    found = rows(filled, "search")[before:]
    assert [row.scope for row in found] == [f"{q} channel:results"]
    other = filled.user(f"other{before}", {SITE: "operator"})
    refused = get(filled, other, address)
    assert refused.status == 410 and "E512" in text(refused), "another session's"


def test_a_chip_takes_the_place_of_the_times(filled: Running, operator: SignedIn):
    assert searched(filled, operator, "state:held since:2h until:1h", since="24h") == "/messages?state=held&since=24h"
    assert searched(filled, operator, "state:held since:2h", since="") == "/messages?state=held"
    page = text(get(filled, operator, "/messages?since=24h"))
    assert re.search(r'value="24h" aria-pressed="true"', page)
    assert len(re.findall(r'aria-pressed="true"', page)) == 1


def test_what_cannot_be_read_is_marked_in_its_place_and_nothing_is_looked_for(filled: Running, operator: SignedIn):
    reply = post(filled, operator, "/messages", {"q": "channel:adt state:<b>x"})
    assert reply.status == 422
    page = text(reply)
    assert "Column 19" in page and "is no state" in page
    assert "<mark>&lt;b&gt;x</mark>" in page and 'value="channel:adt state:&lt;b&gt;x"' in page
    assert numbers(page) == []
    assert get(filled, operator, "/messages?state=nothing").status == 422
    assert get(filled, operator, "/messages?since=tomorrow").status == 422
    assert get(filled, operator, "/messages?q=mrn:4711").status == 422, "a value has no place in an address"


def test_what_is_found_is_of_ones_own_channels(filled: Running, viewer: SignedIn):
    assert numbers(text(get(filled, viewer, "/messages"))) == [COUNT + 1]
    assert numbers(text(get(filled, viewer, "/messages?channel=adt"))) == []
    refused = get(filled, viewer, searched(filled, viewer, f"mrn:{PATIENT}"))
    assert refused.status == 403, "a viewer reads no values, and so looks for none"
    assert b'name="seq"' not in get(filled, viewer, "/messages").raw, "nothing can be done, so nothing is chosen"


def test_columns_are_chosen_and_go_along(filled: Running, operator: SignedIn):
    page = text(get(filled, operator, "/messages?columns=peer&columns=type"))
    assert re.findall(r'<th scope="col">([^<]+)</th>', page) == ["Type", "Came from"]
    assert "columns=peer&columns=type" in str(link(page, "next"))


def test_a_search_that_takes_long_says_how_far_it_is_and_where_to_go_on(
    filled: Running, operator: SignedIn, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(searching, "MOST_SECONDS", -1.0)
    monkeypatch.setattr(searching, "AT_A_TIME", 50)
    page = text(get(filled, operator, searched(filled, operator, "text:nobody")))
    assert "It looked at 50 messages" in page.replace("\u202f", "")
    assert '<progress max="121" value="50"' in page
    more = link(page, "next")
    assert more is not None and "before=72" in more
    assert "among those that were looked at" in page


# -- export -----------------------------------------------------------------------------------------------


def test_the_export_has_the_whole_list_without_values_and_is_on_record(filled: Running, operator: SignedIn):
    before = len(rows(filled, "export"))
    reply = get(filled, operator, "/messages/export?channel=adt&format=csv")
    assert reply.headers["content-type"].startswith("text/csv")
    assert reply.headers["content-disposition"] == 'attachment; filename="messages.csv"'
    table = list(csv.DictReader(io.StringIO(text(reply))))
    assert [row["message"] for row in table] == [str(n) for n in range(COUNT, 0, -1)]
    assert (table[0]["state"], table[0]["findings"][:4], table[5]["deliveries"]) == ("held", "E214", "2 delivered")
    reply = get(filled, operator, "/messages/export?channel=adt&format=ndjson")
    lines = [json.loads(line) for line in reply.raw.splitlines()]
    assert [line["seq"] for line in lines] == list(range(COUNT, 0, -1))
    assert PATIENT.encode() not in reply.raw
    assert [row.scope for row in rows(filled, "export")[before:]] == ["channel:adt"] * 2


def test_the_export_of_a_search_for_a_value_takes_the_right_to_read(filled: Running, operator: SignedIn):
    kept = searched(filled, operator, f"mrn:{PATIENT} channel:results").partition("?")[2]
    reply = get(filled, operator, f"/messages/export?{kept}&format=ndjson")
    assert [json.loads(line)["seq"] for line in reply.raw.splitlines()] == [COUNT + 1]
    other = filled.user("exporter", {"results": "viewer"})
    kept = searched(filled, other, f"mrn:{PATIENT}").partition("?")[2]
    assert get(filled, other, f"/messages/export?{kept}").status == 403
