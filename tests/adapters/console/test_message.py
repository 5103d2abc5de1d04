"""The page of one message: what it shows masked and revealed, of any message whatever, and what is done from it."""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC
from html import unescape
from pathlib import Path

import pytest
from jinja2 import ChoiceLoader, DictLoader

from engine.adapters.api.versions import MOST_KEPT, Versions
from engine.adapters.console import message_view, rendering
from engine.adapters.console.pages import PAGES
from engine.hl7.delimiters import STANDARD
from engine.hl7.escape import escape
from engine.model.access import ROLES, SITE
from engine.ports.store import StoredMessage
from tests.adapters.api.rig import Running, SignedIn, site
from tests.adapters.api.test_messages_and_orders import PATIENT, adt, rows, send
from tests.adapters.console.pages_rig import get, post, text

MARK = "ZQXMARK"


def with_name(name: str, control_id: str) -> bytes:
    raw = adt(control_id)
    return raw.replace(f"||{PATIENT}^ANNA".encode(), f"||{escape(name, STANDARD)}^ANNA".encode())


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Messages 1 to 3 of adt went out, 4 and 5 are held; 6 is of results."""
    started = Running(site(tmp_path_factory.mktemp("message") / "site"))
    send(started, "adt", adt("A1"), with_name(MARK, "A2"), adt("A3"), adt("H1", "NEW7"), adt("H2", "NEW7"))
    send(started, "results", adt("R1"))
    started.settled()
    yield started
    started.stop()


@pytest.fixture(scope="module")
def operator(filled: Running) -> SignedIn:
    return filled.user("operator", {SITE: "operator"})


@pytest.fixture(scope="module")
def viewer(filled: Running) -> SignedIn:
    return filled.user("viewer", {"adt": "viewer"})


def bare(page: str) -> str:
    """What is read of a page, with one blank between words."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page)).split())


# -- values ------------------------------------------------------------------------------------------------


def test_a_page_shows_structure_and_journey_without_a_value_and_without_a_record(filled: Running, viewer: SignedIn):
    before = len(rows(filled, "read"))
    page = text(get(filled, viewer, "/messages/2"))
    assert MARK not in page and PATIENT not in page and "WARD1" not in page and "W01" not in page
    said = bare(page)
    for shown in (
        "PID-5.1 Family Name",
        "PV1-3.1 Point of Care",
        "Decided: processed",
        "Answered AA",
        "Delivered, attempt 1",
    ):
        assert shown in said, shown
    assert len(rows(filled, "read")) == before
    assert "Show the values" not in said and "Resend" not in said


def test_values_are_shown_once_that_is_on_record(filled: Running, operator: SignedIn):
    before = len(rows(filled, "read"))
    page = text(post(filled, operator, "/messages/2"))
    said = bare(page)
    assert MARK in said and "W01" in said
    assert "I = Inpatient" in said, "the meaning of a code"
    (row,) = rows(filled, "read")[before:]
    assert (row.ids, row.actor) == ("messages 2", "operator from 127.0.0.1")
    assert "MSA|AA|A2" in said, "the answer's bytes"


def test_showing_takes_the_right_to_read(filled: Running, viewer: SignedIn):
    before = len(rows(filled, "read"))
    for path in ("/messages/2", "/messages/2/download", "/messages/2/edit"):
        assert post(filled, viewer, path).status == 403
    assert get(filled, viewer, "/messages/2/patient/older").status == 403
    assert get(filled, viewer, "/messages/6").status == 404, "another channel's is not there"
    half = filled.user("half", {"adt": "viewer", "results": "operator"})
    for path in ("/messages/2", "/messages/2/download", "/messages/2/edit"):
        assert post(filled, half, path).status == 403, "by its channel"
    assert len(rows(filled, "read")) == before


def test_the_bytes_come_as_a_file(filled: Running, operator: SignedIn):
    reply = post(filled, operator, "/messages/2/download")
    assert reply.raw == filled.queries.message(2).raw
    assert reply.headers["content-disposition"] == 'attachment; filename="message-2.hl7"'
    assert reply.headers["content-type"] == "application/octet-stream"
    assert rows(filled, "read")[-1].ids == "messages 2"


