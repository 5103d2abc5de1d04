"""The HTTP sink against a receiver that does what it is told: what each answer comes to."""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme

from engine.adapters.sinks.http import HttpSink, HttpSinkSettings
from engine.config.finding import BadValue
from engine.model.outcome import Delivered, Refused, Unanswered, Unreachable
from engine.ports.clock import SystemClock
from engine.testing import messages
from engine.testing.sink_contract import delivery
from tests.adapters.http_peer import HttpPeer, ack_response, response


@pytest.fixture
async def peer() -> AsyncIterator[HttpPeer]:
    async with HttpPeer() as peer:
        yield peer


@pytest.fixture
async def sink(peer: HttpPeer):
    opened: list[HttpSink] = []

    def make(folder: Path = Path(), **settings) -> HttpSink:
        model = HttpSinkSettings.model_validate({"url": peer.url, "ack_timeout": "5s", **settings})
        opened.append(HttpSink.open(model, folder=folder, lane="adt/out", clock=SystemClock()))
        return opened[-1]

    yield make
    for one in opened:
        await one.close()


async def test_what_goes_over_the_wire(peer, sink) -> None:
    one = delivery("C1")
    (outcome,) = await sink(user="his", password="x").send([one])
    assert isinstance(outcome, Delivered)
    assert peer.bodies == [one.body]
    (headers,) = peer.headers
    assert headers[""] == "POST /adt HTTP/1.1"
    assert headers["content-type"] == "application/hl7-v2; charset=us-ascii"
    assert headers["content-length"] == str(len(one.body))
    assert headers["authorization"] == "Basic aGlzOng="


@pytest.mark.parametrize(
    ("charset", "named"), [("UNICODE UTF-8", "utf-8"), ("8859/1", "iso-8859-1"), ("8859/15", "iso-8859-15")]
)
async def test_the_header_names_the_set_the_message_is_in(peer, sink, charset, named) -> None:
    await sink().send([delivery(body=messages.adt(control_id="C1", family="Müller", charset=charset))])
    assert peer.headers[0]["content-type"] == f"application/hl7-v2; charset={named}"


@pytest.mark.parametrize("code", ["AE", "AR", "CE", "CR"])
@pytest.mark.parametrize("status", [200, 400, 500])
async def test_a_no_is_a_no_whatever_the_status(peer, sink, code, status) -> None:
    peer.code, peer.status = code, status
    (outcome,) = await sink().send([delivery("C1")])
    assert isinstance(outcome, Refused)
    assert (outcome.ack_code, outcome.hl7_code) == (code, "207")


CASES = {
    "another message's": (lambda body: ack_response(body, "AA", 200, b"OTHER"), Unanswered),
    "yes, and an error": (lambda body: ack_response(body, "AA", 500), Unanswered),
    "nothing": (lambda body: response(200), Unanswered),
    "garbage": (lambda body: response(200, b"<html>"), Unanswered),
    "endless": (lambda body: response(200, b"x" * 200_000), Unanswered),
    "hangs up": (lambda body: b"", Unanswered),
    "no http": (lambda body: b"\x0bMSH|\x1c\r" * 10, Unanswered),
    "bad gateway": (lambda body: response(502), Unanswered),
    "busy": (lambda body: response(503), Unreachable),
    "too many": (lambda body: response(429), Unreachable),
    "login": (lambda body: response(401), Unreachable),
    "no such path": (lambda body: response(404), Unreachable),
    "media type": (lambda body: response(415), Unreachable),
    "elsewhere": (lambda body: response(307, more="Location: http://127.0.0.1:1/\r\n"), Unreachable),
    "bad request": (lambda body: response(400, b"bad"), Refused),
    "too large": (lambda body: response(413), Refused),
}


@pytest.mark.parametrize("name", CASES)
async def test_what_a_receiver_says_and_what_it_comes_to(peer, sink, name) -> None:
    peer.respond, kind = CASES[name]
    lane = sink()
    (outcome,) = await lane.send([delivery("C1")])
    assert isinstance(outcome, kind), outcome
    peer.respond = None
    (outcome,) = await lane.send([delivery("C2")])
    assert isinstance(outcome, Delivered), outcome


async def test_a_status_can_be_enough(peer, sink) -> None:
    peer.respond = lambda body: response(204)
    (outcome,) = await sink(answer="status").send([delivery("C1")])
    assert isinstance(outcome, Delivered)


async def test_a_message_that_wants_no_answer_is_done_with_the_status(peer, sink) -> None:
    peer.respond = lambda body: response(204)
    body = messages.adt(control_id="C1", accept_ack="NE", application_ack="NE")
    (outcome,) = await sink().send([delivery(body=body)])
    assert isinstance(outcome, Delivered)


async def test_a_silent_receiver(peer, sink) -> None:
    peer.delay.clear()
    (outcome,) = await sink(ack_timeout="100ms").send([delivery("C1")])
    assert outcome == Unanswered("no answer: time-out")


async def test_a_connection_is_kept(peer, sink) -> None:
    lane = sink()
    for number in range(5):
        await lane.send([delivery(f"C{number}")])
    assert peer.connections == 1


async def test_nothing_is_logged_for_a_message(peer, sink, caplog) -> None:
    with caplog.at_level(logging.INFO, logger="segmill"):
        await sink().send([delivery("C1")])
    assert not [record for record in caplog.records if record.name.startswith("http")]


async def test_tls_and_its_failures(tmp_path) -> None:
    ca, other = trustme.CA(), trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("ris.example").configure_cert(context)
    ca.cert_pem.write_to_path(tmp_path / "ca.crt")
    other.cert_pem.write_to_path(tmp_path / "other.crt")
    async with HttpPeer(context) as peer:

        async def attempt(**tls: str):
            settings = HttpSinkSettings.model_validate({"url": peer.url, "tls": tls})
            lane = HttpSink.open(settings, folder=tmp_path, lane="adt/out", clock=SystemClock())
            (outcome,) = await lane.send([delivery("C1")])
            await lane.close()
            return outcome

        assert isinstance(await attempt(ca="ca.crt", server_name="ris.example"), Delivered)
        wrong = await attempt(ca="other.crt", server_name="ris.example")
        assert isinstance(wrong, Unreachable)
        assert "certificate" in wrong.note
        assert isinstance(await attempt(ca="ca.crt"), Unreachable), "another name"


@pytest.mark.parametrize(
    "url", ["", "ris.local:80", "ftp://ris/", "http://", "http://his:secret@ris/", "http://[::1/", "file:///etc"]
)
def test_what_is_no_url_is_told(url) -> None:
    with pytest.raises((BadValue, ValueError)) as caught:
        HttpSinkSettings.model_validate({"url": url})
    assert "Traceback" not in str(caught.value)


async def test_two_lanes_do_not_wait_for_each_other(peer, sink) -> None:
    outcomes = await asyncio.gather(*(sink().send([delivery(f"C{number}")]) for number in range(3)))
    assert all(isinstance(outcome, Delivered) for (outcome,) in outcomes)
    assert peer.connections == 3
