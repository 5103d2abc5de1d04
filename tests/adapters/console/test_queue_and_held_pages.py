"""Queues, held and tables as pages: who sees what, and each action through its plan into the store and the audit."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.adapters.mllp_connection import Target
from engine.adapters.sender import Sender
from engine.model.access import SITE
from engine.model.ids import MessageSeq
from engine.testing import messages
from engine.testing.sites import make_site
from tests.adapters.api.rig import Running
from tests.adapters.console.visitor import Visitor

HOSTILE = "<script>alert(1)</script>"
CHANNEL = """
listen: {mllp: {port: 0}}
accept: ["*"]
steps:
  - map: {PV1-3.1: tables/wards.csv, otherwise: hold}
routes: [{to: ris}]
destinations:
  ris: {mllp: {host: 127.0.0.1, port: 1}}
  other: {file: {folder: other, name: "{MSH-10}.hl7"}}
"""
SETTINGS = "admin: off\nenvironment: test\nconsole: {port: 0}\n"


def adt(control_id: str, ward: str, name: str = "Testperson", patient_class: str = "I") -> bytes:
    raw = messages.adt(control_id=control_id)
    lines = [line for line in raw.split(b"\r") if line and not line.startswith((b"PV1", b"PID"))]
    lines += [f"PID|1||900001^^^HIS^MR||{name}^ANNA".encode(), f"PV1|1|{patient_class}|{ward}".encode()]
    return b"\r".join(lines) + b"\r"


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    """adt: four messages wait for a receiver that is down, one of them an outpatient's; three are held for two wards,
    one of which is written to break a page. results: one is held, too."""
    files = {"channel.yaml": CHANNEL, "tables/wards.csv": "from,to\nWARD1,W01\n"}
    started = Running(make_site(tmp_path / "site", {"adt": files, "results": files}, SETTINGS))
    sent = {
        "adt": [
            adt("A1", "WARD1"),
            adt("A2", "WARD1", HOSTILE),
            adt("A3", "WARD1", patient_class="O"),
            adt("A4", "WARD1"),
            adt("H1", "NEW7"),
            adt("H2", "NEW7"),
            adt("H3", HOSTILE),
        ],
        "results": [adt("R1", "NEW9")],
    }
    for channel, raws in sent.items():
        report = started.do(Sender(Target(*started.engine.addresses[channel]), raws).run())
        assert report.codes == {"AA": len(raws)}
    yield started
    started.stop()


@pytest.fixture
def visit(running):
    def made(name: str, grants: dict) -> Visitor:
        return Visitor(running, running.user(name, grants))

    return made


@pytest.fixture
def operator(visit):
    return visit("operator", {SITE: "operator"})


@pytest.fixture
def analyst(visit):
    return visit("analyst", {SITE: "analyst"})


def states(running, destination: str = "ris") -> dict[str, str]:
    """Of the deliveries of adt, by control id."""
    found = {}
    for stored in running.queries.messages(channel="adt", newest_first=False):
        for one in running.queries.deliveries(stored.seq):
            if one.destination == destination:
                found[stored.control_id] = one.state
    return found


def rows(running, action: str) -> list:
    return [row for row in running.queries.audit(0, 10_000) if row.action == action]


def group(shown, text: str) -> str:
    """The address of the group whose title has this text."""
    found = re.findall(r'<a class="cause" href="([^"]+)">(.*?)</a>', shown.text)
    return next(path for path, title in found if text in title)


# -- queues -------------------------------------------------------------------------------------


def test_a_destination_is_listed_with_its_state_its_depth_and_its_head(operator, running):
    shown = operator.open("/queues")
    assert shown.status == 200
    first = re.search(r"<tbody data-rows>\s*<tr>(.*?)</tr>", shown.text, re.S)[1]
    assert "/queues/adt/ris" in first and re.search(r'<td class="number">4</td>', first)
    assert "refuses connections" in first or "delivering" in first
    assert "Testperson" not in shown.text and "900001" not in shown.text
    narrowed = operator.open("/queues?show=waiting").text
    assert "/queues/adt/ris" in narrowed and "/queues/adt/other" not in narrowed


def test_a_viewer_sees_queues_and_may_do_nothing_and_of_another_channel_there_is_nothing(visit, running):
    viewer = visit("viewer", {"adt": "viewer"})
    listed = viewer.open("/queues").text
    assert "/queues/adt/ris" in listed and "/queues/results" not in listed
    assert "Retry now" not in listed
    shown = viewer.open("/queues/adt/ris")
    assert not [form for form in shown.forms if form.action.startswith("/queues")]
    assert viewer.open("/queues/results/ris").status == 404
    for path, fields in (
        ("/lane", [("act", "retry")]),
        ("/plan", [("action", "skip"), ("which", "all")]),
        ("/order", [("action", "skip"), ("which", "all"), ("plan", "0" * 64), ("key", "k")]),
    ):
        assert viewer.forged("/queues/adt/ris" + path, *fields).status == 403
    assert set(states(running).values()) == {"queued"}


def test_a_pause_needs_a_reason_shows_who_and_is_on_record(operator, running):
    shown = operator.open("/queues/adt/ris")
    assert operator.send(shown, "/lane", ("act", "pause")).status == 422
    after = operator.send(shown, "/lane", ("act", "pause"), ("reason", "New router"))
    assert "adt/ris is paused" in after.words and "New router" in after.words
    assert "Paused by operator from 127.0.0.1: New router" in after.words
    (row,) = rows(running, "pause")
    assert (row.reason, row.actor) == ("New router", "operator from 127.0.0.1")
    resumed = operator.send(after, "/lane", ("act", "resume"))
    assert "adt/ris goes on" in resumed.words
    assert len(rows(running, "resume")) == 1


def test_the_ticked_ones_are_held_as_planned_and_released_again(operator, running):
    shown = operator.open("/queues/adt/ris")
    ids = [value for name, value in shown.form("/plan").choices if name == "deliveries"]
    assert len(ids) == 4
    plan = operator.send(
        shown, "/plan", ("action", "hold"), ("which", "ticked"), ("deliveries", ids[0]), ("deliveries", ids[1])
    )
    assert "Hold 2 deliveries of 2 messages?" in plan.words
    assert set(states(running).values()) == {"queued"}, "a plan does nothing"
    done = operator.send(plan, "/order", ("reason", "Wrong patient"))
    assert "2 deliveries held." in done.words
    assert sorted(states(running).values()) == ["held", "held", "queued", "queued"]
    (row,) = rows(running, "hold")
    assert (row.reason, row.actor) == ("Wrong patient", "operator from 127.0.0.1")
    held = operator.open("/queues/adt/ris?show=held")
    assert "held by operator from 127.0.0.1: Wrong patient" in held.words
    plan = operator.send(held, "/plan", ("action", "release"), ("which", "all"))
    assert "Release 2 deliveries" in plan.words
    assert "2 deliveries released." in operator.send(plan, "/order").words
    assert set(states(running).values()) == {"queued"}


def test_by_expression_only_those_and_the_search_is_on_record_and_never_in_an_address(operator, running):
    shown = operator.open("/queues/adt/ris")
    plan = operator.send(shown, "/plan", ("action", "skip"), ("which", "where"), ("where", 'PV1-2 == "O"'))
    assert "Skip 1 delivery of 1 message?" in plan.words
    assert plan.path.endswith("/plan")
    done = operator.send(plan, "/order", ("reason", "Outpatients go elsewhere"))
    assert "1 delivery given up." in done.words and "PV1" not in done.path
    assert states(running) == {"A1": "queued", "A2": "queued", "A3": "failed", "A4": "queued"}
    assert rows(running, "search") and "PV1-2" in rows(running, "search")[0].scope


def test_all_are_redirected_to_another_destination(operator, running):
    shown = operator.open("/queues/adt/ris")
    plan = operator.send(shown, "/plan", ("action", "redirect"), ("which", "all"), ("to", "other"))
    assert "Redirect 4 deliveries of 4 messages to other?" in plan.words
    operator.send(plan, "/order", ("reason", "RIS is moved"))
    assert set(states(running).values()) == {"redirected"}
    running.settled()
    assert set(states(running, "other").values()) == {"delivered"}


def test_what_has_changed_since_the_plan_is_not_done_and_the_plan_is_shown_again(operator, running):
    shown = operator.open("/queues/adt/ris")
    plan = operator.send(shown, "/plan", ("action", "skip"), ("which", "all"))
    other = operator.send(shown, "/plan", ("action", "hold"), ("which", "where"), ("where", 'PV1-2 == "O"'))
    operator.send(other, "/order", ("reason", "First"))
    again = operator.send(plan, "/order", ("reason", "Second"))
    assert "It has changed since the plan, and nothing was done" in again.words
    assert "Skip 3 deliveries of 3 messages?" in again.words
    assert sorted(states(running).values()) == ["held", "queued", "queued", "queued"]


def test_a_double_click_does_it_once(operator, running):
    shown = operator.open("/queues/adt/ris")
    plan = operator.send(shown, "/plan", ("action", "hold"), ("which", "all"))
    first = operator.send(plan, "/order", ("reason", "Once"))
    second = operator.send(plan, "/order", ("reason", "Once"))
    assert "4 deliveries held." in first.words
    assert "It was done before, once: 4 deliveries held." in second.words
    assert len(rows(running, "hold")) == 1


def test_without_a_choice_nothing_is_planned(operator):
    shown = operator.open("/queues/adt/ris")
    assert operator.send(shown, "/plan", ("action", "hold"), ("which", "ticked")).status == 422
    assert operator.send(shown, "/plan", ("action", "hold"), ("which", "where"), ("where", " ")).status == 422
    assert operator.send(shown, "/plan", ("action", "redirect"), ("which", "all"), ("to", "")).status == 422


def test_lists_are_paged_both_ways(operator, monkeypatch):
    from engine.adapters.console import held, queues, tables

    for module in (held, queues, tables):
        monkeypatch.setattr(module, "PAGE", 2)

    def way(shown, to: str) -> str:
        found = re.search(rf'rel="{to}" href="([^"]+)"', shown.text)
        return found[1].replace("&amp;", "&") if found else ""

    def listed(shown, pattern: str) -> list[str]:
        return re.findall(pattern, shown.text)

    group = re.search(r'href="(/held/adt/[0-9a-f]+)"', operator.open("/held").text)[1]
    deliveries, members = r'aria-label="Delivery (\d+)', r'<th scope="row"[^>]*><a href="/messages/(\d+)"'
    for path, pattern in (("/queues/adt/ris", deliveries), (group, members)):
        first = operator.open(path)
        assert way(first, "prev") == "" and way(first, "next")
        second = operator.open(way(first, "next"))
        assert listed(second, pattern) and not set(listed(second, pattern)) & set(listed(first, pattern))
        back = operator.open(way(second, "prev"))
        assert listed(back, pattern) == listed(first, pattern)
        assert way(back, "prev") == ""


def test_one_that_is_not_there_says_so(operator):
    assert "No destination of this name runs" in operator.open("/queues/adt/none").words


# -- held ---------------------------------------------------------------------------------------


def test_held_messages_are_grouped_and_no_code_is_shown_before_it_is_asked_for(operator, running):
    listed = operator.open("/held")
    assert re.findall(r'group-size">(\d+)<', listed.text) == ["3", "1"]
    path = group(listed, "no row in tables/wards.csv for PV1-3.1")
    shown = operator.open(path)
    assert "A map step looked the value of this place up" in shown.words
    assert "An analyst of adt adds the row" in shown.words
    assert "NEW7" not in listed.text + shown.text
    before = len(rows(running, "read"))
    revealed = operator.send(shown, "/codes")
    assert "NEW7" in revealed.words and revealed.status == 200
    assert len(rows(running, "read")) == before + 1
    assert rows(running, "read")[-1].ids == "messages 5-7"
    assert HOSTILE not in revealed.text and "&lt;script&gt;alert(1)&lt;/script&gt;" in revealed.text
    assert "NEW7" not in operator.open(path).text, "the next page is masked again"


def test_a_viewer_sees_the_places_and_not_the_codes(visit):
    viewer = visit("viewer", {"adt": "viewer"})
    listed = viewer.open("/held")
    assert "/held/adt/" in listed.text and "/held/results/" not in listed.text
    path = group(listed, "wards.csv")
    assert "They are for operators of adt" in viewer.open(path).words
    assert viewer.forged(path + "/codes").status == 403
    assert viewer.forged(path + "/plan", ("action", "discard")).status == 403
    assert viewer.forged(path + "/row", ("table", "tables/wards.csv"), ("key", "A"), ("value", "B")).status == 403


def test_a_row_is_added_reloaded_and_what_waited_for_it_is_released(analyst, running):
    path = group(analyst.open("/held"), "wards.csv")
    if not path.startswith("/held/adt/"):
        pytest.fail("the largest group is that of adt")
    revealed = analyst.send(analyst.open(path), "/codes")
    key = ("key", "NEW7")
    form = next(one for one in revealed.forms if one.action.endswith("/row") and key in one.fields)
    fields = [(name, value) for name, value in form.fields if name not in ("value", "reason")]
    shown = analyst.post(form.action, *fields, ("value", "W07"), ("reason", "New ward"))
    assert shown.path == "/take-up/adt"
    assert "The row is in channels/adt/tables/wards.csv, line 3" in shown.words
    assert "Reload and release 2 messages?" in shown.words
    assert "1 message waits for other codes, and stays held" in shown.words
    assert (running.folder / "channels/adt/tables/wards.csv").read_text() == "from,to\nWARD1,W01\nNEW7,W07\n"
    (row,) = rows(running, "table-row")
    assert (row.reason, row.scope) == ("New ward", "NEW7 -> W07")
    done = analyst.send(shown, "/take-up/adt", ("reason", "Ward 7 opened"))
    assert "The engine has taken up the site's files. 2 messages released." in done.words
    found = {one.control_id: one.state for one in running.queries.messages(channel="adt") if one.control_id[0] == "H"}
    assert found == {"H1": "processed", "H2": "processed", "H3": "held"}
    assert [row.reason for row in rows(running, "reload")] == ["Ward 7 opened"]
    assert [row.reason for row in rows(running, "release")] == ["Ward 7 opened"]
    again = analyst.send(shown, "/take-up/adt", ("reason", "Ward 7 opened"))
    assert "once" in again.words and len(rows(running, "release")) == 1


def test_who_may_not_reload_sees_what_is_in_the_way(visit, running):
    of_channel = visit("ben", {"adt": "analyst"})
    shown = of_channel.open("/tables/adt?table=tables/wards.csv")
    next_page = of_channel.send(shown, "/row", ("key", "NEW7"), ("value", "W07"))
    assert "A reload takes an analyst of the site" in next_page.words
    plan, files = "0" * 64, "0" * 64
    assert of_channel.forged("/take-up/adt", ("plan", plan), ("files", files), ("key", "k")).status == 200
    assert rows(running, "reload") == []


def test_what_a_reload_changes_of_others_is_not_told_to_who_has_no_role_there(visit, analyst, running):
    file = running.folder / "channels/results/channel.yaml"
    before = file.read_text()
    of_channel = visit("ben", {"adt": "operator"})
    file.write_text(before + "description: moved to 10.9.8.7\n")
    shown, whole = of_channel.open("/take-up/adt"), analyst.open("/take-up/adt")
    assert "1 change is to what you have no role for" in shown.words and "results" not in shown.words
    assert "results" in whole.words and "no role for" not in whole.words
    file.write_text(before + "hunter: 2\n")
    shown, whole = of_channel.open("/take-up/adt"), analyst.open("/take-up/adt")
    assert "1 error is in files of which you have no role" in shown.words
    assert "results" not in shown.words and "hunter" not in shown.words
    assert "channels/results/channel.yaml" in whole.words and "hunter" in whole.words


def test_a_reload_that_is_refused_releases_nothing(analyst, running):
    (running.folder / "channels/adt/channel.yaml").write_text("listen: {mllp: {prot: 1}}\n")
    shown = analyst.open("/take-up/adt")
    assert "channel.yaml:1" in shown.words and "/take-up/adt" not in [form.action for form in shown.forms]


def test_a_group_is_given_up_with_a_plan_and_a_reason(operator, running):
    path = group(operator.open("/held"), "wards.csv")
    plan = operator.send(operator.open(path), "/plan", ("action", "discard"))
    assert "Discard 3 messages?" in plan.words
    assert operator.send(plan, "/order").status == 422, "not without a reason"
    done = operator.send(plan, "/order", ("reason", "Test traffic"))
    assert "3 messages discarded." in done.words and done.path == "/held"
    assert {one.state for one in running.queries.messages(channel="adt") if one.control_id[0] == "H"} == {"discarded"}
    assert operator.open(path).status == 404
    (row,) = rows(running, "discard")
    assert row.reason == "Test traffic"


def test_a_group_that_is_released_without_its_row_is_held_again_and_that_is_said(operator, running):
    path = group(operator.open("/held"), "wards.csv")
    plan = operator.send(operator.open(path), "/plan", ("action", "release"))
    done = operator.send(plan, "/order")
    assert "Left alone: message 5 (" in done.words
    assert running.queries.message(MessageSeq(5)).state == "held"


def test_a_group_of_another_channel_is_not_there(visit, operator):
    other = visit("carl", {"adt": "operator"})
    path = next(
        path
        for path, _ in re.findall(r'<a class="cause" href="([^"]+)">(.*?)</a>', operator.open("/held").text)
        if path.startswith("/held/results/")
    )
    assert other.open(path).status == 404
    assert other.open(path.replace("results", "adt")).status in (200, 404)
    assert other.forged(path + "/plan", ("action", "release")).status == 404


# -- tables -------------------------------------------------------------------------------------


def test_tables_are_listed_with_their_rows_and_what_waits_for_them(operator):
    listed = operator.open("/tables")
    assert "adt / tables/wards.csv from, to 1 as running 3" in listed.words
    shown = operator.open("/tables/adt?table=tables/wards.csv")
    assert "WARD1" in shown.words and "steps 1" in shown.words and "3 messages for PV1-3.1" in shown.words
    assert "NEW7" not in shown.text
    assert not [form for form in shown.forms if form.action.endswith("/row")], "rows are for analysts"


def test_rows_are_searched_without_a_word_in_the_address(operator):
    shown = operator.open("/tables/adt?table=tables/wards.csv")
    found = operator.send(shown, "/search", ("text", "ward"))
    assert "1 row of 1." in found.words and "ward1" not in found.path.lower()
    nothing = operator.send(shown, "/search", ("text", "NEW7"))
    assert "No row has that" in nothing.words and "NEW7" not in nothing.path


def test_a_row_that_is_refused_leaves_the_file_and_says_why(analyst, running):
    shown = analyst.open("/tables/adt?table=tables/wards.csv")
    refused = analyst.send(shown, "/row", ("key", "WARD1"), ("value", "W02"))
    assert "has that key already" in refused.words
    assert (running.folder / "channels/adt/tables/wards.csv").read_text() == "from,to\nWARD1,W01\n"


def test_what_is_no_table_of_the_channel_is_not_there(analyst):
    for name in ("tables/none.csv", "../results/tables/wards.csv", "../../segmill.csv"):
        assert analyst.open(f"/tables/adt?table={name}").status in (404, 422)
        assert analyst.forged("/tables/adt/row", ("table", name), ("key", "A"), ("value", "B")).status in (404, 422)


def test_the_missing_codes_of_a_table_are_shown_on_record(operator, running):
    shown = operator.open("/tables/adt?table=tables/wards.csv")
    revealed = operator.send(shown, "/codes")
    assert "NEW7" in revealed.words and "ago" in revealed.words
    assert rows(running, "read")[-1].ids == "messages 5-7"