def test_each_destination_shows_what_it_got_otherwise_and_by_which_step(filled: Running, operator: SignedIn):
    said = bare(text(post(filled, operator, "/messages/1")))
    at = said.index("What it carries otherwise")
    assert re.search(r"PV1-3 WARD1 W01 1 map PV1-3.1", said[at:]), said[at : at + 300]
    assert "tables/wards.csv: WARD1 line 2" in said
    masked = bare(text(get(filled, operator, "/messages/1")))
    assert re.search(r"PV1-3 ••••• ••••• 1 map PV1-3.1", masked)
    assert "tables/wards.csv: ••••• has a row" in masked


def test_a_finding_says_what_it_means(filled: Running, viewer: SignedIn):
    said = bare(text(get(filled, viewer, "/messages/4")))
    assert "E214 error" in said and "What to do:" in said


# -- the same patient ----------------------------------------------------------------------------------------


def test_the_next_message_of_a_patient_is_led_to_without_a_value(filled: Running, operator: SignedIn):
    before = len(rows(filled, "search"))
    older = get(filled, operator, "/messages/3/patient/older")
    assert (older.status, older.headers["location"]) == (303, "/messages/2")
    assert get(filled, operator, "/messages/3/patient/newer").headers["location"] == "/messages/4"
    assert get(filled, operator, "/messages/1/patient/older").headers["location"] == "/messages/1"
    assert "There is no older message" in text(get(filled, operator, "/messages/1"))
    scopes = [row.scope for row in rows(filled, "search")[before:]]
    assert len(scopes) == 3 and not any(PATIENT in scope for scope in scopes)


def test_of_a_patient_only_what_may_be_read_is_led_to(filled: Running):
    one = filled.user("of-adt", {"adt": "operator", "results": "viewer"})
    assert get(filled, one, "/messages/5/patient/newer").headers["location"] == "/messages/5", "6 is of results"


# -- any message ---------------------------------------------------------------------------------------------

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' autofocus onfocus=alert(1) x='",
    "</textarea><script>alert(1)</script>",
    "</title><svg/onload=alert(1)>",
    "{{7*7}}{% raise %}",
    "<!--",
    "\u202egnirts\u202c",
    "\u2066isolate",
    "\x1b[31mred",
    "\x7f\x85\u2028",
    "A" * 5000,
)


@pytest.fixture(scope="module")
def hostile(filled: Running) -> list[int]:
    """Messages with each of these as a name, as text and as their control id."""
    raws = []
    for number, name in enumerate(HOSTILE):
        one = with_name(name, f"X{number}").decode().replace("MSH|^~\\&|", "MSH|^~\\&|", 1)
        header, rest = one.split("\r", 1)
        raws.append((header.rstrip("|") + "\r" + rest + f"NTE|1||{escape(name, STANDARD)}\r").encode())
    first = filled.queries.seq_before(1 << 62) + 1
    send(filled, "adt", *raws)
    filled.settled()
    return list(range(first, first + len(raws)))


def test_nothing_of_a_message_is_markup(filled: Running, operator: SignedIn, hostile: list[int]):
    for seq, name in zip(hostile, HOSTILE, strict=True):
        for reply in (
            post(filled, operator, f"/messages/{seq}"),
            post(filled, operator, f"/messages/{seq}/edit"),
            get(filled, operator, f"/messages/{seq}"),
            get(filled, operator, f"/messages/plan?action=resend&seq={seq}"),
        ):
            if reply.status == 409:
                assert "E510" in text(reply), "a text box would change it"
                continue
            page = text(reply)
            assert reply.status == 200
            assert page.count("<script") == page.count('<script type="module" src="/static/')
            assert not re.search(r"<img|<svg/|onerror=alert\(1\)>|<textarea[^>]*>[^<]*</textarea><script", page)
            assert page.count("</textarea>") == page.count("<textarea")
            assert "\u202e" not in page and "\x1b" not in page and "\u2066" not in page
            assert "49" not in re.findall(r"\{\{7\*7\}\}|49(?=\{)", page)
            if name == HOSTILE[5] and "tree" in page and "Mask the values" in page:
                assert "{{7*7}}" in page, "as text"


