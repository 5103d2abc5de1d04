"""What a destination's `format:` and `charset:` come to in the HTTP, database and e-mail sinks."""

import email
import email.policy
import json
import sqlite3
from email.message import EmailMessage
from pathlib import Path

import pytest

from engine.app import load_site
from engine.hl7.convert import hl7_of
from engine.hl7.message import Message
from engine.testing.smtp_peer import SmtpPeer
from tests.adapters.http_peer import HttpPeer
from tests.runtime.engines import MEMORY, SiteUnderTest, channel, codes
from tests.runtime.parts import until

RAW_TABLE = "INSERT INTO kept VALUES (:segmill_body, :kind)"
MAIL = "host: 127.0.0.1, port: 1, tls: off, from: a@b.example, to: c@d.example"


def site_of(tmp_path: Path, destination: str, **options: str) -> SiteUnderTest:
    text = channel(destinations=f"{{out: {{{destination}}}}}", **options)
    return SiteUnderTest(tmp_path / "site", {"adt": text}, MEMORY)


async def through(site: SiteUnderTest, raw: bytes, is_there) -> None:
    async with site.running():
        wire = await site.wire()
        await wire.send(raw)
        assert codes(await wire.answers(1)) == ["AA"]
        await until(is_there)
        await until(lambda: site.delivery_states() == ["delivered"])


class TestHttp:
    @pytest.mark.parametrize(
        ("form", "media_type"),
        [("json", "application/json"), ("xml", "application/hl7-v2+xml"), ("hl7", "application/hl7-v2")],
    )
    async def test_the_media_type_is_that_of_the_form(self, tmp_path, adt, form, media_type) -> None:
        async with HttpPeer() as peer:
            site = site_of(tmp_path, f"http: {{url: '{peer.url}', answer: status}}, format: {form}")
            raw = adt(control_id="C1", family="Müller", charset="UNICODE UTF-8")
            await through(site, raw, lambda: peer.bodies)
            assert peer.headers[0]["content-type"] == f"{media_type}; charset=utf-8"
            assert Message.parse(hl7_of(peer.bodies[0])).get("PID-5.1") == "Müller"

    @pytest.mark.parametrize(("charset", "named"), [("8859/1", "iso-8859-1"), ("UNICODE UTF-8", "utf-8")])
    async def test_the_charset_is_the_one_the_destination_reads(self, tmp_path, adt, charset, named) -> None:
        async with HttpPeer() as peer:
            site = site_of(tmp_path, f"http: {{url: '{peer.url}'}}, charset: {charset}")
            raw = adt(control_id="C1", family="Müller", charset="8859/15")
            await through(site, raw, lambda: peer.bodies)
            assert peer.headers[0]["content-type"] == f"application/hl7-v2; charset={named}"
            assert "Müller".encode(named) in peer.bodies[0]

    async def test_sets_that_the_message_switches_between_have_no_name_there(self, tmp_path) -> None:
        raw = (
            b"MSH|^~\\&|HIS|NORTH|S|N|2026||ADT^A01|C1|P|2.5.1||||||8859/1~8859/7\r"
            b"PID|1||4711||\x1b-F" + "Αθηνά".encode("iso-8859-7") + b"\r"
        )
        async with HttpPeer() as peer:
            site = site_of(tmp_path, f"http: {{url: '{peer.url}'}}")
            await through(site, raw, lambda: peer.bodies)
            assert ":" not in peer.headers[0]["content-type"]
            assert peer.bodies == [raw]


class TestDatabase:
    @pytest.mark.parametrize("form", ["json", "xml", "hl7"])
    async def test_the_body_is_in_its_form(self, tmp_path, adt, form) -> None:
        database = self.made(tmp_path, "CREATE TABLE kept (body BLOB, kind TEXT)")
        settings = f"{{url: 'sqlite:lab.db', sql: '{RAW_TABLE}', parameters: {{kind: raw}}}}"
        site = site_of(tmp_path, f"database: {settings}, format: {form}")
        await through(site, adt(control_id="C1"), lambda: self.rows(database))
        ((body, kind),) = self.rows(database)
        assert (Message.parse(hl7_of(body)).get("MSH-10"), kind) == ("C1", "raw")
        if form == "json":
            json.loads(body)

    async def test_values_are_the_same_in_every_charset(self, tmp_path, adt) -> None:
        database = self.made(tmp_path, "CREATE TABLE kept (body BLOB, family TEXT)")
        sql = "INSERT INTO kept VALUES (:segmill_body, :family)"
        settings = f"{{url: 'sqlite:lab.db', sql: '{sql}', parameters: {{family: =PID-5.1}}}}"
        site = site_of(tmp_path, f"database: {settings}, charset: 8859/1")
        await through(site, adt(control_id="C1", family="Müller", charset="UNICODE UTF-8"), lambda: self.rows(database))
        ((body, family),) = self.rows(database)
        assert family == "Müller"
        assert "Müller".encode("iso-8859-1") in body

    def made(self, tmp_path: Path, table: str) -> Path:
        (tmp_path / "site").mkdir()
        path = tmp_path / "site" / "lab.db"
        with sqlite3.connect(path) as db:
            db.execute(table)
        db.close()
        return path

    def rows(self, path: Path) -> list[tuple[bytes, str]]:
        with sqlite3.connect(path) as db:
            found = db.execute("SELECT * FROM kept").fetchall()
        db.close()
        return found


class TestMail:
    @pytest.mark.parametrize(
        ("more", "kind", "ending"),
        [
            ("format: json", "application/json", "json"),
            ("format: xml", "application/hl7-v2+xml", "xml"),
            ("charset: 8859/1", "application/hl7-v2", "hl7"),
        ],
    )
    async def test_the_attachment_says_its_form(self, tmp_path, adt, more, kind, ending) -> None:
        async with SmtpPeer() as peer:
            to = MAIL.replace("port: 1", f"port: {peer.address[1]}")
            site = site_of(tmp_path, f"email: {{{to}, attach: message}}, {more}")
            raw = adt(control_id="C1", family="Müller", charset="UNICODE UTF-8")
            await through(site, raw, lambda: peer.mails)
            mail = email.message_from_bytes(peer.mails[0].content, policy=email.policy.default)
            assert isinstance(mail, EmailMessage)
            (attached,) = mail.iter_attachments()
            assert (attached.get_content_type(), attached.get_filename()) == (kind, f"message-1.{ending}")
            assert Message.parse(hl7_of(attached.get_content())).get("PID-5.1") == "Müller"


@pytest.mark.parametrize(
    "destination",
    [
        "http: {url: 'http://127.0.0.1:1/'}",
        f"email: {{{MAIL}, subject: 'of {{MSH-10}}'}}",
        "database: {url: 'sqlite:lab.db', sql: 'INSERT INTO t VALUES (:c)', parameters: {c: =MSH-10}}",
    ],
)
@pytest.mark.parametrize("form", ["json", "xml"])
def test_a_form_that_a_sink_cannot_read_is_refused(tmp_path: Path, destination: str, form: str) -> None:
    kind = destination.partition(":")[0]
    told = ("E107", f"'{kind}' cannot carry messages as {form.upper()} here")
    site = site_of(tmp_path, f"{destination}, format: {form}")
    assert [(f.code, f.message) for f in load_site(site.folder, site.kinds, {}).findings if f.is_error] == [told]
    site = site_of(tmp_path / "step", destination, steps=f"steps:\n  - convert: {form}")
    assert [(f.code, f.message) for f in load_site(site.folder, site.kinds, {}).findings if f.is_error] == [told]
