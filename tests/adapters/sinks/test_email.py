"""The e-mail sink against a mail server that does what it is told."""

import asyncio
import email
import email.policy
import smtplib
import ssl
from collections.abc import AsyncIterator
from email.message import EmailMessage
from pathlib import Path
from typing import ClassVar

import pytest
import trustme

from engine.adapters.sinks import email as module
from engine.adapters.sinks.email import EmailSink, EmailSinkSettings
from engine.adapters.sinks.mail_text import compile_text
from engine.model.outcome import Delivered, Refused, Unanswered, Unreachable, Unsendable
from engine.ports.clock import SystemClock
from engine.testing import messages
from engine.testing.sink_contract import NAME, delivery
from engine.testing.smtp_peer import Mail, SmtpPeer


@pytest.fixture
async def peer() -> AsyncIterator[SmtpPeer]:
    async with SmtpPeer() as peer:
        yield peer


@pytest.fixture
async def sink(peer: SmtpPeer):
    opened: list[EmailSink] = []

    def make(to_peer: SmtpPeer = peer, *, folder: Path = Path(), **settings) -> EmailSink:
        given = {
            "host": "127.0.0.1",
            "port": to_peer.address[1],
            "tls": "off",
            "from": "segmill@hospital.example",
            "to": "ward@hospital.example",
            "timeout": "5s",
            **settings,
        }
        model = EmailSinkSettings.model_validate(given)
        opened.append(EmailSink.open(model, folder=folder, lane="adt/out", clock=SystemClock()))
        return opened[-1]

    yield make
    for one in opened:
        await one.close()