class Kept:
    """A store with one message, whatever it is."""

    def __init__(self, running: Running, like: int, **changed: object) -> None:
        self._queries = running.queries
        self.stored: StoredMessage = replace(running.queries.message(like), **changed)

    def __getattr__(self, name: str) -> object:
        return getattr(self._queries, name)


HEAD = b"MSH|^~\\&|HIS|MAIN|X|Y|20260102||ADT^A01|C1|P|2.5.1||||||%s\r"
ODD = {
    "nothing": b"",
    "rubbish": bytes(range(256)) * 20,
    "a header alone": b"MSH|^~\\&",
    "zeros": b"\x00" * 3000,
    "not UTF-8": HEAD % b"UNICODE UTF-8" + b"PID|1||4711||M\xfcller\xff\xfe^ANNA\r",
    "unknown set": HEAD % b"KLINGON" + b"PID|1||4711||M\xfcller\r",
    "Japanese": HEAD % b"~ISO IR87" + b"PID|1||4711||\x1b$B;3ED\x1b(B\r",
    "line feeds": (HEAD % b"" + b"PID|1||4711\rNTE|1||a\r").replace(b"\r", b"\n"),
    "no segments": HEAD % b"" + b"this is a text\rthat was broken <b>into lines\r\r\r",
    "one long line": HEAD % b"" + b"OBX|1|ED|1||" + b"QUJD" * 5_000_000 + b"\r",
    "many segments": HEAD % b"" + b"".join(b"OBX|%d|ST|1||<b>%d\r" % (n, n) for n in range(50_000)),
    "many repetitions": HEAD % b"" + b"PID|1||" + b"~".join(b"%d^^^A&B&C" % n for n in range(50_000)) + b"\r",
    "JSON": b'{"a": "<script>alert(1)</script>"}',
    "XML": b"<?xml version='1.0'?><a><script>alert(1)</script></a>",
    "a value for a type": HEAD % b"" + b"OBX|1|M\xfcller|4711||4711\r",
    "odd delimiters": b"MSH$%~\\&$HIS$MAIN\rPID$1$$4711%a%b\r",
    "deep": HEAD % b"" + b"PID|1||" + b"a&b&c&d" * 100 + b"^" * 500 + b"\r",
}


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("shows", [True, False])
def test_any_message_has_a_page_that_is_bounded(filled: Running, kind: str, shows: bool):
    raw = ODD[kind]
    kept = Kept(filled, 1, raw=raw)
    made = message_view.view(kept, Versions(), kept.stored, show_values=shows)  # type: ignore[arg-type]
    page = rendered(made, shows)
    assert len(page) < 2_500_000
    assert "<script>alert" not in page and "<b>" not in page
    said = bare(page)
    assert "Journey" in said
    if not shows:
        assert "4711" not in said and "QUJD" not in said and "M\xfcller" not in said
    if kind in ("one long line", "many segments") and shows:
        assert "Only its beginning is shown" in said
    if kind == "not UTF-8" and shows:
        assert "Müller" in said or "\\xfc" in said
    if kind == "rubbish" and shows:
        assert "00000010  10 11 12" in unescape(page)


BLOCKS = ("heading", "actions", "styles", "scripts", "content")
BASE = "".join(f"{{% block {name} %}}{{% endblock %}}" for name in BLOCKS)
"""A page without what every page has."""


def rendered(made: message_view.View, shows: bool, *, runs: bool = True) -> str:
    """The page, as the handler makes it, without what is around it."""
    templates = rendering.templates()
    assert templates.loader is not None
    loader = ChoiceLoader([DictLoader({"base.html": BASE}), templates.loader])
    return (
        templates.overlay(loader=loader, cache_size=0)
        .get_template("message.html")
        .render(
            view=made,
            m=made.stored,
            shows=shows,
            runs=runs,
            is_other_version=False,
            may_read=True,
            may_operate=True,
            has_patient=True,
            can=dict.fromkeys(("resend", "reprocess", "release", "discard"), True),
            now_us=made.stored.received_at_us,
            zone=UTC,
            static=lambda name: name,
            csrf_field="",
        )
    )


