"""Texts that were written to break a page go through every page of what waits, and stay texts (reliability.md SEC6)."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser

import pytest

from engine.adapters.mllp_connection import Target
from engine.adapters.sender import Sender
from engine.hl7.delimiters import STANDARD
from engine.hl7.escape import escape
from engine.model.access import SITE
from engine.testing.sites import make_site
from tests.adapters.api.rig import Running
from tests.adapters.console.visitor import Shown, Visitor
from tests.cli.test_worklist import CHANNEL as ORDERS
from tests.cli.test_worklist import order
from tests.e2e.console_engine import HOSTILE

CHANNEL = """
listen: {mllp: {port: 0}}
accept: ["*"]
steps:
  - map: {PV1-3.1: tables/wards.csv, otherwise: hold}
routes: [{to: ris}]
destinations:
  ris: {mllp: {host: 127.0.0.1, port: 1}}
"""
SETTINGS = "admin: off\nenvironment: test\nconsole: {port: 0}\n"
SHORT = [text for text in HOSTILE if len(text) <= 60]
STUDY = "1.2.826.0.1.99.1"


def admission(control_id: str, ward: str, name: str) -> bytes:
    head = f"MSH|^~\\&|HIS|NORTH|RIS|NORTH|20260102030405||ADT^A01|{control_id}|P|2.5.1|||||||UNICODE UTF-8"
    return "\r".join((head, f"PID|1||1^^^HIS^MR||{name}", f"PV1|1|I|{ward}", "")).encode()


class _Markup(HTMLParser):
    """What a page has that only a text of somebody else's could have brought."""

    def __init__(self) -> None:
        super().__init__()
        self.wrong: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in ("img", "base", "style", "iframe", "animate", "object") or (tag == "script" and "src" not in given):
            self.wrong.append(tag)
        self.wrong += [name for name in given if name.startswith("on") or name in ("style", "autofocus")]
        for name in ("href", "action", "src"):
            to = given.get(name) or "/"
            if not to.startswith(("/", "#")) or to.startswith("//"):
                self.wrong.append(to)


def check(shown: Shown) -> None:
    markup = _Markup()
    markup.feed(shown.text)
    assert markup.wrong == [], shown.path
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\u202a-\u202e\u2066-\u2069]", shown.text), shown.path


@pytest.fixture(scope="module")
def running(tmp_path_factory) -> Iterator[Running]:
    """Each text is a control id, a code that is missing, a patient's name and procedure, and a cell of a table."""
    cells = "".join('"{0}","{0}"\n'.format(text.replace('"', '""')) for text in SHORT if text.isprintable())
    files = {"channel.yaml": CHANNEL, "tables/wards.csv": f"from,to\nWARD1,W01\n{cells}"}
    settings = SETTINGS + "dicom: {host: 127.0.0.1, port: 0}\n"
    site = make_site(tmp_path_factory.mktemp("hostile") / "site", {"adt": files, "orders": ORDERS}, settings)
    escaped = [escape(text, STANDARD) for text in SHORT]
    sent = [admission(text, "WARD1", text) for text in escaped]
    sent += [admission(f"H{text}", f"X{text}", text) for text in escaped]
    hostile = order(1).decode().replace("Muster^Anna", f"{escaped[0]}^{escaped[1]}")
    orders = [hostile.replace("CT head", escaped[5]).encode(), order(2)]
    started = Running(site)
    for channel, raws in (("adt", sent), ("orders", orders)):
        report = started.do(Sender(Target(*started.engine.addresses[channel]), raws).run())
        if set(report.codes) != {"AA"}:
            started.stop()
            pytest.fail(f"not taken: {report.codes}")
    yield started
    started.stop()


@pytest.fixture(scope="module")
def admin(running) -> Visitor:
    return Visitor(running, running.user("anna", {SITE: "admin"}))


def test_queues(admin):
    check(admin.open("/queues"))
    shown = admin.open("/queues/adt/ris")
    check(shown)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in shown.text
    plan = admin.send(shown, "/plan", ("action", "hold"), ("which", "where"), ("where", f'PID-5.1 != "{SHORT[0]}"'))
    check(plan)
    done = admin.send(plan, "/order", ("reason", SHORT[1]))
    check(done)
    held = admin.open("/queues/adt/ris?show=held")
    assert "onerror=alert(1)" in held.words, "the reason stands with what is held"
    check(held)
    check(admin.send(held, "/lane", ("act", "pause"), ("reason", SHORT[5])))
    check(admin.open("/queues"))


def test_held_and_tables(admin):
    listed = admin.open("/held")
    check(listed)
    path = next(one for one in re.findall(r'href="(/held/adt/[^"]+)"', listed.text))
    shown = admin.open(path)
    check(shown)
    codes = admin.send(shown, "/codes")
    assert "X&lt;script&gt;alert(1)&lt;/script&gt;" in codes.text
    check(codes)
    check(admin.send(shown, "/plan", ("action", "discard")))
    table = admin.open("/tables/adt?table=tables/wards.csv")
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in table.text
    check(table)
    check(admin.send(table, "/search", ("text", SHORT[0])))
    check(admin.send(table, "/codes"))
    check(admin.send(table, "/row", ("key", SHORT[0]), ("value", "W02")))
    check(admin.open("/take-up/adt"))


def test_the_worklist(admin):
    check(admin.open("/worklist?day=any&status=all"))
    shown = admin.open(f"/worklist/main/step?study={STUDY}&step=S1")
    check(shown)
    revealed = admin.send(shown, "/step/values")
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in revealed.text
    check(revealed)
    form = admin.open("/worklist/main/ask")
    found = admin.send(form, "/ask", ("PatientName", "*"), ("values", "true"), ("AccessionNumber", "A1"))
    assert "1 answer" in found.words and "&lt;script&gt;" in found.text
    check(found)
    check(admin.send(form, "/ask", ("PatientName", SHORT[1]), ("calling", "<b>")))
