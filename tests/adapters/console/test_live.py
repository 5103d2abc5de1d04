"""Streams: few, only while the session goes on, and never in the way of a stop."""

import asyncio
import http.client
import json
import logging
import threading

import pytest

from engine.adapters.api.streams import MOST, MOST_OF_SESSION, EventStream, Streams
from engine.adapters.console import live
from engine.model.access import SITE
from tests.adapters.console.people import engine_of, person


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Told at once, and asked at once whether the session goes on."""
    monkeypatch.setattr(live, "EVERY_S", 0.01)
    monkeypatch.setattr(live, "STILL_EVERY_S", 0.0)


class Listening:
    """A browser's EventSource."""

    def __init__(self, who):
        self._connection = http.client.HTTPConnection(*who.engine.address, timeout=60)
        self._connection.request("GET", "/live", headers=who.signed.reads)
        self.answer = self._connection.getresponse()

    def events(self):
        """Lines as they come, until the stream's end."""
        while line := self.answer.readline():
            yield line.decode().rstrip("\n")

    def close(self):
        self.answer.close()
        self._connection.close()


def test_a_stream_tells_all_at_first_and_then_what_changed(tmp_path):
    with engine_of(tmp_path / "site") as running:
        listening = Listening(person(running, "anna", {SITE: "viewer"}))
        assert listening.answer.headers["content-type"].startswith("text/event-stream")
        assert listening.answer.headers["cache-control"] == "no-store"
        told = []
        for line in listening.events():
            if line.startswith("data: "):
                told.append(json.loads(line.removeprefix("data: ")))
                if len(told) == 1:
                    running.engine.meter.channel("adt").received(100, 0.0)
                elif "adt received" in told[-1]:
                    break
        assert told[0]["adt received"] == "0" and "results held" in told[0]
        assert told[-1]["adt received"] == "1" and "results held" not in told[-1]
        listening.close()


def test_what_needs_a_person_comes_along_when_it_may_have_changed(tmp_path):
    with engine_of(tmp_path / "site") as running:
        listening = Listening(person(running, "anna", {SITE: "viewer"}))
        lines = listening.events()
        assert any(line.startswith("data: ") for line in lines)
        running.engine.meter.channel("adt").intake_paused(True)
        assert any(line == "event: attention" for line in lines)
        html = json.loads(next(lines).removeprefix("data: "))
        assert "Nothing needs a person now" in html, "the meter alone says it here, and the engine is asked"
        listening.close()


@pytest.mark.parametrize("how", ["signed out", "disabled"])
def test_a_stream_ends_with_its_session(tmp_path, how):
    with engine_of(tmp_path / "site") as running:
        anna, admin = person(running, "anna", {SITE: "viewer"}), person(running, "ben", {SITE: "admin"})
        listening = Listening(anna)
        lines = listening.events()
        assert any(line.startswith("data: ") for line in lines)
        if how == "signed out":
            assert anna.post("/sign-out").status == 303
        else:
            reply = running.ask("POST", "/users/anna/disable", headers=admin.signed.changes)
            assert reply.status == 200, reply.raw
        rest = list(lines)  # ends, or the test's own time-out does
        assert (how == "signed out") or "event: signed-out" in rest
        listening.close()


def test_an_engine_that_stops_does_not_wait_for_streams(tmp_path, caplog):
    with engine_of(tmp_path / "site") as running, caplog.at_level(logging.WARNING):
        listening = Listening(person(running, "anna", {SITE: "viewer"}))
        lines = listening.events()
        assert any(line.startswith("data: ") for line in lines)
        stopping = threading.Thread(target=running.stop)
        stopping.start()
        list(lines)
        stopping.join(60)
        assert not stopping.is_alive()
        listening.close()
    assert "did not end within" not in caplog.text


def test_there_are_so_many_streams_and_who_leaves_gives_up_the_place(tmp_path):
    with engine_of(tmp_path / "site") as running:
        anna = person(running, "anna", {SITE: "viewer"})
        some = [Listening(anna) for _ in range(MOST_OF_SESSION)]
        assert [one.answer.status for one in some] == [200] * MOST_OF_SESSION
        last = Listening(anna)
        assert last.answer.status == 204, "which a browser takes as the end"
        last.close()
        some[0].close()
        statuses = []
        while not statuses or statuses[-1] != 200:  # the server sees the end with its next word
            again = Listening(anna)
            statuses.append(again.answer.status)
            again.close()
        for one in some[1:]:
            one.close()


async def test_of_all_sessions_there_are_so_many():
    streams = Streams()
    taken = [streams.take(bytes([number // MOST_OF_SESSION])) for number in range(MOST)]
    assert all(taken) and streams.take(b"another") is None
    streams.give_back(taken[0])
    assert streams.take(b"another") is not None
    streams.end_all()
    await asyncio.wait_for(taken[1].wait(), 60)


async def test_who_does_not_read_is_cut_off():
    ended, closed, cut, sent = asyncio.Event(), [], [], []

    async def events():
        while True:
            yield b"data: {}\n\n"

    async def send(message):
        sent.append(message)
        if len(sent) > 3:
            await asyncio.Event().wait()  # the client's window is full

    async def receive():
        await asyncio.Event().wait()

    stream = EventStream(events(), ended, lambda: closed.append(True), write_s=0.01)
    scope = {"type": "http", "extensions": {"segmill.abort": lambda: cut.append(True)}}
    await asyncio.wait_for(stream(scope, receive, send), 60)
    assert cut and closed == [True]
    assert "content-length" not in stream.headers