def test_a_message_whose_bytes_are_gone_has_a_page(filled: Running):
    kept = Kept(filled, 1, raw=None)
    said = bare(rendered(message_view.view(kept, Versions(), kept.stored, show_values=True), shows=True))  # type: ignore[arg-type]
    assert "Its bytes are no longer kept" in said and "Delivered, attempt 1" in said
    assert "the steps cannot be told here: its bytes are no longer kept" in said.lower()
    assert "Show the values" not in said and "Edit and resend" not in said and "Save the bytes" not in said


def test_a_message_of_a_channel_that_is_gone_has_a_page_and_nothing_is_done_to_it(filled: Running):
    kept = Kept(filled, 1, channel="gone")
    made = message_view.view(kept, Versions(), kept.stored, show_values=True)  # type: ignore[arg-type]
    said = bare(rendered(made, shows=True, runs=False))
    assert "not running now" in said and "Nothing can be done to it while its channel does not run" in said
    assert "Resend" not in said and "Save the bytes" in said
    assert "PV1-3 WARD1 W01" in said, "its recorded version still tells what it did"


def test_a_version_that_is_not_recorded_is_said(filled: Running):
    kept = Kept(filled, 1, version=999_999)
    said = bare(rendered(message_view.view(kept, Versions(), kept.stored, show_values=True), shows=True))  # type: ignore[arg-type]
    assert "version 999999 of the channel is not recorded" in said


def test_a_version_is_made_once_and_few_are_kept(filled: Running):
    versions, stored = Versions(), filled.queries.message(1)
    made = versions.get(filled.queries, stored.channel, stored.version)
    assert versions.get(filled.queries, stored.channel, stored.version) is made
    for number in range(MOST_KEPT):
        versions.get(filled.queries, f"other{number}", stored.version)  # type: ignore[arg-type]
    assert versions.get(filled.queries, stored.channel, stored.version) is not made


def test_there_is_no_message_of_that_number(filled: Running, operator: SignedIn):
    for path in ("/messages/999999", "/messages/0", "/messages/x", f"/messages/{'9' * 30}"):
        assert get(filled, operator, path).status == 404


# -- what is done ---------------------------------------------------------------------------------------------


def fields_of(page: str, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]*)"', page)
    assert found is not None, name
    return found[1]


def planned(running: Running, signed: SignedIn, query: str) -> dict[str, str]:
    reply = get(running, signed, f"/messages/plan?{query}")
    assert reply.status == 200, text(reply)
    page = text(reply)
    return {"plan": fields_of(page, "plan"), "key": fields_of(page, "key")}


def test_a_resend_is_planned_and_then_done_once(filled: Running, operator: SignedIn):
    before = len(filled.queries.deliveries(3))
    assert "goes again to out, other" in bare(text(get(filled, operator, "/messages/plan?action=resend&seq=3")))
    form = {"action": "resend", "seq": "3", "to": "other", "reason": "asked for"} | planned(
        filled, operator, "action=resend&seq=3&to=other"
    )
    for _ in range(2):
        done = post(filled, operator, "/messages/plan", form)
        assert (done.status, done.headers["location"]) == (303, "/messages/3")
    assert "is not done twice" in text(get(filled, operator, "/messages/3"))
    filled.settled()
    deliveries = filled.queries.deliveries(3)
    assert len(deliveries) == before + 1 and deliveries[-1].destination == "other"
    row = rows(filled, "resend")[-1]
    assert (row.reason, row.actor) == ("asked for", "operator from 127.0.0.1")


def test_what_is_chosen_otherwise_than_planned_is_planned_anew_and_not_done(filled: Running, operator: SignedIn):
    before = len(filled.queries.deliveries(3))
    form = {"action": "resend", "seq": "3"} | planned(filled, operator, "action=resend&seq=3")
    done = post(filled, operator, "/messages/plan", form | {"to": "out"})
    assert done.headers["location"] == "/messages/plan?action=resend&seq=3&to=out&as_of=now"
    assert "nothing was done" in text(get(filled, operator, done.headers["location"]))
    looked = post(filled, operator, "/messages/plan", form | {"look": "true"})
    assert looked.headers["location"] == "/messages/plan?action=resend&seq=3&as_of=now"
    assert len(filled.queries.deliveries(3)) == before