def read(mail: Mail) -> EmailMessage:
    message = email.message_from_bytes(mail.content, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


def text(mail: EmailMessage) -> str:
    return mail.get_content().replace("\r\n", "\n")


class TestMails:
    async def test_without_templates_a_mail_holds_nothing_of_the_message(self, peer, sink) -> None:
        one = delivery("C1")
        (outcome,) = await sink().send([one])
        assert isinstance(outcome, Delivered)
        (mail,) = peer.mails
        assert (mail.sender, mail.to) == ("segmill@hospital.example", ["ward@hospital.example"])
        assert NAME not in mail.content.decode()
        assert read(mail)["Subject"] == f"Segmill: message {one.seq} of adt"
        assert text(read(mail)) == f"Message {one.seq} of channel adt.\n"

    async def test_templates_name_what_they_name(self, peer, sink) -> None:
        body = messages.adt(control_id="C1", family="Müller", charset="UNICODE UTF-8")
        lane = sink(subject="{MSH-10}: {PID-5.1}", body=".dot\n{PID-5.1} is in {destination}\n..\n")
        await lane.send([delivery(body=body)])
        mail = read(peer.mails[0])
        assert mail["Subject"] == "C1: Müller"
        assert text(mail) == ".dot\nMüller is in out\n..\n"

    async def test_a_value_makes_no_header(self, peer, sink) -> None:
        body = messages.adt(control_id="C1", family="HERE").replace(b"HERE", b"x\\X0D0A\\Bcc: all@example.org\\X0A\\y")
        (outcome,) = await sink(subject="{PID-5.1}", body="{PID-5.1}").send([delivery(body=body)])
        assert isinstance(outcome, Delivered)
        assert read(peer.mails[0])["Bcc"] is None
        assert peer.mails[0].to == ["ward@hospital.example"]

    async def test_several_receivers_and_the_message_attached(self, peer, sink) -> None:
        one = delivery("C1")
        await sink(to=["a@x.example", "b@x.example"], attach="message").send([one])
        (mail,) = peer.mails
        assert mail.to == ["a@x.example", "b@x.example"]
        (part,) = read(mail).iter_attachments()
        assert part.get_content_type() == "application/hl7-v2"
        assert part.get_payload(decode=True) == one.body

    async def test_the_same_delivery_again_has_the_same_id(self, peer, sink) -> None:
        one = delivery("C1")
        lane = sink()
        await lane.send([one])
        await lane.send([one])
        await lane.send([delivery("C1")])
        ids = [read(mail)["Message-ID"] for mail in peer.mails]
        assert ids[0] == ids[1] != ids[2]

    async def test_bytes_that_are_no_characters(self, peer, sink) -> None:
        body = messages.adt(control_id="C1", family="HERE").replace(b"HERE", b"\x81\x8d")
        (outcome,) = await sink(subject="{PID-5.1}").send([delivery(body=body)])
        assert isinstance(outcome, Delivered)

    async def test_a_template_on_what_is_no_message(self, sink) -> None:
        (outcome,) = await sink(subject="{MSH-10}").send([delivery(body=b"nothing")])
        assert isinstance(outcome, Unsendable)


CASES = [
    ({"CONNECT": "554 no"}, Unreachable, ""),
    ({"CONNECT": ""}, Unreachable, ""),
    ({"EHLO": "", "HELO": ""}, Unreachable, ""),
    ({"MAIL": "451 later"}, Unreachable, ""),
    ({"MAIL": f"550 {NAME} no"}, Refused, "AR"),
    ({"RCPT": "450 later"}, Unreachable, ""),
    ({"RCPT": f"550 {NAME}"}, Refused, "AR"),
    ({"RCPT": ""}, Unreachable, ""),
    ({"DATA": "452 full"}, Unreachable, ""),
    ({"DATA": "554 no"}, Refused, "AE"),
    ({"DATA": "250 what"}, Unreachable, ""),
    ({"END": "552 too large"}, Refused, "AE"),
    ({"END": "451 later"}, Unreachable, ""),
    ({"END": ""}, Unanswered, ""),
    ({"END": "25"}, Unanswered, ""),
    ({"END": "no number at all"}, Unanswered, ""),
    ({"QUIT": ""}, Delivered, ""),
    ({"MAIL": "no number at all"}, Unreachable, ""),
]


@pytest.mark.parametrize(("replies", "kind", "code"), CASES)
async def test_what_a_server_says_and_what_it_comes_to(peer, sink, replies, kind, code) -> None:
    peer.replies = replies
    lane = sink()
    (outcome,) = await lane.send([delivery("C1")])
    assert isinstance(outcome, kind), outcome
    assert getattr(outcome, "ack_code", "") == code
    assert NAME not in outcome.note and "time-out" not in outcome.note
    peer.replies = {}
    (outcome,) = await lane.send([delivery("C2")])
    assert isinstance(outcome, Delivered), outcome


async def test_one_refused_receiver_stops_the_mail_for_all(peer, sink) -> None:
    peer.replies = {"RCPT": "550 no"}
    (outcome,) = await sink(to=["a@x.example", "b@x.example"]).send([delivery("C1")])
    assert isinstance(outcome, Refused)
    assert not peer.mails
    assert "DATA" not in peer.verbs


@pytest.mark.parametrize(
    ("verb", "number", "kind"), [("CONNECT", 1, Unreachable), ("RCPT", 4, Unreachable), ("END", 6, Unanswered)]
)
async def test_a_server_that_says_nothing(peer, sink, verb, number, kind, monkeypatch) -> None:
    """Each of its replies has the time of the settings; of that which does not come, the end is brought near."""
    getreply, asked, cuts = smtplib.SMTP.getreply, [], []

    def heard(self: smtplib.SMTP) -> tuple[int, bytes]:
        asked.append(self.sock.gettimeout())
        if len(asked) == number:
            self.sock.settimeout(0.1)
        return getreply(self)

    monkeypatch.setattr(smtplib.SMTP, "getreply", heard)
    monkeypatch.setattr(module._Attempt, "cut", lambda attempt: cuts.append(attempt))
    peer.replies = {verb: "..."}
    (outcome,) = await sink(timeout="20s").send([delivery("C1")])
    assert isinstance(outcome, kind), outcome
    assert outcome.note.endswith(": time-out")
    assert asked == [20.0] * number
    assert not cuts, "the time of one reply ended it, and not that of all"


async def test_a_server_that_never_comes_to_its_end(sink) -> None:
    is_over = asyncio.Event()

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                writer.write(b"220-and\r\n")
                await writer.drain()
                await asyncio.sleep(0.02)
        except ConnectionError:
            pass
        finally:
            writer.close()
            is_over.set()

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    (outcome,) = await sink(port=port, timeout="100ms").send([delivery("C1")])
    assert isinstance(outcome, Unreachable)
    assert outcome.note.endswith(": time-out")
    server.close()
    await is_over.wait()


class TestTlsAndLogin:
    @pytest.fixture
    def ca(self, tmp_path: Path) -> trustme.CA:
        ca = trustme.CA()
        ca.cert_pem.write_to_path(tmp_path / "ca.crt")
        return ca

    def context(self, ca: trustme.CA) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        ca.issue_cert("127.0.0.1").configure_cert(context)
        return context

    @pytest.mark.parametrize("kind", ["starttls", "tls"])
    async def test_encrypted_with_a_login(self, sink, ca, tmp_path, kind) -> None:
        login = ("segmill", "secret")
        async with SmtpPeer(self.context(ca), is_implicit=kind == "tls", login=login) as peer:
            good = sink(peer, folder=tmp_path, tls=kind, ca="ca.crt", user="segmill", password="secret")
            (outcome,) = await good.send([delivery("C1")])
            assert isinstance(outcome, Delivered), outcome
            wrong = sink(peer, folder=tmp_path, tls=kind, ca="ca.crt", user="segmill", password="other")
            (outcome,) = await wrong.send([delivery("C2")])
            assert outcome == Unreachable("the mail server does not take user and password (535)")

    async def test_a_server_without_starttls_gets_nothing(self, peer, sink) -> None:
        (outcome,) = await sink(tls="starttls").send([delivery("C1")])
        assert isinstance(outcome, Unreachable)
        assert "MAIL" not in peer.verbs

    async def test_a_certificate_of_somebody_else(self, sink, ca, tmp_path) -> None:
        trustme.CA().cert_pem.write_to_path(tmp_path / "other.crt")
        async with SmtpPeer(self.context(ca)) as peer:
            (outcome,) = await sink(peer, folder=tmp_path, tls="starttls", ca="other.crt").send([delivery("C1")])
            assert isinstance(outcome, Unreachable)
            assert "certificate" in outcome.note
            assert not peer.mails


class TestSettings:
    GIVEN: ClassVar[dict[str, str]] = {"host": "mail.example", "from": "a@b.example", "to": "c@d.example"}

    @pytest.mark.parametrize(
        "more",
        [
            {"to": "no address"},
            {"to": "a@b.example\nBcc: x@y.example"},
            {"from": "<a@b>"},
            {"to": []},
            {"subject": "{PID-5"},
            {"subject": "{PID}"},
            {"body": "{pid-5}"},
            {"user": "a"},
            {"user": "a", "password": "b", "tls": "off"},
        ],
    )
    def test_what_is_wrong_is_told(self, more) -> None:
        with pytest.raises(ValueError, match=r"."):
            EmailSinkSettings.model_validate({**self.GIVEN, **more})

    @pytest.mark.parametrize(
        ("more", "codes"),
        [
            ({}, []),
            ({"subject": "{MSH-10}"}, []),
            ({"subject": "{PID-5.1}"}, ["W164"]),
            ({"body": "{OBX-5} {PID-3}"}, ["W164"]),
            ({"attach": "message"}, ["W164"]),
            ({"tls": "off"}, ["W165"]),
            ({"tls": "off", "host": "localhost"}, []),
        ],
    )
    def test_what_is_doubtful_is_told(self, more, codes) -> None:
        settings = EmailSinkSettings.model_validate({**self.GIVEN, **more})
        assert [doubt.code for doubt in settings.doubts()] == codes

    def test_ports(self) -> None:
        ports = [EmailSinkSettings.model_validate({**self.GIVEN, "tls": t}).server_port for t in ("starttls", "tls")]
        assert ports == [587, 465]


def test_segments_of_a_template() -> None:
    assert compile_text("{MSH-10} {PID-5.1} {OBX[2]-5} {seq}").patient_segments == ["OBX", "PID"]


def test_a_doubt_stands_at_its_key(make_site) -> None:
    from engine.config.site import load_site
    from engine.pipeline.registry import load_kinds

    mail = "email: {host: m, from: a@b.c, to: d@e.f, subject: '{PID-5.1}'}"
    text = f"listen:\n  mllp: {{port: 0}}\nroutes: [{{to: out}}]\ndestinations:\n  out:\n    {mail}\n"
    site = load_site(make_site({"adt": text}), load_kinds(), {})
    assert site.is_valid
    (finding,) = site.findings
    assert (finding.code, finding.line, finding.column) == ("W164", 6, 55)