def test_a_discard_takes_a_reason(filled: Running, operator: SignedIn):
    form = {"action": "discard", "seq": "5"} | planned(filled, operator, "action=discard&seq=5")
    asked = post(filled, operator, "/messages/plan", form | {"reason": " "})
    assert asked.headers["location"].startswith("/messages/plan?") and filled.queries.message(5).state == "held"
    post(filled, operator, "/messages/plan", form | {"reason": "sent by mistake"})
    assert filled.queries.message(5).state == "discarded"
    assert "sent by mistake" in bare(text(get(filled, operator, "/messages/5")))
    assert rows(filled, "discard")[-1].reason == "sent by mistake"


def test_several_are_planned_together_and_each_is_told(filled: Running, operator: SignedIn):
    said = bare(text(get(filled, operator, "/messages/plan?action=release&seq=1&seq=4")))
    assert "Release 2 messages" in said
    assert "left alone: nothing of it is held or failed" in said
    assert "becomes held (E214)" in said, "what its channel makes of it now"
    form = {"action": "release", "seq": ["1", "4"]} | planned(filled, operator, "action=release&seq=1&seq=4")
    done = post(filled, operator, "/messages/plan", form)
    assert done.headers["location"] == "/messages"
    assert "left alone" in text(get(filled, operator, "/messages"))
    assert get(filled, operator, "/messages/plan?action=release").headers["location"] == "/messages"


def test_orders_take_the_right_to_operate_of_each_channel(filled: Running, viewer: SignedIn):
    assert get(filled, viewer, "/messages/plan?action=resend&seq=1").status == 403
    one = filled.user("of-results", {"results": "operator", "adt": "viewer"})
    assert get(filled, one, "/messages/plan?action=resend&seq=1").status == 404
    form = {"action": "resend", "seq": "1", "plan": "0" * 64, "key": "k"}
    assert post(filled, one, "/messages/plan", form).status == 404


def test_a_reprocess_says_what_would_differ(filled: Running, operator: SignedIn, tmp_path: Path):
    said = bare(text(get(filled, operator, "/messages/plan?action=reprocess&seq=1")))
    assert "is processed out the same bytes as before other the same bytes as before" in said
    form = {"action": "reprocess", "seq": "1", "as_of": "received"} | planned(
        filled, operator, "action=reprocess&seq=1&as_of=received"
    )
    assert "Reprocessed: 1 message" in _followed(filled, operator, form)
    filled.settled()


def _followed(running: Running, signed: SignedIn, form: dict[str, str]) -> str:
    done = post(running, signed, "/messages/plan", form)
    assert done.status == 303, text(done)
    return bare(text(get(running, signed, done.headers["location"])))


# -- edit and resend --------------------------------------------------------------------------------------------


def typed(page: str) -> str:
    found = re.search(r"<textarea id=\"typed\"[^>]*>\n(.*?)</textarea>", page, re.S)
    assert found is not None
    return unescape(found[1])


def test_an_edited_message_is_shown_with_what_differs_and_sent_once(filled: Running, operator: SignedIn):
    before = len(rows(filled, "read"))
    shown = typed(text(post(filled, operator, "/messages/1/edit")))
    assert shown == filled.queries.message(1).raw.decode().strip().replace("\r", "\n")
    assert len(rows(filled, "read")) == before + 1
    changed = shown.replace("^ANNA", "^JOERG <b>").replace("\n", "\r\n")
    page = text(post(filled, operator, "/messages/1/edit/plan", {"text": changed}))
    assert "PID-5.2 ANNA JOERG <b>" in bare(page) and "<b>" not in page
    form = {
        "text": changed,
        "plan": fields_of(page, "plan"),
        "key": fields_of(page, "key"),
        "reason": "the ward called",
    }
    sent = post(filled, operator, "/messages/1/edit/send", form)
    assert sent.status == 303, text(sent)
    made = int(sent.headers["location"].rpartition("/")[2])
    assert post(filled, operator, "/messages/1/edit/send", form).headers["location"] == f"/messages/{made}"
    assert filled.queries.links(made).origin == 1
    assert f"message {made}" in bare(text(get(filled, operator, "/messages/1")))
    assert "edited by a person" in bare(text(get(filled, operator, f"/messages/{made}")))
    assert len(rows(filled, "edit")) == 1 and rows(filled, "edit")[0].reason == "the ward called"
    filled.settled()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text, "Nothing is different"),
        (lambda text: "", "nothing in it"),
        (lambda text: text.replace("MSH|", "MSX|"), "must be a header"),
        (lambda text: text.replace("ANNA", "ÄNNA"), "PID-5: the text holds a character"),
    ],
)
def test_what_cannot_be_sent_comes_back_as_it_was_typed(filled: Running, operator: SignedIn, change, said: str):
    shown = typed(text(post(filled, operator, "/messages/1/edit")))
    reply = post(filled, operator, "/messages/1/edit/plan", {"text": change(shown)})
    assert reply.status == 422
    assert said.lower() in bare(text(reply)).lower()
    assert typed(text(reply)).replace("\ufffd", "\x00") == change(shown)


def test_what_its_channel_does_not_take_is_said_and_nothing_is_sent(filled: Running, operator: SignedIn):
    shown = typed(text(post(filled, operator, "/messages/1/edit")))
    changed = shown.replace("|A1|", "||")
    form = {"text": changed, "keep_id": "true"}
    page = text(post(filled, operator, "/messages/1/edit/plan", form))
    last = filled.queries.seq_before(1 << 62)
    sent = post(filled, operator, "/messages/1/edit/send", form | {"plan": fields_of(page, "plan"), "key": "k7"})
    assert sent.status == 422 and "Nothing was sent" in text(sent)
    assert filled.queries.seq_before(1 << 62) == last


# -- who may -------------------------------------------------------------------------------------------------------

EXPECTED = {
    "GET /messages": "viewer",
    "POST /messages": "viewer",
    "GET /messages/export": "viewer",
    "GET /messages/plan": "operator",
    "POST /messages/plan": "operator",
    "GET /messages/{seq}": "viewer",
    "POST /messages/{seq}": "operator",
    "POST /messages/{seq}/download": "operator",
    "GET /messages/{seq}/patient/{way}": "operator",
    "POST /messages/{seq}/edit": "operator",
    "POST /messages/{seq}/edit/plan": "operator",
    "POST /messages/{seq}/edit/send": "operator",
}
FORMS: dict[str, dict[str, str]] = {
    "POST /messages/plan": {"action": "resend", "seq": "1", "plan": "0" * 64},
    "POST /messages/{seq}/edit/plan": {"text": "MSH|^~\\&|A"},
    "POST /messages/{seq}/edit/send": {"text": "MSH|^~\\&|A", "plan": "0" * 64},
}


def test_each_page_and_every_role(filled: Running):
    """The expectation stands here in full: a page that is added, or whose permission is changed, fails."""
    entries = {entry.name: entry for entry in PAGES if entry.tag == "messages"}
    assert entries.keys() == EXPECTED.keys()
    people = {
        (role, where): filled.user(f"{role}-{where.replace('*', 'site')}", {where: role})
        for role in ROLES
        for where in (SITE, "adt", "results")
    }
    for name, least in EXPECTED.items():
        path = entries[name].path.format(seq=1, way="older")
        if name == "GET /messages/plan":
            path += "?action=resend&seq=1"
        for (role, where), signed in people.items():
            ask = get if entries[name].method == "GET" else post
            more = () if ask is get else (FORMS.get(name, {}),)
            status = ask(filled, signed, path, *more).status
            is_of_one = "{seq}" in name or "plan" in name
            if ROLES.index(role) < ROLES.index(least):  # type: ignore[arg-type]
                assert status == (404 if is_of_one and where == "results" and status == 404 else 403), (
                    name,
                    role,
                    where,
                )
            elif is_of_one and where == "results":
                assert status == 404, (name, role, where)
            else:
                assert status in (200, 303, 422), (name, role, where, status)


def test_a_form_without_the_sessions_token_does_nothing(filled: Running, operator: SignedIn):
    other = SignedIn(operator.cookie, "x" * 32)
    for name in EXPECTED:
        method, _, path = name.partition(" ")
        if method == "POST":
            assert post(filled, other, path.format(seq=1), FORMS.get(name, {})).status == 403, name
